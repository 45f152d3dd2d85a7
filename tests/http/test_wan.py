"""The WAN pool over HTTP: ``?wan=``, datacenters, and what keeps the two pools apart."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent import wan
from gossip import Cluster, Config, JoinError
from gossip.events import Member, MemberStatus
from tests.helpers_agent import WAN, TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@pytest.fixture
async def plain() -> AsyncIterator[Cluster]:
    """A node of plain Serf."""
    async with Cluster(Config.local("plain", bind="127.0.0.1", port=0)) as cluster:
        yield cluster


async def statuses(agent: TestAgent, query: str = "") -> dict[str, int]:
    members = (await agent.get(f"/v1/agent/members{query}")).json
    return {member["Name"]: member["Status"] for member in members}


async def seen(agent: TestAgent, expected: dict[str, int], query: str = "?wan=1") -> None:
    """Wait until an agent shows these members."""

    async def shown() -> bool:
        return await statuses(agent, query) == expected

    await eventually(shown, seconds=20)


@asynccontextmanager
async def server(name: str, dc: str = "dc1", **settings: Any) -> AsyncIterator[TestAgent]:
    async with running(name, datacenter=dc, **(WAN | settings)) as agent:
        yield agent


@asynccontextmanager
async def two_datacenters() -> AsyncIterator[tuple[TestAgent, TestAgent]]:
    """A server in each, joined."""
    async with server("a") as a, server("b", "dc2") as b:
        answer = await a.put(f"/v1/agent/join/{b.wan_gossip}?wan=1")
        assert (answer.status, answer.body) == (200, b"")
        for agent in (a, b):
            await seen(agent, {"a.dc1": 1, "b.dc2": 1})
        yield a, b


# Members


async def test_a_server_is_in_the_wan_pool_under_its_full_name() -> None:
    async with server("a", bootstrap=True) as a:
        (lan,) = (await a.get("/v1/agent/members")).json
        (member,) = (await a.get("/v1/agent/members?wan=1")).json
        shown = (await a.get("/v1/agent/self")).json
    assert (member["Name"], lan["Name"]) == ("a.dc1", "a")
    assert f"{member['Addr']}:{member['Port']}" == a.wan_gossip != a.gossip
    assert lan["Tags"] == member["Tags"] | {"wan_join_port": str(member["Port"])}
    assert list(member) == list(lan)
    assert shown["Config"]["Ports"]["SerfWan"] == member["Port"]
    assert shown["Stats"]["serf_wan"]["members"] == "1"
    assert set(shown["Stats"]["serf_wan"]) == set(shown["Stats"]["serf_lan"])


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "a"),
        ("?wan", "a"),
        ("?wan=", "a"),
        ("?wan=1", "a.dc1"),
        ("?wan=0", "a.dc1"),
        ("?wan=false&segment=_all", "a.dc1"),
    ],
)
async def test_any_value_of_wan_selects_that_pool(query: str, name: str) -> None:
    async with server("a") as a:
        assert list(await statuses(a, query)) == [name]


async def test_a_segment_of_the_wan_is_400() -> None:
    async with server("a") as a:
        answer = await a.get("/v1/agent/members?wan=1&segment=x")
        assert (answer.status, answer.text) == (400, "Cannot provide a segment with wan=true")


async def test_s16_a_change_of_the_wan_pool_wakes_those_who_wait_for_it_alone() -> None:
    async with server("a") as a, server("b", "dc2") as b:
        lan = (await a.get("/v1/agent/members")).index
        index = (await a.get("/v1/agent/members?wan=1")).index
        waiting = asyncio.ensure_future(a.get(f"/v1/agent/members?wan=1&index={index}&wait=60s"))
        await eventually(lambda: a.http.gate.blocked == 1)
        assert (await b.put(f"/v1/agent/join/{a.wan_gossip}?wan=1")).status == 200
        answer = await asyncio.wait_for(waiting, 10)
        assert answer.index > index
        assert {member["Name"] for member in answer.json} == {"a.dc1", "b.dc2"}
        assert (await a.get("/v1/agent/members")).index == lan


# Without a WAN pool


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("join/127.0.0.1:1?wan=1", "Must be a server to join WAN cluster"),
        ("force-leave/x?wan", "Must be a server to force-leave a node from the WAN cluster"),
    ],
)
async def test_a_client_has_no_wan_pool(path: str, text: str) -> None:
    async with running() as client:
        assert (await client.get("/v1/agent/members?wan=1")).json == []
        answer = await client.put(f"/v1/agent/{path}")
        assert (answer.status, answer.text) == (500, text)
        shown = (await client.get("/v1/agent/self")).json
        assert shown["Config"]["Ports"]["SerfWan"] == -1
        assert shown["Stats"]["serf_wan"] == {}
        assert (await client.get("/v1/catalog/datacenters")).json == ["dc1"]


@pytest.mark.parametrize("path", ["join/127.0.0.1:1?wan=1", "force-leave/x?wan"])
async def test_a_server_may_be_without_one(path: str) -> None:
    async with running(server=True) as server:
        answer = await server.put(f"/v1/agent/{path}")
        assert (answer.status, answer.text) == (500, "WAN Federation is disabled")
        assert (await server.get("/v1/agent/members?wan=1")).json == []
        (member,) = (await server.get("/v1/agent/members")).json
        assert "wan_join_port" not in member["Tags"]


# Datacenters


async def test_datacenters_are_ours_first_and_the_others_by_name() -> None:
    async with server("a", "m") as a, AsyncExitStack() as stack:
        assert (await a.get("/v1/catalog/datacenters")).json == ["m"]
        for dc in ("z", "b"):
            other = await stack.enter_async_context(server("s", dc))
            assert (await other.put(f"/v1/agent/join/{a.wan_gossip}?wan=1")).status == 200
        await seen(a, {"a.m": 1, "s.z": 1, "s.b": 1})
        assert (await a.get("/v1/catalog/datacenters")).json == ["m", "b", "z"]
        shown = (await a.get("/v1/agent/self")).json["Stats"]["consul"]
        assert shown["known_datacenters"] == "3"


async def test_a_datacenter_whose_servers_left_is_forgotten_and_a_failed_one_is_not() -> None:
    async with two_datacenters() as (a, b):
        await b.agent.leave()
        await seen(a, {"a.dc1": 1, "b.dc2": 3})
        assert (await a.get("/v1/catalog/datacenters")).json == ["dc1"]
    async with server("a") as a:
        async with server("b", "dc2") as b:
            await b.put(f"/v1/agent/join/{a.wan_gossip}?wan=1")
            await seen(a, {"a.dc1": 1, "b.dc2": 1})
        await seen(a, {"a.dc1": 1, "b.dc2": 4})
        assert (await a.get("/v1/catalog/datacenters")).json == ["dc1", "dc2"]


# Join


async def test_a_wan_join_leaves_the_lan_pools_apart() -> None:
    async with two_datacenters() as (a, b):
        assert (await statuses(a), await statuses(b)) == ({"a": 1}, {"b": 1})


@pytest.mark.parametrize("kind", ["start_join_wan", "retry_join_wan"])
async def test_configured_addresses_are_joined(kind: str) -> None:
    async with server("a") as a, server("b", "dc2", **{kind: (a.wan_gossip,)}) as b:
        await b.agent.join_configured()
        for agent in (a, b):
            await seen(agent, {"a.dc1": 1, "b.dc2": 1})


async def test_retry_join_wan_gives_up_after_retry_max_wan() -> None:
    settings: dict[str, Any] = {
        "retry_join_wan": ("127.0.0.1:1",),
        "retry_interval_wan": 0.01,
        "retry_max_wan": 3,
    }
    async with server("a", **settings) as a:
        await a.agent.join_configured()
        assert await asyncio.wait_for(asyncio.shield(a.agent.finished), 10) == 1


async def test_the_wan_pool_uses_the_gossip_key_too() -> None:
    key = "cg8StVXbQJ0gPvMd9o7yrg=="
    async with server("a", encrypt=key) as a, server("b", "dc2") as plain:
        assert (await plain.put(f"/v1/agent/join/{a.wan_gossip}?wan=1")).status == 500
        assert await statuses(a, "?wan=1") == {"a.dc1": 1}
        assert (await a.get("/v1/agent/self")).json["Stats"]["serf_wan"]["encrypted"] == "true"
        async with server("c", "dc3", encrypt=key) as c:
            assert (await c.put(f"/v1/agent/join/{a.wan_gossip}?wan=1")).status == 200


# Pools that must not mix


@asynccontextmanager
async def pools() -> AsyncIterator[dict[str, tuple[TestAgent, str]]]:
    """Two datacenters that know one another, each of a server and a client, and their addresses."""
    async with (
        two_datacenters() as (a, b),
        running("c") as c,
        running("d", datacenter="dc2") as d,
    ):
        for client, its_server in ((c, a), (d, b)):
            assert (await client.put(f"/v1/agent/join/{its_server.gossip}")).status == 200
        await seen(a, {"a": 1, "c": 1}, "")
        await seen(b, {"b": 1, "d": 1}, "")
        yield {
            "lan1": (a, a.gossip),
            "client1": (c, c.gossip),
            "wan1": (a, a.wan_gossip),
            "lan2": (b, b.gossip),
            "wan2": (b, b.wan_gossip),
        }


IN_LAN1 = "is a server of a WAN pool|part of wrong datacenter 'dc2'"
IN_LAN2 = "is a server of a WAN pool|part of wrong datacenter 'dc1'"
IN_WAN = "is not a server|is a server of the LAN pool of datacenter"
WRONG_JOINS = [
    ("lan1", "lan2", "part of wrong datacenter 'dc2'", "part of wrong datacenter 'dc1'"),
    ("client1", "lan2", "part of wrong datacenter 'dc2'", "part of wrong datacenter 'dc1'"),
    ("lan1", "wan1", IN_LAN1, IN_WAN),
    ("lan1", "wan2", IN_LAN1, IN_WAN),
    ("client1", "wan1", IN_LAN1, IN_WAN),
    ("wan1", "lan1", IN_WAN, IN_LAN1),
    ("wan1", "client1", IN_WAN, IN_LAN1),
    ("wan1", "lan2", IN_WAN, IN_LAN2),
]


async def test_r24_s12_a_join_of_the_wrong_pool_is_refused_on_both_sides_and_mixes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pools() as addresses:
        lists = [(agent, query) for agent, _ in addresses.values() for query in ("", "?wan=1")]
        before = [await statuses(agent, query) for agent, query in lists]
        for source, target, reason, their_reason in WRONG_JOINS:
            caplog.clear()
            query = "?wan=1" if source.startswith("wan") else ""
            (agent, _), (_, address) = addresses[source], addresses[target]
            answer = await agent.put(f"/v1/agent/join/{address}{query}")
            assert answer.status == 500, (source, target)
            assert re.search(reason, answer.text), (source, target)
            await eventually(lambda text=their_reason: re.search(text, caplog.text))
        after = [await statuses(agent, query) for agent, query in lists]
        assert after == before


async def test_r24_a_lone_server_that_joins_its_own_wan_port_stays_in_two_pools() -> None:
    async with server("a") as a, server("b") as b:
        for agent, other in ((a, a), (a, b), (b, a)):
            lan = await agent.put(f"/v1/agent/join/{other.wan_gossip}")
            assert (lan.status, "is a server of a WAN pool" in lan.text) == (500, True)
            wide = await agent.put(f"/v1/agent/join/{other.gossip}?wan=1")
            assert (wide.status, "of the LAN pool of datacenter 'dc1'" in wide.text) == (500, True)
        for agent, name in ((a, "a"), (b, "b")):
            assert await statuses(agent) == {name: 1}
            assert await statuses(agent, "?wan=1") == {f"{name}.dc1": 1}


async def test_a_copied_node_id_is_refused_on_both_sides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("a") as a, running("b") as b:
        assert (await b.put(f"/v1/agent/join/{a.gossip}")).status == 200
        await seen(a, {"a": 1, "b": 1}, "")
        async with running("c", node_id=b.agent.node_id) as c:
            answer = await c.put(f"/v1/agent/join/{a.gossip}")
            problem = f"has conflicting node ID '{b.agent.node_id}' with"
            assert answer.status == 500
            assert f"Member 'b' {problem} this agent's ID" in answer.text
            await eventually(lambda: f"Member 'c' {problem} member 'b'" in caplog.text)
            assert await statuses(a) == {"a": 1, "b": 1}
            assert await statuses(c) == {"c": 1}
            assert await statuses(b) == {"a": 1, "b": 1}


async def test_strict_merge_keeps_plain_serf_nodes_out(plain: Cluster) -> None:
    host, port = plain.local_address
    async with running("a") as a, running("b", strict_merge=True) as b:
        assert (await a.put(f"/v1/agent/join/{host}:{port}")).status == 200
        answer = await b.put(f"/v1/agent/join/{host}:{port}")
        assert answer.status == 500
        assert "Member 'plain' part of wrong datacenter ''" in answer.text
        assert await statuses(b) == {"b": 1}


async def test_a_plain_serf_node_never_enters_the_wan_pool(plain: Cluster) -> None:
    host, port = plain.local_address
    async with server("a") as a:
        answer = await a.put(f"/v1/agent/join/{host}:{port}?wan=1")
        assert (answer.status, "Member 'plain' is not a server" in answer.text) == (500, True)
        await plain.join([a.wan_gossip])  # a refusal by the acceptor is silent on this wire
        assert await statuses(a, "?wan=1") == {"a.dc1": 1}


# Servers of the LAN pool come along


async def test_servers_that_join_the_lan_pool_are_brought_into_the_wan_pool() -> None:
    async with two_datacenters() as (a, b), server("a2") as a2, running("client") as client:
        for agent in (client, a2):
            assert (await agent.put(f"/v1/agent/join/{a.gossip}")).status == 200
        for agent in (a, a2, b):
            await seen(agent, {"a.dc1": 1, "a2.dc1": 1, "b.dc2": 1})


async def test_a_server_that_does_not_answer_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wan, "FLOOD_INTERVAL", 0.1)
    join, answers = Cluster.join, False

    async def join_if_it_answers(self: Cluster, addresses: Sequence[str]) -> int:
        if self.config.name.endswith(".dc1") and not answers:
            raise JoinError("no route")
        return await join(self, addresses)

    monkeypatch.setattr(Cluster, "join", join_if_it_answers)
    async with server("a") as a, server("b") as b:
        await b.agent.join(a.gossip)
        text = "servers of the LAN pool do not answer"
        await eventually(lambda: caplog.text.count(text) > 3)
        assert await statuses(a, "?wan=1") == {"a.dc1": 1}
        answers = True
        await seen(a, {"a.dc1": 1, "b.dc1": 1})


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"role": "node"}, MemberStatus.ALIVE),
        ({"wan_join_port": "0"}, MemberStatus.ALIVE),
        ({"dc": "dc2"}, MemberStatus.ALIVE),
        ({}, MemberStatus.FAILED),
        ({}, MemberStatus.LEAVING),
    ],
)
async def test_who_is_no_running_server_of_ours_is_not_brought_in(
    tags: dict[str, str], status: MemberStatus
) -> None:
    good = {"role": "consul", "dc": "dc1", "port": "8300", "wan_join_port": "8302"}
    async with server("a") as a:
        assert a.agent.wan is not None
        versions = (1, 5, 2, 2, 5, 4)
        member = Member("x", "10.0.0.1", 8301, good, MemberStatus.ALIVE, *versions)
        assert a.agent.wan._missing(member) == "10.0.0.1:8302"
        member = Member("x", "10.0.0.1", 8301, good | tags, status, *versions)
        assert a.agent.wan._missing(member) is None
        (own,) = a.agent.cluster.members()
        assert a.agent.wan._missing(own) is None


# Force-leave


@asynccontextmanager
async def failed_server() -> AsyncIterator[TestAgent]:
    """A server whose only fellow, in both pools, has died."""
    async with server("a") as a:
        async with server("b") as b:
            assert (await b.put(f"/v1/agent/join/{a.gossip}")).status == 200
            await seen(a, {"a.dc1": 1, "b.dc1": 1})
        await seen(a, {"a": 1, "b": 4}, "")
        await seen(a, {"a.dc1": 1, "b.dc1": 4})
        yield a


async def test_force_leave_acts_on_the_lan_pool_and_then_on_the_wan_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with failed_server() as a:
        assert (await a.put("/v1/agent/force-leave/b")).status == 200
        assert await statuses(a) == {"a": 1, "b": 3}
        assert await statuses(a, "?wan=1") == {"a.dc1": 1, "b.dc1": 3}
        assert (await a.put("/v1/agent/force-leave/b.dc1?prune")).status == 200
        assert await statuses(a) == {"a": 1, "b": 3}
        assert await statuses(a, "?wan=1") == {"a.dc1": 1}
        assert "unknown" not in caplog.text
        assert (await a.put("/v1/agent/force-leave/b.dc2")).status == 200
        assert "force-leave of an unknown node name=b.dc2" in caplog.text


@pytest.mark.parametrize("query", ["?wan", "?wan=", "?wan=1"])
async def test_force_leave_with_wan_acts_on_that_pool_alone_and_takes_the_full_name(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with failed_server() as a:
        assert (await a.put(f"/v1/agent/force-leave/b{query}")).status == 200
        assert "unknown node name=b" in caplog.text
        assert (await a.put(f"/v1/agent/force-leave/b.dc1{query}")).status == 200
        assert await statuses(a) == {"a": 1, "b": 4}
        assert await statuses(a, "?wan=1") == {"a.dc1": 1, "b.dc1": 3}
        assert (await a.put(f"/v1/agent/force-leave/b.dc1{query}&prune")).status == 200
        assert await statuses(a, "?wan=1") == {"a.dc1": 1}


async def test_r19_force_leave_of_a_running_server_of_another_datacenter_is_refuted() -> None:
    async with two_datacenters() as (a, b):
        assert (await a.put("/v1/agent/force-leave/b.dc2?wan")).status == 200
        for agent in (a, b):
            await seen(agent, {"a.dc1": 1, "b.dc2": 1})


# Leave


async def test_a_server_leaves_the_wan_pool_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with two_datacenters() as (a, b), server("a2") as a2:
        assert (await a2.put(f"/v1/agent/join/{a.gossip}")).status == 200
        await seen(b, {"a.dc1": 1, "a2.dc1": 1, "b.dc2": 1})
        assert (await a2.put("/v1/agent/leave")).status == 200
        assert a2.agent.finished.result() == 0
        leaves = [record.name for record in caplog.records if "leaving the pool" in record.message]
        assert leaves == ["agent.wan", "agent.lan"]
        await seen(b, {"a.dc1": 1, "a2.dc1": 3, "b.dc2": 1})
        await seen(a, {"a": 1, "a2": 3}, "")
