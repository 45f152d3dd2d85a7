"""The genuine ``serf`` command line at an agent of ours, through Serf's RPC."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.log_stream import LogEntry
from agent.rpc.server import RpcServer
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.conftest import StartSerf

pytestmark = pytest.mark.interop

KEY, NEW_KEY = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))


class Serf:
    """The command line, pointed at an agent."""

    def __init__(self, binary: str, address: str, agent: TestAgent | None = None) -> None:
        self._binary = binary
        self._address = address
        self._agent = agent

    @property
    def agent(self) -> TestAgent:
        """Ours."""
        assert self._agent is not None
        return self._agent

    async def start(self, *argv: str) -> asyncio.subprocess.Process:
        """A command that runs; what it prints is in ``stdout``."""
        command, *rest = argv
        return await asyncio.create_subprocess_exec(
            self._binary,
            command,
            f"-rpc-addr={self._address}",
            *rest,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def outcome(self, *argv: str) -> tuple[int | None, str]:
        """Exit code and output of a command."""
        process = await self.start(*argv)
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        return process.returncode, out.decode()

    async def __call__(self, *argv: str, code: int = 0) -> str:
        """What a command prints; it ends with `code`."""
        ended, out = await self.outcome(*argv)
        assert ended == code, out
        return out


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


COMPARED = [
    ["event", "deploy", "v1"],
    ["event", "-coalesce=false", "deploy"],
    ["force-leave", "nobody"],
    ["keys", "-list"],
    ["keys", f"-use={NEW_KEY}"],
    ["members", "-name=nobody", "-format=json"],
    ["members", "-status=failed"],
    ["monitor", "-log-level=loud"],
    ["query", "-timeout=2s", "uptime"],
    ["query", "-timeout=2s", "-no-ack", "-node=nobody", "uptime"],
    ["query", "-timeout=2s", "-format=json", "-tag=absent=x", "uptime"],
    ["query", "_serf_list-keys"],
    ["reachability"],
    ["rtt", "nobody"],
    ["tags", "-set=rack=7", "-delete=nothing"],
]


async def test_commands_print_what_they_print_at_a_genuine_agent(
    genuine_serf: str, start_serf: StartSerf
) -> None:
    """Also the exit codes; the agents have the same name, so nothing else differs."""
    theirs = await start_serf("one", encrypt=KEY)
    genuine = Serf(genuine_serf, "{}:{}".format(*theirs.rpc_address))
    async with commanded(genuine_serf) as ours:
        outcomes = await asyncio.gather(
            *(serf.outcome(*argv) for argv in COMPARED for serf in (ours, genuine))
        )

    by_command = list(zip(COMPARED, outcomes[::2], outcomes[1::2], strict=True))
    different = [(argv, own, other) for argv, own, other in by_command if own != other]
    assert different == []


async def test_the_monitor_shows_lines_like_serfs(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        logs = serf.agent.agent.logs
        logs.publish(LogEntry(0.0, logging.INFO, "agent.agent", "before"))
        logs.publish(LogEntry(0.0, logging.DEBUG, "agent.agent", "hidden"))
        process = await serf.start("monitor", "-log-level=info")
        assert process.stdout is not None
        async with asyncio.timeout(20):
            first = await process.stdout.readline()
            logs.publish(LogEntry(0.0, logging.ERROR, "gossip.aio", "meanwhile"))
            second = await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            await process.communicate()

    line = rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(line + rb"\[INFO\] agent\.agent: before\n", first)
    assert re.fullmatch(line + rb"\[ERR\] gossip\.aio: meanwhile\n", second)


async def test_a_filter_that_does_not_compile_is_explained(genuine_serf: str) -> None:
    async with commanded(genuine_serf) as serf:
        refused = await serf("members", "-status=(", code=1)

    assert "Failed to compile status regex: error parsing regexp: missing" in refused
