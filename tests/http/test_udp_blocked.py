"""R-04 on real sockets: a member whose UDP is blocked stays alive, and everybody can see why it is slow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from gossip import Cluster, Config, MemberFailed
from simulations.local.ports import Ports
from tests.helpers_agent import FAST, TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

HOST = "127.0.0.1"
PATIENT = {"suspicion_mult": 100}
"""A ping over TCP that is late on a busy machine makes a suspect, which hears nothing over UDP to refute."""
WATCHED = 3.0  # seconds: fifteen probes


class Firewall(asyncio.DatagramProtocol):
    """Passes what comes to one port on to another: streams always, datagrams once `udp` is True."""

    def __init__(self, port: int, behind: int) -> None:
        self.udp = False
        self._port = port
        self._behind = behind
        self._transport: asyncio.DatagramTransport | None = None
        self._streams: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(HOST, self._port)
        )
        self._transport = transport
        server = await asyncio.start_server(self._on_stream, HOST, self._port)
        try:
            yield
        finally:
            server.close()
            transport.close()
            for task in self._streams:
                task.cancel()
            await asyncio.gather(*self._streams, return_exceptions=True)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.udp and self._transport is not None:
            self._transport.sendto(data, (HOST, self._behind))

    def _on_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass_on(reader, writer))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as ends:
            ends.push_async_callback(_closed, writer)
            with contextlib.suppress(OSError):
                inside, outside = await asyncio.open_connection(HOST, self._behind)
                ends.push_async_callback(_closed, outside)
                await asyncio.gather(_copy(reader, outside), _copy(inside, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def lan_stats(agent: TestAgent) -> dict[str, str]:
    shown = (await agent.get("/v1/agent/self")).json
    stats: dict[str, str] = shown["Stats"]["serf_lan"]
    return stats


async def test_r04_a_member_without_udp_stays_alive_and_shows_as_degraded_until_udp_is_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Ports() as ports:
        front, behind = ports.take(), ports.take()
        firewall = Firewall(front, behind)
        config = Config.lan("two", bind=HOST, port=behind, advertise_port=front, **(FAST | PATIENT))
        async with firewall.open(), running("one", pool=PATIENT) as one, Cluster(config) as two:
            assert (await lan_stats(one))["degraded"] == ""
            events = one.agent.cluster.subscribe()
            await two.join([one.gossip])

            async def degraded() -> bool:
                return (await lan_stats(one))["degraded"] == "UDP unreachable"

            await eventually(degraded)
            end = time.monotonic() + WATCHED
            while time.monotonic() < end:
                stats = await lan_stats(one)
                assert stats["udp_unreachable_members"] == "two"
                assert (stats["failed"], stats["udp_unreachable"]) == ("0", "1")
                await asyncio.sleep(0.2)
            assert caplog.text.count("two answers over TCP but not over UDP") == 1

            firewall.udp = True

            async def recovered() -> bool:
                stats = await lan_stats(one)
                return (stats["degraded"], stats["udp_unreachable_members"]) == ("", "")

            await eventually(recovered)
            events.close()
            assert not [event async for event in events if isinstance(event, MemberFailed)]
