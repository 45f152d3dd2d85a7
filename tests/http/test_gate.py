"""Connections in front of the parser: how many, and how long each may take."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Self

import pytest

from agent.http.gate import GateLimits, client_of
from agent.http.routing import Call, Methods, Reply, Route, Router
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORT = GateLimits(
    header_timeout=0.3, body_timeout=0.3, idle_timeout=0.6, write_timeout=0.3, silence=0.05
)
REQUEST = b"GET /v1/agent/members HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Client:
    """A connection that does as it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, source: str = "127.0.0.1") -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def answer(self) -> bytes:
        """Head and body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def closed(self, seconds: float = 10) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def drip(self, data: bytes, interval: float) -> None:
        """Send a byte at a time, until the server has had enough."""
        with suppress(ConnectionError):
            for byte in data:
                self.writer.write(bytes([byte]))
                await self.writer.drain()
                await asyncio.sleep(interval)


@pytest.fixture
async def short() -> AsyncIterator[TestAgent]:
    async with running(limits=SHORT) as agent:
        yield agent


def test_h10_the_defaults_are_the_documented_ones() -> None:
    limits = GateLimits()
    assert (limits.per_client, limits.total, limits.blocking) == (200, 4096, 1024)
    assert (limits.header_timeout, limits.body_timeout) == (5, 10)
    assert (limits.idle_timeout, limits.write_timeout, limits.min_rate) == (75, 10, 1024)


# Deadlines


async def test_h10_slowloris_s1_silent_connections_are_closed(short: TestAgent) -> None:
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await Client.connect(short.port)) for _ in range(50)
        ]
        assert await asyncio.gather(*(client.closed() for client in clients)) == [b""] * 50
    assert 0.2 < time.monotonic() - started < 3
    assert short.http.gate.timed_out == 50
    assert len(short.http.gate) == 0


async def test_h10_slowloris_s2_dripped_headers_are_cut_off(short: TestAgent) -> None:
    async with await Client.connect(short.port) as client:
        started = time.monotonic()
        drip = asyncio.ensure_future(client.drip(REQUEST * 100, 0.02))
        assert await client.closed() == b""
        assert 0.2 < time.monotonic() - started < 3
        drip.cancel()
    assert short.http.gate.timed_out == 1


async def test_h10_slowloris_s2_dripped_headers_of_a_later_request_are_cut_off(
    short: TestAgent,
) -> None:
    async with await Client.connect(short.port) as client:
        client.writer.write(REQUEST)
        assert b"200 OK" in await client.answer()
        started = time.monotonic()
        drip = asyncio.ensure_future(client.drip(REQUEST * 100, 0.02))
        assert await client.closed() == b""
        assert 0.2 < time.monotonic() - started < 0.55  # sooner than an idle connection
        drip.cancel()


async def test_h10_slowloris_s3_a_dripped_body_is_answered_408_and_cut_off(
    short: TestAgent,
) -> None:
    async with await Client.connect(short.port) as client:
        started = time.monotonic()
        client.writer.write(
            b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n"
        )
        drip = asyncio.ensure_future(client.drip(b"x" * 400, 0.02))
        assert b" 408 " in (await client.answer()).split(b"\r\n")[0]
        assert await client.closed() == b""
        assert 0.2 < time.monotonic() - started < 3
        drip.cancel()
    assert short.http.gate.timed_out == 1
    assert short.agent.events.recent() == []


async def test_h10_slowloris_s3_a_body_nobody_reads_is_cut_off(short: TestAgent) -> None:
    async with await Client.connect(short.port) as client:
        client.writer.write(
            b"PUT /v1/agent/force-leave/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n"
        )
        assert b"200 OK" in await client.answer()
        drip = asyncio.ensure_future(client.drip(b"x" * 400, 0.02))
        started = time.monotonic()
        assert await client.closed() == b""
        assert time.monotonic() - started < 3
        drip.cancel()


async def test_h10_a_body_that_keeps_the_minimum_rate_may_take_longer() -> None:
    limits = GateLimits(body_timeout=0.2, min_rate=200)
    async with running(limits=limits) as agent, await Client.connect(agent.port) as client:
        client.writer.write(
            b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        )
        for _ in range(10):  # 400 bytes per second
            client.writer.write(b"0123456789")
            await asyncio.sleep(0.025)
        assert b"200 OK" in await client.answer()


@pytest.fixture
async def big(short: TestAgent) -> TestAgent:
    """An agent with an endpoint of 8 MiB, more than the kernel takes off our hands."""

    async def megabytes(_call: Call) -> Reply:
        return Reply("x" * (8 << 20), version=1)

    short.http._router = Router([Route("/big", Methods.READ, megabytes)])
    return short


async def slow_socket(port: int) -> Client:
    """A connection whose client offers a small window."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return Client(*await asyncio.open_connection(sock=sock, limit=1024))


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_h10_slowloris_s4_a_client_that_does_not_read_is_cut_off(
    big: TestAgent, keep_alive: bool
) -> None:
    connection = b"" if keep_alive else b"Connection: close\r\n"
    async with await slow_socket(big.port) as client:
        client.writer.write(b"GET /big HTTP/1.1\r\nHost: localhost\r\n" + connection + b"\r\n")
        await eventually(lambda: len(big.http.gate) == 1)
        await eventually(lambda: big.http.gate.timed_out == 1, seconds=5)
        await eventually(lambda: len(big.http.gate) == 0)


