"""Keys beside genuine Consul: either side rotates the other, and each command line speaks to both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.keyring import NOT_OURS
from gossip.wire.keyring import encode_key
from simulations.local.http import request
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import FAST, WAN, TestAgent, running
from tests.helpers_forward import SERVER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulations.peers import ConsulAgent

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
LAN = {key: value for key, value in FAST.items() if key.endswith("delay")}
OLD, NEW = encode_key(b"a" * 32), encode_key(b"b" * 32)
OURS = [sys.executable, "-m", "agent"]


async def run(program: list[str], address: str, *argv: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *program,
        *argv,
        cwd=ROOT,
        env=os.environ | {"CONSUL_HTTP_ADDR": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def ring(agent: TestAgent) -> list[str]:
    keyring = agent.agent.cluster.node.keyring
    assert keyring is not None
    return [encode_key(key) for key in keyring.keys]


def kept(folder: Path, pool: str = "local") -> Any:
    return json.loads((folder / "serf" / f"{pool}.keyring").read_text())


@contextlib.asynccontextmanager
async def joined(start_consul: Any, folder: Path) -> AsyncIterator[tuple[ConsulAgent, TestAgent]]:
    """A genuine server and a client of ours, with one key."""
    server: ConsulAgent = await start_consul("server", encrypt=OLD)
    await server.elected()
    async with running("ours", pool=LAN, encrypt=OLD, data_dir=str(folder)) as ours:
        await ours.agent.join("{}:{}".format(*server.gossip))

        async def both() -> bool:
            return await server.alive() == {"server", "ours"}

        await eventually(both, within=10, what="both in the pool")
        yield server, ours


async def test_consul_keyring_rotates_our_client_and_its_file(
    start_consul: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "ours-data"
    async with joined(start_consul, folder) as (server, ours):
        address = "{}:{}".format(*server.http)
        consul = [find_peer("consul"), "keyring"]
        for argument, expected in (
            (f"-install={NEW}", [OLD, NEW]),
            (f"-use={NEW}", [NEW, OLD]),
            (f"-remove={OLD}", [NEW]),
        ):
            code, out, err = await run(consul, address, argument)
            assert code == 0, out + err
            assert ring(ours) == kept(folder) == expected
        code, out, _ = await run(consul, address, "-list")
        assert code == 0
        assert f"dc1 (LAN):\n  {NEW} [2/2]" in out


async def test_r47_our_rotate_works_through_a_genuine_server(
    start_consul: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "ours-data"
    async with joined(start_consul, folder) as (server, ours):
        address = "{}:{}".format(*server.http)
        code, out, err = await run([*OURS, "keyring"], address, "-rotate", NEW)
        assert (code, err) == (0, ""), out
        assert NEW not in out
        assert ring(ours) == kept(folder) == [NEW]
        mine = await run([*OURS, "keyring"], address, "-list")
        theirs = await run([find_peer("consul"), "keyring"], address, "-list")
        assert mine == theirs


async def test_consuls_command_reads_and_changes_our_servers_keys(genuine_consul: str) -> None:
    consul = [genuine_consul, "keyring"]
    async with running("ours", encrypt=OLD, **WAN) as ours:
        address = f"127.0.0.1:{ours.port}"
        mine = await run([*OURS, "keyring"], address, "-list")
        assert await run(consul, address, "-list") == mine
        for argument in (f"-install={NEW}", f"-use={NEW}", f"-remove={OLD}"):
            code, out, err = await run(consul, address, argument)
            assert code == 0, out + err
        assert ring(ours) == [NEW]
        code, _, err = await run(consul, address, f"-remove={NEW}")
        assert code == 1
        assert "dc1 (LAN) error: 1/1 nodes reported failure" in err


MISTAKES = [
    ("GET", "?relay-factor=6", b""),
    ("GET", "?relay-factor=-1", b""),
    ("PUT", "?local-only=true", b'{"Key":"x"}'),
    ("PUT", "", json.dumps({"Key": NEW}).encode()),
    ("DELETE", "", json.dumps({"Key": OLD}).encode()),
]


async def test_mistakes_read_as_consuls(start_consul: Any) -> None:
    server: ConsulAgent = await start_consul("server", encrypt=OLD)
    await server.elected()
    async with running("server", encrypt=OLD, **WAN) as ours:
        for method, query, body in MISTAKES:
            target = f"/v1/operator/keyring{query}"
            theirs = await request(server.http, method, target, body=body, check=False)
            mine = await ours.ask(method, target, body=body)
            # Consul before 1.12 says so twice; the one whose texts we follow does not.
            text = theirs.body.decode().removeprefix("Bad request: ").strip()
            assert (mine.status, mine.text.strip()) == (theirs.status, text)


async def wan_joined(agents: list[Any], address: str, names: set[str]) -> None:
    """Have the first join the WAN pool at an address, and wait until all see these members."""
    first = agents[0]
    target = f"/v1/agent/join/{address}?wan=1"
    await (first.put(target) if isinstance(first, TestAgent) else first.call("PUT", target))

    async def complete() -> bool:
        for agent in agents:
            path = "/v1/agent/members?wan=1"
            shown = (
                (await agent.get(path)).json
                if isinstance(agent, TestAgent)
                else (await agent.call("GET", path)).json()
            )
            if {m["Name"] for m in shown if m["Status"] == 1} != names:
                return False
        return True

    await eventually(complete, within=20, what=f"{names} in the WAN pool")


async def test_the_list_over_two_datacenters_is_consuls(start_consul: Any) -> None:
    theirs = [
        await start_consul(f"s{number}", datacenter=f"dc{number}", encrypt=OLD) for number in (1, 2)
    ]
    names = {"s1.dc1", "s2.dc2"}
    await wan_joined(theirs, "{}:{}".format(*theirs[1].wan), names)
    expected: list[dict[str, Any]] = []

    async def routed() -> bool:
        nonlocal expected
        answer = await request(theirs[0].http, "GET", "/v1/operator/keyring", check=False)
        expected = answer.json() if answer.status == 200 else []
        return len(expected) == 3

    await eventually(routed, within=20, what="both datacenters in the list")
    async with (
        running("s1", encrypt=OLD, **SERVER) as one,
        running("s2", encrypt=OLD, datacenter="dc2", **SERVER) as two,
    ):
        await wan_joined([one, two], two.wan_gossip, names)
        await eventually(lambda: one.agent.servers.of("dc2"), within=10, what="the server of dc2")
        mine = (await one.get("/v1/operator/keyring")).json
    if "PrimaryKeys" not in expected[0]:  # older ones do not tell who encrypts with what
        assert [pool.pop("PrimaryKeys") for pool in mine] == [pool["Keys"] for pool in mine]
    # The datacenters come as they answer.
    assert mine[0] == expected[0]
    assert sorted(mine[1:], key=str) == sorted(expected[1:], key=str)
    assert [list(pool) for pool in mine] == [list(pool) for pool in expected]


async def test_a_datacenter_of_genuine_servers_is_named_and_the_rest_is_done(
    start_consul: Any,
) -> None:
    genuine: ConsulAgent = await start_consul("theirs", datacenter="dc2", encrypt=OLD)
    assert genuine.wan is not None
    async with running("ours", encrypt=OLD, **SERVER) as ours:
        await wan_joined([ours, genuine], "{}:{}".format(*genuine.wan), {"ours.dc1", "theirs.dc2"})
        answer = await ours.ask(
            "POST", "/v1/operator/keyring", body=json.dumps({"Key": NEW}).encode()
        )
        assert (answer.status, answer.text) == (
            500,
            f"1 error occurred:\n\t* dc2 (LAN) error: {NOT_OURS}\n\n",
        )
        assert ring(ours) == [OLD, NEW]
    # Its WAN ring took the key from ours, its LAN ring is for itself.
    rings = {pool: kept(genuine.folder / "data", pool) for pool in ("remote", "local")}
    assert rings == {"remote": [OLD, NEW], "local": [OLD]}
