"""Serf's RPC: connections from the listener to a `Session`, counted and with deadlines.

A client has a few seconds to shake hands and show its key, and as long for each request that it has begun;
one that has nothing to ask or waits for records may stay for ever, and read as slowly as it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.listeners import listen_tcp, listen_unix, remove_socket
from agent.logs import Value
from agent.rpc.merged import MergedEvents
from agent.rpc.session import Session
from gossip.errors import WireError
from gossip.sockets import stop_listening
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port, plain_ip
from gossip.wire.rpc import RequestReader

if TYPE_CHECKING:
    from agent.agent import Agent

__all__ = ["RpcLimits", "RpcServer"]

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024
_LINGER = 1.0  # seconds for an answer that is on its way when its connection or the server ends


@dataclass(frozen=True, kw_only=True)
class RpcLimits:
    """Bounds on clients. Times are seconds."""

    connections: int = 256
    """Clients at a time; each may hold about 200 KiB, and more with many streams."""
    admission: float = 5.0
    """From the connection to the end of handshake and authentication."""
    request: float = 10.0
    """From the first byte of a request to its last."""


class RpcServer:
    """Serves one agent, which has an ``rpc_addr``.

    Attributes:
        address: where it listens, once it is started: ``ip:port`` or a path.
        stats: what was refused or dropped.
    """

    def __init__(self, agent: Agent, *, limits: RpcLimits | None = None) -> None:
        self._agent = agent
        self._limits = limits or RpcLimits()
        self._listener: asyncio.Server | None = None
        self._path: Path | None = None
        self._events: MergedEvents | None = None
        self._tasks = Tasks(log)
        self._connections: dict[_Connection, None] = {}
        self.address = ""
        self.stats: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen, for an agent that has been started.

        Raises:
            OSError: the address cannot be bound.
        """
        self._events = MergedEvents(self._agent.cluster, self._count_missed)
        self._tasks.spawn(self._events.run())
        bind = self._agent.config.rpc_bind
        assert bind is not None  # noqa: S101 - who starts it has looked
        if isinstance(bind, Path):
            self._listener = await asyncio.start_unix_server(
                self._on_connection, sock=listen_unix(bind), limit=READ_SIZE
            )
            self._path, self.address = bind, str(bind)
            return
        sock = listen_tcp(*bind)
        self.address = join_host_port(*sock.getsockname()[:2])
        self._listener = await asyncio.start_server(self._on_connection, sock=sock, limit=READ_SIZE)

    async def close(self) -> None:
        """Stop listening, let answers in progress out for a moment, cut what is left. Idempotent."""
        if self._listener is None:
            await self._tasks.cancel()
            return
        await stop_listening(self._listener)
        if self._path is not None:
            remove_socket(self._path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                for connection in list(self._connections):
                    await connection.idle.wait()
        await self._tasks.cancel()
        for connection in list(self._connections):
            connection.abort()  # its task had not begun
        await self._listener.wait_closed()
        self._listener = None

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections and not self._make_room():
            self.stats["rpc_connections_refused"] += 1
            writer.transport.abort()
            return
        assert self._events is not None  # noqa: S101 - `start` made it
        connection = _Connection(
            self._agent, self._events, reader, writer, limits=self._limits, stats=self.stats
        )
        self._connections[connection] = None
        self._tasks.spawn(self._serve(connection))

    async def _serve(self, connection: _Connection) -> None:
        try:
            await connection.serve()
        finally:
            self._connections.pop(connection, None)

    def _count_missed(self) -> None:
        self.stats["rpc_events_missed"] += 1

    def _make_room(self) -> bool:
        """Cut the oldest client that has not shown yet that it may be here."""
        oldest = next((c for c in self._connections if not c.session.admitted), None)
        if oldest is None:
            return False
        self.stats["rpc_connections_displaced"] += 1
        del self._connections[oldest]
        oldest.abort()
        return True


class _Connection:
    """One client's bytes.

    Attributes:
        idle: set while no request is being carried out.
    """

    def __init__(
        self,
        agent: Agent,
        events: MergedEvents,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        limits: RpcLimits,
        stats: Counter[str],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._stats = stats
        self._requests = RequestReader()
        peer = writer.get_extra_info("peername")
        self._peer = (
            join_host_port(plain_ip(peer[0]), peer[1]) if isinstance(peer, tuple) else "unix"
        )
        self.session = Session(agent, events, self._write, stats, peer=self._peer)
        self.idle = asyncio.Event()
        self.idle.set()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Carry out requests until the client goes or breaks the rules."""
        log.debug("client connected from=%s", self._peer)
        try:
            await self._converse()
        except TimeoutError:
            self._stats["rpc_timed_out"] += 1
            log.debug("client cut, it is too slow from=%s", self._peer)
        except WireError as error:
            self._stats["rpc_requests_refused"] += 1
            log.warning("client cut from=%s error=%s", self._peer, Value(error))
        except OSError:
            pass  # it has gone
        finally:
            self._writer.close()
            try:
                await self.session.close()
                await self._last_answer()
            finally:
                self._writer.transport.abort()

    async def _converse(self) -> None:
        loop = asyncio.get_running_loop()
        deadline: float | None = loop.time() + self._limits.admission
        async with asyncio.timeout_at(deadline) as timer:
            while data := await self._reader.read(READ_SIZE):
                self._requests.feed(data)
                while (request := self._requests.next()) is not None:
                    if self.session.admitted:
                        timer.reschedule(deadline := None)
                    self.idle.clear()
                    try:
                        if not await self.session.handle(request):
                            return
                    finally:
                        self.idle.set()
                if self.session.admitted and not self._requests.pending:
                    timer.reschedule(deadline := None)
                elif deadline is None:
                    timer.reschedule(deadline := loop.time() + self._limits.request)

    async def _last_answer(self) -> None:
        """Let what is written out, but wait for nobody who does not read."""
        with contextlib.suppress(OSError):  # TimeoutError is one of them
            async with asyncio.timeout(_LINGER):
                await self._writer.wait_closed()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
