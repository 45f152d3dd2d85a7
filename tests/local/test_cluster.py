"""A cluster of our agents as processes: joined within seconds, followed through faults, never left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulations.cluster import LocalCluster
from simulations.cluster.agent import LEFT
from simulations.local.http import HttpError, request
from simulations.local.ports import Ports
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from simulations.fixture.processes import ProcessCluster


@pytest.mark.gossip_cluster(kind="processes")
async def test_agents_join_and_an_event_fired_at_one_arrives_at_all(
    gossip_cluster: ProcessCluster,
) -> None:
    await gossip_cluster.fire("node2", "deploy", b"\x00v2")

    for name in gossip_cluster.names:

        async def listed(name: str = name) -> bool:
            return await gossip_cluster.events(name) == [("deploy", b"\x00v2")]

        await gossip_cluster.until(listed, within=10, what=f"the event is at {name}")


async def test_r35_a_cluster_runs_on_ipv6() -> None:
    async with LocalCluster(2, host="::1") as cluster:
        stays, leaves = cluster.agents
        assert {member["Addr"] for member in await stays.member_table()} == {"::1"}
        assert await leaves.leave() == 0
        assert (await stays.members())[leaves.name] == LEFT


@pytest.mark.gossip_cluster(kind="processes", nodes=2)
async def test_an_agent_that_left_is_shown_as_left_and_comes_back_after_a_restart(
    gossip_cluster: ProcessCluster,
) -> None:
    await gossip_cluster.leave("node2")
    await gossip_cluster.settled(within=10)
    assert gossip_cluster["node2"].process.exit_status == 0
    assert (await gossip_cluster.members("node1"))["node2"] == "left"

    await gossip_cluster.restart("node2")

    await gossip_cluster.settled(within=10)


async def test_a_killed_agent_finds_its_cluster_again_without_being_told_where_it_is() -> None:
    async with LocalCluster(2) as cluster:
        stays, killed = cluster.agents
        snapshot = killed.folder / "data" / "serf" / "local.snapshot"
        await eventually(
            lambda: f"alive: {stays.name} " in snapshot.read_text(), within=10, what="it is noted"
        )
        await killed.process.kill()
        event = await stays.fire("missed")

        await killed.restart()

        await cluster.complete(within=10)

        async def listed() -> list[str]:
            return [e["ID"] for e in (await killed.events())[0]]

        assert await eventually(listed, within=10, what="the event it missed") == [event]


async def test_an_agent_that_left_comes_back_by_itself_with_rejoin() -> None:
    async with LocalCluster(2, arguments=["-rejoin"]) as cluster:
        stays, leaves = cluster.agents
        assert await leaves.leave() == 0
        assert (await stays.members())[leaves.name] == LEFT

        await leaves.restart()

        await cluster.complete(within=10)


@pytest.mark.gossip_cluster(kind="processes")
async def test_a_killed_agent_is_detected_by_the_running_ones(
    gossip_cluster: ProcessCluster,
) -> None:
    await gossip_cluster.kill("node3")

    await gossip_cluster.settled(within=30)

    assert (await gossip_cluster.members("node1"))["node3"] == "failed"


async def test_a_paused_agent_does_not_answer_until_it_is_resumed() -> None:
    async with LocalCluster(1) as cluster:
        agent = cluster.agents[0]
        agent.process.pause()
        with pytest.raises(TimeoutError):
            await agent.call("GET", "/v1/agent/members", within=0.2)

        agent.process.resume()

        assert await agent.alive() == {agent.name}


async def test_incomplete_views_are_named_in_the_timeout() -> None:
    async with LocalCluster(2, join=False) as cluster:
        with pytest.raises(TimeoutError, match=r"node1 misses node2 and still has none"):
            await cluster.complete(within=0.2)


async def test_an_agent_that_cannot_start_fails_with_the_end_of_its_log() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)node1 ended with status \d.*log:.*no-such-flag"):
        async with LocalCluster(1, arguments=["-no-such-flag=1"]):
            pytest.fail("it must not start")


async def test_everything_ends_with_the_block_and_its_folder_goes() -> None:
    async with LocalCluster(2, join=False) as cluster:
        folder, agents = cluster.folder, cluster.agents
        assert folder.is_dir()

    assert not folder.exists()
    assert [agent.process.running for agent in agents] == [False, False]
    with pytest.raises(OSError, match=r"refused|Connect"):
        await agents[0].call("GET", "/v1/agent/members")


async def test_http_errors_carry_the_agents_words() -> None:
    async with LocalCluster(1) as cluster:
        with pytest.raises(HttpError, match=r"400 Missing name"):
            await cluster.agents[0].call("PUT", "/v1/event/fire/")


async def demo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulations", "agents", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finished(child: asyncio.subprocess.Process) -> tuple[str, str]:
    try:
        async with asyncio.timeout(60):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return output.decode(), errors.decode()


async def test_make_run_exit_shows_the_cluster_and_succeeds() -> None:
    with Ports() as ports:
        port = ports.take()  # free, and nobody else's while this runs
    child = await demo("-n", "3", "--exit", "--json", "--http-port", str(port))
    output, errors = await finished(child)

    assert child.returncode == 0, errors
    steps = {line["step"]: line for line in map(json.loads, output.splitlines())}
    assert steps["joined"]["agents"] == 3
    assert steps["event"]["arrived"] == 3
    assert [member["Status"] for member in steps["members"]["members"]] == [1, 1, 1]
    assert "done" in steps


async def test_make_run_with_a_taken_port_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        child = await demo("-n", "2", "--exit", "--http-port", str(port))
        _, errors = await finished(child)

    assert child.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in errors
    assert "HTTP_PORT=" in errors


async def test_interrupting_make_run_ends_every_agent() -> None:
    with Ports() as ports:
        port = ports.take()
    child = await demo("-n", "2", "--json", "--http-port", str(port))
    assert child.stdout is not None
    pids = []
    async with asyncio.timeout(60):
        while (step := json.loads(await child.stdout.readline()))["step"] != "following":
            if step["step"] == "agent":
                pids.append(step["pid"])

    child.send_signal(signal.SIGINT)
    await finished(child)

    assert child.returncode == 0
    assert len(pids) == 2
    assert not [pid for pid in pids if exists(pid)]


async def test_interrupting_agents_that_would_have_ended_by_themselves_is_no_success() -> None:
    with Ports() as ports:
        port = ports.take()
    child = await demo("-n", "2", "--exit", "--json", "--http-port", str(port))
    assert child.stdout is not None
    async with asyncio.timeout(60):
        assert json.loads(await child.stdout.readline())["step"] == "starting"

    child.send_signal(signal.SIGINT)
    await finished(child)

    assert child.returncode == 130


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_following_shows_a_killed_agent_and_a_fired_event() -> None:
    with Ports() as ports:
        port = ports.take()
    child = await demo("-n", "3", "--json", "--http-port", str(port))
    assert child.stdout is not None
    victim = 0
    deadline = time.monotonic() + 60
    seen: set[str] = set()
    while seen != {"failed", "deploy"} and time.monotonic() < deadline:
        async with asyncio.timeout(30):
            step = json.loads(await child.stdout.readline())
        match step:
            case {"step": "agent", "pid": pid}:
                victim = pid
            case {"step": "following"}:
                os.kill(victim, signal.SIGKILL)
                await request(("127.0.0.1", port), "PUT", "/v1/event/fire/deploy")
            case {"step": "member", "status": "failed"}:
                seen.add("failed")
            case {"step": "event", "name": "deploy"}:
                seen.add("deploy")
    child.send_signal(signal.SIGINT)
    await finished(child)

    assert seen == {"failed", "deploy"}
