"""Datacenters as processes: each a pool of its own, their servers together in the WAN pool."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulations.cluster import LocalDatacenters
from simulations.cluster.agent import FAILED, LEFT
from simulations.local.http import HttpError, request
from simulations.local.ports import Ports
from simulations.local.wait import eventually
from tests.local.test_cluster import demo, finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulations.cluster import LocalAgent


@pytest.fixture
async def datacenters() -> AsyncIterator[LocalDatacenters]:
    """Two datacenters of a server and a client, joined; the WAN pool hurries as the LAN pool does."""
    hurry = [f"-config-file={Path(__file__).with_name('hurry.json')}"]
    async with LocalDatacenters(2, 2, arguments=hurry) as joined:
        await joined.join()
        await joined.complete(within=20)
        yield joined


async def becomes(agent: LocalAgent, name: str, status: int) -> None:
    async def shown() -> bool:
        return (await agent.members(wan=True)).get(name) == status

    await eventually(shown, within=30, what=f"{name} has status {status}")


async def test_servers_see_one_another_over_the_wan_and_the_lan_pools_stay_apart(
    datacenters: LocalDatacenters,
) -> None:
    for cluster in datacenters.clusters:
        await cluster.complete(within=10)
        server, client = cluster.agents
        assert sorted(await server.datacenters()) == ["dc1", "dc2"]
        assert (await server.datacenters())[0] == cluster.datacenter
        assert await client.member_table(wan=True) == []


async def test_a_server_that_joins_the_lan_is_brought_into_the_wan_pool(
    datacenters: LocalDatacenters,
) -> None:
    cluster = datacenters.clusters[1]
    added = cluster.add("-server", "-serf-wan-port=0", "-server-port=0")
    await cluster.start([added])
    await added.join([cluster.agents[0].gossip])

    name = f"{added.name}.{cluster.datacenter}"
    for agent in (*datacenters.servers().values(), added):

        async def shown(agent: LocalAgent = agent) -> bool:
            return await agent.alive(wan=True) == {*datacenters.servers(), name}

        await eventually(shown, within=10, what=f"{agent.name} sees {name}")


@pytest.mark.parametrize("role", ["server", "client"])
async def test_an_event_for_another_datacenter_arrives_there_and_only_there(
    datacenters: LocalDatacenters, role: str
) -> None:
    here, there = (cluster.agents for cluster in datacenters.clusters)
    sender = here[["server", "client"].index(role)]

    fired = await sender.fire("deploy", b"v2", dc="dc2", node="node")
    await sender.fire("deploy", b"v3")

    for agent in there:

        async def listed(agent: LocalAgent = agent) -> bool:
            return fired in {event["ID"] for event in (await agent.events("deploy"))[0]}

        await eventually(listed, within=10, what=f"{agent.name} lists the event")
    for agent in (*here, *there):
        payloads = [event["Payload"] for event in (await agent.events("deploy"))[0]]
        assert (b"v2" in payloads, b"v3" in payloads) in {(agent in there, False), (False, True)}


async def test_an_event_for_an_unknown_datacenter_says_that_there_is_no_path(
    datacenters: LocalDatacenters,
) -> None:
    for agent in datacenters.clusters[0].agents:
        with pytest.raises(HttpError, match="No path to datacenter"):
            await agent.fire("deploy", dc="dc9")


async def test_a_graceful_leave_is_left_in_both_pools(datacenters: LocalDatacenters) -> None:
    (here, _), (leaves, client) = (cluster.agents for cluster in datacenters.clusters)

    assert await leaves.leave() == 0

    await becomes(here, f"{leaves.name}.dc2", LEFT)
    assert (await client.members())[leaves.name] == LEFT
    assert await here.datacenters() == ["dc1"]


async def test_a_signal_leaves_or_stops_in_both_pools_alike(datacenters: LocalDatacenters) -> None:
    (here, _), (server, _) = (cluster.agents for cluster in datacenters.clusters)

    server.process.signal(signal.SIGTERM)  # a server stays in the cluster then

    assert await server.process.wait(20) == 1
    await becomes(here, f"{server.name}.dc2", FAILED)
    assert await here.datacenters() == ["dc1", "dc2"]


async def test_one_rotation_moves_the_keys_of_all_datacenters(tmp_path: Path) -> None:
    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps({"encrypt": old}))
    hurry = Path(__file__).with_name("hurry.json")
    arguments = [f"-config-file={hurry}", f"-config-file={key_file}"]
    async with LocalDatacenters(2, 2, arguments=arguments) as joined:
        await joined.join()
        await joined.complete(within=20)
        server = joined.clusters[1].agents[0]
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "keyring", "-rotate", "-format=json", "-"),
            env=os.environ | {"CONSUL_HTTP_ADDR": "{}:{}".format(*server.http)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, _ = await child.communicate(new.encode())
        listed = (await request(server.http, "GET", "/v1/operator/keyring")).json()
        files = [
            agent.folder / "data" / "serf" / f"{pool}.keyring"
            for cluster in joined.clusters
            for agent, pools in zip(cluster.agents, (("local", "remote"), ("local",)), strict=True)
            for pool in pools
        ]
        kept = [json.loads(file.read_text()) for file in files]

    assert child.returncode == 0, output
    assert json.loads(output)["Pools"] == ["WAN", "dc2 (LAN)", "dc1 (LAN)"]
    assert [pool["Keys"] for pool in listed] == [{new: 2}] * 3
    assert kept == [[new]] * 6


async def test_r24_s12_a_thousand_cross_joins_mix_nothing(datacenters: LocalDatacenters) -> None:
    """Every agent tries every address of a pool that is not its own, again and again."""
    agents = [agent for cluster in datacenters.clusters for agent in cluster.agents]
    before = [await agent.members(wan=wan) for agent in agents for wan in (False, True)]
    attempts = [*wrong_joins(datacenters)] * 42
    assert len(attempts) >= 1000
    texts: set[str] = set()
    room = asyncio.Semaphore(8)

    async def attempt(agent: LocalAgent, address: tuple[str, int], wan: bool) -> None:
        async with room:
            with pytest.raises(HttpError) as refused:
                await agent.join([address], wan=wan)
        texts.add(str(refused.value).partition("Failed to join")[2].partition(": ")[2])

    await asyncio.gather(*(attempt(*one) for one in attempts))

    assert [await agent.members(wan=wan) for agent in agents for wan in (False, True)] == before
    assert all("Member '" in text for text in texts)


def wrong_joins(datacenters: LocalDatacenters) -> Any:
    """Who, which address, and with which pool."""
    for cluster in datacenters.clusters:
        for agent in cluster.agents:
            for other in datacenters.clusters:
                for target in other.agents:
                    if other is not cluster:
                        yield agent, target.gossip, False
                    if target.wan is not None:
                        yield agent, target.wan, False
                    if agent.wan is not None:
                        yield agent, target.gossip, True


async def test_make_run_with_datacenters_shows_them_and_succeeds() -> None:
    with Ports() as ports:
        port = ports.take()
    child = await demo(
        *("--datacenters", "2", "-n", "2", "--exit", "--json"), "--http-port", str(port)
    )
    output, errors = await finished(child)

    assert child.returncode == 0, errors
    steps: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, output.splitlines()):
        steps.setdefault(line["step"], []).append(line)
    assert [step["datacenter"] for step in steps["datacenter"]] == ["dc1", "dc2"]
    lists = [{m["Name"] for m in step["members"]} for step in steps["members"]]
    assert lists == [{"dc1-node1", "dc1-node2"}, {"dc2-node1", "dc2-node2"}]
    (wide,) = steps["wan_members"]
    assert [(m["Name"], m["Status"]) for m in wide["members"]] == [
        ("dc1-node1.dc1", 1),
        ("dc2-node1.dc2", 1),
    ]
    assert steps["wan_joined"][0]["datacenters"] == ["dc1", "dc2"]
    assert "done" in steps


async def test_following_datacenters_shows_events_of_each() -> None:
    with Ports() as ports:
        port = ports.take()
    child = await demo("--datacenters", "2", "-n", "1", "--json", "--http-port", str(port))
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            while (step := json.loads(await child.stdout.readline())).get("name") != "deploy":
                if step["step"] == "following":
                    address = ("127.0.0.1", port + 1)
                    await request(address, "PUT", "/v1/event/fire/deploy")
    finally:
        os.kill(child.pid, signal.SIGINT)
        await finished(child)
    assert child.returncode == 0


async def test_too_many_agents_are_refused() -> None:
    child = await demo("--datacenters", "20", "-n", "6")
    _, errors = await finished(child)
    assert child.returncode == 2
    assert "-n 6 is not between 1 and 5, 100 agents in all" in errors


async def test_the_command_line_asks_for_the_wan_pool(datacenters: LocalDatacenters) -> None:
    (server, client), _ = (cluster.agents for cluster in datacenters.clusters)

    code, out = await gossip(server, "members", "-wan")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [(row[0], row[2], row[3], row[6]) for row in rows[1:]] == [
        ("dc1-node1.dc1", "alive", "server", "dc1"),
        ("dc2-node1.dc2", "alive", "server", "dc2"),
    ]
    assert await gossip(client, "members", "-wan") == (2, "")
    code, out = await gossip(client, "join", "-wan", "127.0.0.1:1")
    assert (code, "Must be a server to join WAN cluster" in out) == (1, True)
    address = "{}:{}".format(*(datacenters.clusters[1].agents[0].wan or ()))
    assert (await gossip(server, "join", "-wan", address))[0] == 0
    assert (await gossip(server, "force-leave", "-wan", "nobody.dc9"))[0] == 0
    code, out = await gossip(server, "info")
    section = out.partition("serf_wan:\n")[2]
    assert (code, "\tmembers = 2\n" in section) == (0, True)


async def gossip(agent: LocalAgent, *argv: str) -> tuple[int | None, str]:
    """Exit code and output of a command that asks this agent."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", *argv),
        env=os.environ | {"CONSUL_HTTP_ADDR": "{}:{}".format(*agent.http)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode()
