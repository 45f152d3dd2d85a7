"""/v1/coordinate, and the coordinate in /v1/agent/self"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from agent.config import Ports
from agent.coordinates import datacenter_coordinates
from gossip import Cluster, Config, distance
from tests.helpers_agent import TestAgent, eventually, running

SERVER: dict[str, Any] = {"server": True, "ports": Ports(http=0, serf_lan=0, server=21297)}
ENDPOINTS = [
    "/v1/coordinate/datacenters",
    "/v1/coordinate/nodes",
    "/v1/coordinate/nodes?dc=elsewhere",
    "/v1/coordinate/nodes?wait=abc",
    "/v1/coordinate/node/one",
    "/v1/coordinate/node/nobody",
]


async def knows(agent: TestAgent, *names: str) -> None:
    """Until the agent has probed these members."""
    cluster = agent.agent.cluster
    await eventually(lambda: set(names) <= cluster.coordinates().keys())


async def both(stack: AsyncExitStack, **settings: Any) -> tuple[TestAgent, TestAgent]:
    one = await stack.enter_async_context(running("one"))
    two = await stack.enter_async_context(running("Two", **settings))
    assert (await two.put(f"/v1/agent/join/{one.gossip}")).status == 200
    await knows(one, "Two")
    return one, two


def check_coord(coord: Any) -> None:
    assert coord.keys() == {"Adjustment", "Error", "Height", "Vec"}
    assert len(coord["Vec"]) == 8
    assert all(type(number) is float for number in (*coord["Vec"], coord["Error"]))


async def test_a_node_alone_lists_itself_where_everybody_begins(one: TestAgent) -> None:
    answer = await one.get("/v1/coordinate/nodes")

    assert answer.json == [
        {
            "Node": "one",
            "Segment": "",
            "Coord": {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5},
        }
    ]
    assert (await one.get("/v1/agent/self")).json["Coord"] == answer.json[0]["Coord"]
    assert answer.headers["x-consul-knownleader"] == "false"
    assert answer.headers["x-consul-lastcontact"] == "0"


async def test_nodes_are_listed_by_name_with_what_the_pool_knows() -> None:
    async with AsyncExitStack() as stack:
        one, _ = await both(stack)

        listed = (await one.get("/v1/coordinate/nodes")).json

        assert [entry["Node"] for entry in listed] == ["Two", "one"]
        for entry in listed:
            assert list(entry) == ["Node", "Segment", "Coord"]
            check_coord(entry["Coord"])
        check_coord((await one.get("/v1/agent/self")).json["Coord"])


async def test_one_node_is_found_whatever_the_case_of_its_name() -> None:
    async with AsyncExitStack() as stack:
        one, _ = await both(stack)

        for name in ("Two", "two"):
            answer = await one.get(f"/v1/coordinate/node/{name}")
            assert [entry["Node"] for entry in answer.json] == ["Two"]
            assert answer.index > 0
        missing = await one.get("/v1/coordinate/node/nobody")
        assert (missing.status, missing.body) == (404, b"")
        assert (await one.get("/v1/coordinate/node/")).status == 404


async def test_a_segment_keeps_to_its_nodes(one: TestAgent) -> None:
    assert len((await one.get("/v1/coordinate/nodes?segment=")).json) == 1
    assert (await one.get("/v1/coordinate/nodes?segment=alpha")).json == []
    assert (await one.get("/v1/coordinate/node/one?segment=")).status == 200
    assert (await one.get("/v1/coordinate/node/one?segment=alpha")).status == 404
    assert len((await one.get("/v1/coordinate/nodes")).json) == 1, "not the answer of a segment"


async def test_a_blocking_query_ends_with_the_next_probe() -> None:
    async with AsyncExitStack() as stack:
        one, _ = await both(stack)
        first = await one.get("/v1/coordinate/nodes")

        second = await one.get(f"/v1/coordinate/nodes?index={first.index}&wait=10s")

        assert second.index > first.index
        assert second.json != first.json


async def test_a_blocking_query_ends_unchanged_after_its_wait(one: TestAgent) -> None:
    first = await one.get("/v1/coordinate/nodes")

    second = await one.get(f"/v1/coordinate/nodes?index={first.index}&wait=50ms")

    assert (second.index, second.json) == (first.index, first.json)


async def test_who_left_is_gone_and_blocked_queries_hear_of_it() -> None:
    async with AsyncExitStack() as stack:
        one, two = await both(stack)
        await two.agent.leave()
        await eventually(lambda: one.agent.cluster.members()[1].status == 3)

        assert [entry["Node"] for entry in (await one.get("/v1/coordinate/nodes")).json] == ["one"]
        assert (await one.get("/v1/coordinate/node/two")).status == 404

        index = (await one.get("/v1/coordinate/nodes")).index
        query = asyncio.ensure_future(one.get(f"/v1/coordinate/nodes?index={index}&wait=10s"))
        await one.put("/v1/agent/force-leave/Two?prune")
        assert (await query).index > index


async def test_mistakes_are_reported_as_consul_does(one: TestAgent) -> None:
    for target, status, text in (
        ("/v1/coordinate/nodes?wait=abc", 400, "Invalid wait time"),
        ("/v1/coordinate/nodes?dc=elsewhere", 500, "No known Consul servers"),
        ("/v1/coordinate/node/one?dc=elsewhere", 500, "No known Consul servers"),
    ):
        answer = await one.get(target)
        assert (answer.status, answer.text) == (status, text)
    assert (await one.get("/v1/coordinate/nodes?dc=dc1")).status == 200
    assert (await one.put("/v1/coordinate/nodes")).status == 405


@pytest.mark.parametrize("target", ENDPOINTS)
async def test_with_coordinates_off_every_endpoint_says_so(target: str) -> None:
    async with running(disable_coordinates=True) as one:
        answer = await one.get(target)
        shown = (await one.get("/v1/agent/self")).json

    assert (answer.status, answer.text) == (401, "Coordinate support disabled")
    assert shown["Coord"] is None
    assert shown["Stats"]["serf_lan"]["coordinate_resets"] == "0"


# Datacenters


async def test_without_a_wan_pool_our_own_datacenter_is_listed_with_its_servers() -> None:
    async with AsyncExitStack() as stack:
        _, two = await both(stack, **SERVER)

        (datacenter,) = (await two.get("/v1/coordinate/datacenters")).json

        assert (datacenter["Datacenter"], datacenter["AreaID"]) == ("dc1", "lan")
        (server,) = datacenter["Coordinates"]
        assert (server["Node"], server["Segment"]) == ("Two", "")
        check_coord(server["Coord"])


async def test_a_client_that_knows_no_server_lists_an_empty_datacenter(one: TestAgent) -> None:
    assert (await one.get("/v1/coordinate/datacenters?wait=abc")).json == [
        {"Datacenter": "dc1", "AreaID": "lan", "Coordinates": []}
    ]


async def test_servers_of_the_wan_pool_are_listed_by_datacenter_ours_first(one: TestAgent) -> None:
    async with AsyncExitStack() as stack:
        pool = []
        for name, dc, role in (
            ("zoe", "dc1", "consul"),
            ("ann", "dc1", "consul"),
            ("bob", "aaa", "consul"),
            ("eve", "aaa", "node"),
            ("kim", "bbb", "consul"),
        ):
            settings = {"probe_interval": 0.05, "probe_timeout": 0.05, "gossip_interval": 0.02}
            config = Config.wan(
                f"{name}.{dc}", bind="127.0.0.1", port=0, tags={"dc": dc, "role": role}, **settings
            )
            pool.append(await stack.enter_async_context(Cluster(config)))
            if len(pool) > 1:
                await pool[-1].join(["{}:{}".format(*pool[0].local_address)])
        wan = pool[0]
        await eventually(lambda: len(wan.coordinates()) == 5)

        listed = datacenter_coordinates(one.agent.cluster, "dc1", wan)

        assert [(entry.datacenter, entry.area) for entry in listed] == [
            ("dc1", "wan"), ("aaa", "wan"), ("bbb", "wan"),
        ]  # fmt: skip
        assert [[server.node for server in entry.servers] for entry in listed] == [
            ["ann", "zoe"], ["bob"], ["kim"],
        ]  # fmt: skip
        (ann, zoe), (bob,), _ = (entry.servers for entry in listed)
        assert zoe.coordinate == wan.coordinate
        assert distance(ann.coordinate, bob.coordinate) < 1.0
