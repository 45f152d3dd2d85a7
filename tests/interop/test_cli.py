"""Our command line and Consul's beside each other, at the same genuine agents."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.config_parse import parse
from agent.servers import FORWARD_TAG
from simulations.peers import find_peer
from tests.helpers_agent import eventually

if TYPE_CHECKING:
    from simulations.peers import ConsulAgent

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
ID = "3d9a3f0a-5b6c-4f7e-9b3e-0123456789ab"
ABSENT = "127.0.0.1:1"


async def run(program: list[str], agent: ConsulAgent, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that asks this agent."""
    address = f"{agent.http[0]}:{agent.http[1]}"
    process = await asyncio.create_subprocess_exec(
        *program,
        *argv,
        cwd=ROOT,
        env=os.environ | {"CONSUL_HTTP_ADDR": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def both(agent: ConsulAgent, *argv: str) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """What ours does, and what Consul's does."""
    ours = run([sys.executable, "-m", "agent"], agent, *argv)
    return await ours, await run([find_peer("consul")], agent, *argv)


@pytest.fixture
async def pool(start_consul: Any) -> Any:
    """A server, and a client that sorts before it by name."""
    server = await start_consul("server")
    client = await start_consul("client", server=False)
    await client.join([server.gossip])
    await server.elected()
    return server, client


async def test_both_show_the_same_members(pool: Any) -> None:
    for agent in pool:
        for argv in ([], ["-detailed"], ["-status=alive"], ["-status=^al", "--detailed=true"]):
            ours, theirs = await both(agent, "members", *argv)
            assert ours == theirs
            assert ours[0] == 0
    ours, theirs = await both(pool[0], "members", "-wan")
    assert ours == theirs


async def test_both_exit_alike(pool: Any) -> None:
    server, _ = pool
    for argv in (
        ["members", "-status=failed"],
        ["members", "-status=["],
        ["members", f"-http-addr={ABSENT}"],
        ["members", "-nonsense"],
        ["members", "-h"],
        ["join"],
        ["join", ABSENT],
        ["force-leave"],
        ["force-leave", "nobody"],
        ["event"],
        ["event", "-name=x", "a", "b"],
        ["event", "-name=x", "-tag=y"],
        ["event", "-name=x", "-node=["],
        ["nonsense"],
    ):
        ours, theirs = await both(server, *argv)
        assert ours[0] == theirs[0], argv


async def test_both_join_with_the_same_words(pool: Any) -> None:
    server, client = pool
    address = f"{client.gossip[0]}:{client.gossip[1]}"
    ours, theirs = await both(server, "join", ABSENT, address)
    assert ours[:2] == theirs[:2] == (0, "Successfully joined cluster by contacting 1 nodes.\n")
    assert ours[2].startswith(f"Error joining address '{ABSENT}': Unexpected response code: 500 (")


async def test_both_show_the_same_sections_of_info(pool: Any) -> None:
    ours, theirs = await both(pool[0], "info")

    def keys(out: str) -> list[str]:
        return [line.partition(" = ")[0] for line in out.splitlines()]

    assert keys(ours[1]) == keys(theirs[1])
    assert ours[0] == theirs[0] == 0


async def test_an_event_fired_by_ours_is_in_consuls_list(pool: Any) -> None:
    server, _ = pool
    program = [sys.executable, "-m", "agent"]
    code, out, _ = await run(program, server, "event", "-name=deploy", "v2")
    events, _ = await server.events("deploy")
    assert code == 0
    assert out == f"Event ID: {events[-1]['ID']}\n"
    assert events[-1]["Payload"] == b"v2"
    code, out, _ = await run(program, server, "events", "-name=deploy")
    assert events[-1]["ID"] in out
    assert out.endswith("  deploy  v2\n")


async def test_our_tags_have_the_keys_and_constants_of_consuls(start_consul: Any) -> None:
    server = await start_consul("server")
    client = await start_consul("client", server=False)
    await client.join([server.gossip])
    members = (await client.call("GET", "/v1/agent/members")).json()
    genuine = {member["Name"]: member["Tags"] for member in members}
    own = {"id", "build", "port", "wan_join_port"}
    for name, argv in (
        ("client", []),
        ("server", ["-server", "-bootstrap", "-serf-wan-port=8302"]),
    ):
        ours = dict(parse(["-data-dir=/nonexistent", *argv]).gossip_config(ID).tags)
        assert ours.pop(FORWARD_TAG, None) == ("1" if name == "server" else None)
        assert ours.keys() == genuine[name].keys()
        assert {k: v for k, v in ours.items() if k not in own} == {
            k: v for k, v in genuine[name].items() if k not in own
        }


async def test_consul_takes_a_member_with_our_tags_into_its_catalog(
    start_consul: Any, start_serf: Any
) -> None:
    server = await start_consul("server")
    await server.elected()
    tags = parse(["-data-dir=/nonexistent"]).member_tags(ID)
    other = await start_serf("ours", tags=tags)
    await other.join([server.gossip])

    async def announced() -> Any:  # the server answers a join before it has taken the newcomer in
        answer = await server.call("GET", "/v1/agent/members")
        return next((m["Tags"] for m in answer.json() if m["Name"] == "ours"), None)

    assert await eventually(announced) == tags
    ours, theirs = await both(server, "members")
    assert ours == theirs
    row = next(line.split() for line in ours[1].splitlines() if line.startswith("ours"))
    assert row[2:] == ["alive", "client", "0.1.0", "2", "dc1", "<default>"]