async def test_h10_slowloris_s4_a_client_that_reads_on_gets_everything(big: TestAgent) -> None:
    async with await slow_socket(big.port) as client:
        client.writer.write(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        started, received = time.monotonic(), 0
        while chunk := await client.reader.read(1 << 16):
            received += len(chunk)
            if time.monotonic() - started < 1.5:  # several windows of 0.3 s
                await asyncio.sleep(0.01)
        assert received > 8 << 20
    assert big.http.gate.timed_out == 0


async def test_h10_an_idle_connection_is_kept_for_the_idle_timeout(short: TestAgent) -> None:
    async with await Client.connect(short.port) as client:
        for _ in range(2):
            client.writer.write(REQUEST)
            assert b"200 OK" in await client.answer()
            await asyncio.sleep(0.4)  # more than the header timeout
        started = time.monotonic()
        assert await client.closed() == b""
        assert time.monotonic() - started < 3


async def test_h10_a_blocking_query_outlives_every_deadline(short: TestAgent) -> None:
    async with await Client.connect(short.port) as client:
        client.writer.write(
            b"GET /v1/event/list?index=1&wait=1s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        started = time.monotonic()
        assert b"200 OK" in await client.answer()
        assert time.monotonic() - started > 0.9
    assert short.http.gate.timed_out == 0


async def test_h10_pipelined_requests_are_answered_in_order(short: TestAgent) -> None:
    async with await Client.connect(short.port) as client:
        client.writer.write(
            REQUEST + REQUEST.replace(b"/agent/members", b"/status/peers") + REQUEST
        )
        answers = [await client.answer() for _ in range(3)]
        assert [b'"Name"' in answer for answer in answers] == [True, False, True]


# Numbers


async def test_h10_a_client_has_at_most_its_share_of_connections() -> None:
    limits = GateLimits(per_client=3, silence=60)
    async with running(limits=limits) as agent, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await Client.connect(agent.port)) for _ in range(4)
        ]
        assert b" 429 " in (await clients[3].closed()).split(b"\r\n")[0]
        async with await Client.connect(agent.port, source="127.0.0.2") as other:
            other.writer.write(REQUEST)
            assert b"200 OK" in await other.answer()
        for client in clients[:3]:
            client.writer.write(REQUEST)
            assert b"200 OK" in await client.answer()
        assert agent.http.gate.refused == 1


async def test_h10_a_freed_place_can_be_taken_again() -> None:
    limits = GateLimits(per_client=1, silence=60)
    async with running(limits=limits) as agent:
        for _ in range(3):
            async with await Client.connect(agent.port) as client:
                client.writer.write(REQUEST)
                assert b"200 OK" in await client.answer()
            await eventually(lambda: len(agent.http.gate) == 0)
        assert agent.http.gate._by_client == {}


