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

from gossip.wire.keyring import encode_key
from simulations.local.http import request
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import FAST, WAN, TestAgent, running

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


def kept(folder: Path) -> Any:
    return json.loads((folder / "serf" / "local.keyring").read_text())


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
