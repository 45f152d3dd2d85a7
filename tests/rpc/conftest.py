"""Agents on loopback with Serf's RPC; every coroutine test runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import uvloop

from agent.rpc import merged
from agent.rpc.server import RpcLimits, RpcServer
from gossip.wire.rpc import encode_request
from simulations.peers import SerfRpc
from tests.helpers_agent import TestAgent, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    StartAgent = Callable[..., Awaitable["RpcAgent"]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(slots=True)
class RpcAgent:
    """A running agent and its RPC."""

    test_agent: TestAgent
    rpc: RpcServer
    raws: list[Raw] = field(default_factory=list)

    @property
    def agent(self) -> Any:
        return self.test_agent.agent

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.rpc.address.rpartition(":")
        return host, int(port)

    @property
    def streams(self) -> int:
        """How many clients follow the events."""
        events = self.rpc._events
        assert events is not None
        return len(events)

    @property
    def gossip(self) -> str:
        return self.test_agent.gossip

    def client(self, **settings: Any) -> SerfRpc:
        """A connection; ``async with`` shakes hands."""
        return SerfRpc(self.address, **settings)

    async def raw(self) -> Raw:
        """A connection that says what it is told, closed with the test."""
        raw = Raw(*await asyncio.open_connection(*self.address))
        self.raws.append(raw)
        return raw

    async def close(self) -> None:
        await self.rpc.close()
        for raw in self.raws:
            raw.close()
        await asyncio.sleep(0)


class Raw:
    """Bytes to an agent, and the values that come back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._unpacker = msgpack.Unpacker()
        self._values: deque[Any] = deque()

    def send(self, *requests: tuple[Any, ...] | bytes) -> None:
        """Write requests, each (command, seq) or (command, seq, body), or bytes as they are."""
        for request in requests:
            self.writer.write(request if isinstance(request, bytes) else encode_request(*request))

    async def values(self, count: int) -> list[Any]:
        """The next values."""
        async with asyncio.timeout(10):
            while len(self._values) < count:
                data = await self.reader.read(65536)
                assert data, f"the agent hung up after {list(self._values)}"
                self._unpacker.feed(data)
                self._values.extend(self._unpacker)
        return [self._values.popleft() for _ in range(count)]

    async def exactly(self, count: int) -> bytes:
        """The next bytes; not after `values`, which may have taken some of them."""
        async with asyncio.timeout(10):
            return await self.reader.readexactly(count)

    async def ended(self) -> bytes:
        """What comes until the agent hangs up."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are merged as in Serf, and held back a fifth of its time."""
    monkeypatch.setattr(merged, "QUIET", 0.2)


@pytest.fixture
async def start_agent() -> AsyncIterator[StartAgent]:
    """A function that starts one more agent, stopped with the test."""
    async with AsyncExitStack() as stack:

        async def start(
            name: str = "one", *, limits: RpcLimits | None = None, **settings: Any
        ) -> RpcAgent:
            settings.setdefault("rpc_addr", "127.0.0.1:0")
            test_agent = await stack.enter_async_context(running(name, **settings))
            rpc = RpcServer(test_agent.agent, limits=limits)
            await rpc.start()
            agent = RpcAgent(test_agent, rpc)
            stack.push_async_callback(agent.close)
            return agent

        yield start


@pytest.fixture
async def one(start_agent: StartAgent) -> RpcAgent:
    """An agent without a key."""
    return await start_agent()