async def test_h10_silent_connections_do_not_lock_out_their_own_address() -> None:
    limits = GateLimits(per_client=2, silence=0.05)
    async with running(limits=limits) as agent, AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(await Client.connect(agent.port)) for _ in range(2)
        ]
        await asyncio.sleep(0.1)
        async with await Client.connect(agent.port) as client:
            client.writer.write(REQUEST)
            assert b"200 OK" in await client.answer()
            assert await silent[0].closed() == b""  # the oldest
            assert len(agent.http.gate) == 2
        assert (agent.http.gate.displaced, agent.http.gate.refused) == (1, 0)


async def test_h10_busy_connections_are_not_displaced() -> None:
    limits = GateLimits(per_client=2, silence=0)
    async with running(limits=limits) as agent, AsyncExitStack() as stack:
        for _ in range(2):
            client = await stack.enter_async_context(await Client.connect(agent.port))
            client.writer.write(REQUEST)
            assert b"200 OK" in await client.answer()
        async with await Client.connect(agent.port) as late:
            assert b" 429 " in (await late.closed()).split(b"\r\n")[0]


async def test_h10_all_clients_together_have_a_bound() -> None:
    limits = GateLimits(total=2)
    async with running(limits=limits) as agent, AsyncExitStack() as stack:
        for number in (2, 3):
            client = await Client.connect(agent.port, source=f"127.0.0.{number}")
            await stack.enter_async_context(client)
        async with await Client.connect(agent.port, source="127.0.0.4") as late:
            assert b" 429 " in (await late.closed()).split(b"\r\n")[0]
        assert agent.http.gate.refused == 1


async def test_h10_the_configured_share_is_used() -> None:
    async with running() as agent:
        assert agent.http.gate.limits.per_client == 200
    async with running(config_limits={"http_max_conns_per_client": 7}) as agent:
        assert agent.http.gate.limits.per_client == 7


async def test_h10_a_share_of_zero_sets_no_bound() -> None:
    limits = GateLimits(per_client=0)
    async with running(limits=limits) as agent, AsyncExitStack() as stack:
        for _ in range(250):
            await stack.enter_async_context(await Client.connect(agent.port))
        await eventually(lambda: len(agent.http.gate) == 250)


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        ("", None),
        (None, None),
    ],
)
def test_h10_ipv6_clients_are_counted_by_network(peer: object, client: str | None) -> None:
    assert client_of(peer) == client


# Blocking queries


async def test_h10_blocking_queries_beyond_the_bound_are_told_to_come_back() -> None:
    limits = GateLimits(blocking=2)
    async with running(limits=limits) as agent:
        waiting = [
            asyncio.ensure_future(agent.get("/v1/event/list?index=1&wait=30s")) for _ in range(2)
        ]
        await eventually(lambda: agent.http.gate.blocked == 2)
        late = await agent.get("/v1/event/list?index=1&wait=30s")
        assert (late.status, late.headers["retry-after"]) == (429, "1")
        assert (await agent.get("/v1/event/list?index=0&wait=30s")).status == 200
        await agent.put("/v1/event/fire/x")
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert agent.http.gate.blocked == 0


async def test_h10_a_client_that_goes_away_frees_its_blocking_query(one: TestAgent) -> None:
    async with await Client.connect(one.port) as client:
        client.writer.write(b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: one.http.gate.blocked == 1)
        assert one.agent.events.waiting == 1
    await eventually(lambda: one.http.gate.blocked == 0)
    assert one.agent.events.waiting == 0
    assert len(one.http.gate) == 0


async def test_h5_closing_the_server_ends_blocking_queries_and_connections() -> None:
    async with running() as agent:
        async with (
            await Client.connect(agent.port) as waiting,
            await Client.connect(agent.port) as silent,
        ):
            waiting.writer.write(b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await eventually(lambda: agent.http.gate.blocked == 1)
            started = time.monotonic()
            await agent.http.close()
            assert time.monotonic() - started < 2
            assert [await silent.closed(), await waiting.closed()] == [b"", b""]
        assert len(agent.http.gate) == 0
