"""The genuine ``serf`` command line at an agent of ours, through Serf's RPC."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.rpc.server import RpcServer
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.interop

KEY, NEW_KEY = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))


class Serf:
    """The command line, pointed at an agent."""

    def __init__(self, binary: str, address: str, agent: TestAgent) -> None:
        self._binary = binary
        self._address = address
        self.agent = agent

    async def __call__(self, *argv: str, code: int = 0) -> str:
        """What a command prints; it ends with `code`."""
        command, *rest = argv
        process = await asyncio.create_subprocess_exec(
            self._binary,
            command,
            f"-rpc-addr={self._address}",
            *rest,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        assert process.returncode == code, out.decode()
        return out.decode()


@asynccontextmanager
async def commanded(binary: str, **settings: Any) -> AsyncIterator[Serf]:
    async with running("one", rpc_addr="127.0.0.1:0", encrypt=KEY, **settings) as agent:
        server = RpcServer(agent.agent)
        await server.start()
        try:
            yield Serf(binary, server.address, agent)
        finally:
            await server.close()


async def test_members_info_event_and_tags(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        await serf("tags", "-set", "zone=eu")
        members, info = await serf("members", "-detailed"), await serf("info")
        await serf("event", "deploy", "v2")
        refused = await serf("tags", "-set", "dc=x", code=1)

    assert "one" in members
    assert "zone=eu" in members
    assert "event_time = " in info
    assert "belongs to the agent" in refused


async def test_join_query_reachability_and_rtt(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf, running("two", encrypt=KEY) as two:
        two.agent.cluster.on_query("uptime", lambda _query: b"42")
        joined = await serf("join", two.gossip)
        answers = await serf("query", "-timeout=500ms", "uptime")
        reached = await serf("reachability")
        rtt = await serf("rtt", "one", "one")

    assert "1 node" in joined
    assert "Response from 'two': 42" in answers
    assert "Successfully contacted all live nodes" in reached
    assert "rtt: " in rtt


async def test_keys_are_rotated(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        await serf("keys", "-install", NEW_KEY)
        await serf("keys", "-use", NEW_KEY)
        await serf("keys", "-remove", KEY)
        listed = await serf("keys", "-list")
        refused = await serf("keys", "-remove", NEW_KEY, code=1)

    assert NEW_KEY in listed
    assert KEY not in listed
    assert "removing the primary key is not allowed" in refused.lower()


async def test_a_failed_member_is_forced_to_leave(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        async with running("two", encrypt=KEY) as two:
            await serf("join", two.gossip)

        async def failed() -> bool:
            return "failed" in await serf("members")

        await eventually(failed, seconds=20)
        await serf("force-leave", "two")
        members = await serf("members")

    assert "left" in members


async def test_the_key_of_the_rpc_is_asked_for(genuine_serf: str) -> None:
    async with commanded(genuine_serf, rpc_auth="secret") as serf:
        without = await serf("members", code=1)
        wrong = await serf("members", "-rpc-auth=guess", code=1)
        right = await serf("members", "-rpc-auth=secret")

    assert "Authentication required" in without
    assert "Invalid authentication token" in wrong
    assert "one" in right


async def test_leave_ends_the_agent(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        await serf("leave")
        async with asyncio.timeout(10):
            code = await asyncio.shield(serf.agent.agent.finished)

    assert code == 0
