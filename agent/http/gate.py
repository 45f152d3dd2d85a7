"""The gate in front of the HTTP parser: how many connections there are, and how long each may take.

aiohttp bounds the size of what clients send and not the time they take, so a few thousand clients
that say nothing, or one byte a second, would hold memory for ever. Each connection passes a
`Connection`, which hands everything through to aiohttp's protocol and watches the clock meanwhile::

    accepted --bytes--> receiving --request reaches the application--> working
                            ^                                             |
                            +----- bytes ------ idle <----- answered -----+

    receiving   header_timeout from the first byte (from the start, for the first request)
    working     no deadline here; bodies have theirs, see `read_body` in agent/http/app.py
    idle        idle_timeout; likewise when the answer is the last and aiohttp is about to close
    any state   what is sent has to be taken at `min_rate` bytes a second, or the connection is cut

A connection costs a few hundred bytes until its first byte arrives; only then is there a parser.
"""

from __future__ import annotations

import asyncio
import enum
import ipaddress
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from agent.http.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Connection", "Gate", "GateLimits", "client_of"]

TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Retry-After: 1\r\nConnection: close\r\nContent-Length: 20\r\n\r\n"
    b"Too many connections"
)


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """Bounds on connections. Times are seconds; none of them delays a client that keeps going."""

    per_client: int = 200
    """Connections of one IPv4 address or IPv6 /64 network; 0 sets no bound."""
    total: int = 4096
    """Connections of all clients; each takes a file descriptor and, once it speaks, about 20 KiB."""
    header_timeout: float = 5.0
    """From the first byte of a request to the end of its headers."""
    body_timeout: float = 10.0
    """For a body, and a second more for every `min_rate` bytes of it that arrived."""
    idle_timeout: float = 75.0
    """Between requests."""
    write_timeout: float = 10.0
    """Window in which a client has to take `min_rate` bytes a second of what is waiting for it."""
    min_rate: int = 1024
    """Bytes per second."""
    blocking: int = 1024
    """Queries that wait at the same time; more are answered 429."""
    silence: float = 0.25
    """A connection without a request is left alone for so long when others need its place."""


class _State(enum.Enum):
    RECEIVING = enum.auto()
    WORKING = enum.auto()
    IDLE = enum.auto()
    CLOSING = enum.auto()


class Gate:
    """Admits connections and counts them. An instance is the protocol factory of a server.

    Args:
        limits: the bounds.
        make_protocol: makes aiohttp's protocol for a connection that has begun to speak.

    Attributes:
        refused: connections turned away because there were too many.
        timed_out: connections cut because they were too slow.
        displaced: silent connections cut to make room for others of the same client.
    """

    def __init__(self, limits: GateLimits, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self.limits = limits
        self.make_protocol = make_protocol
        self.refused = self.timed_out = self.displaced = 0
        self._blocked: set[asyncio.Task[object] | None] = set()
        self._by_transport: dict[asyncio.BaseTransport, Connection] = {}
        self._by_client: dict[str, dict[Connection, None]] = {}

    def __call__(self) -> Connection:
        """Make the protocol of a connection that was just accepted."""
        return Connection(self)

    def __len__(self) -> int:
        return len(self._by_transport)

    def connection(self, transport: asyncio.BaseTransport | None) -> Connection | None:
        """The connection that uses this transport, while it is open."""
        return self._by_transport.get(transport) if transport is not None else None

    @property
    def blocked(self) -> int:
        """Blocking queries in progress."""
        return len(self._blocked)

    @contextmanager
    def blocking_slot(self) -> Iterator[None]:
        """Take one of the places for blocking queries, for the current task.

        Raises:
            HttpError: 429, when there is none.
        """
        if len(self._blocked) >= self.limits.blocking:
            raise HttpError(429, "Too many blocking queries", {"Retry-After": "1"})
        task = asyncio.current_task()
        self._blocked.add(task)
        try:
            yield
        finally:
            self._blocked.discard(task)

    def cancel_blocked(self) -> None:
        """End all blocking queries without an answer."""
        for task in self._blocked:
            if task is not None:
                task.cancel()

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, unless that would be one too many."""
        client = connection.client
        if client is not None and self.limits.per_client:
            mine = self._by_client.get(client, {})
            if len(mine) >= self.limits.per_client and not self._make_room(mine):
                self.refused += 1
                return False
        if len(self._by_transport) >= self.limits.total:
            self.refused += 1
            return False
        self._by_transport[connection.transport] = connection
        if client is not None:
            self._by_client.setdefault(client, {})[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """Free the place of a connection; harmless when it has none."""
        if self._by_transport.pop(connection.transport, None) is None:
            return
        if connection.client is not None:
            mine = self._by_client[connection.client]
            del mine[connection]
            if not mine:
                del self._by_client[connection.client]

    def _make_room(self, mine: dict[Connection, None]) -> bool:
        """Cut the oldest connection of a client that has had its time and sent no request yet.

        Otherwise one program that opens connections and says nothing would lock out all others on
        its machine.
        """
        before = asyncio.get_running_loop().time() - self.limits.silence
        oldest = next((c for c in mine if c.is_silent), None)
        if oldest is None or oldest.opened > before:
            return False
        self.displaced += 1
        self.forget(oldest)
        oldest.abort()
        return True

    async def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._by_transport.values()):
            connection.abort()
        await asyncio.sleep(0)  # connection_lost runs in the next round of the loop


class Connection(asyncio.Protocol):
    """One connection: aiohttp's protocol behind a clock. Driven by its transport."""

    __slots__ = (
        "_drain_at",
        "_gate",
        "_inner",
        "_loop",
        "_receive_at",
        "_requests",
        "_state",
        "_timer",
        "_unsent",
        "client",
        "opened",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._inner: asyncio.Protocol | None = None
        self._state = _State.RECEIVING
        self._requests = 0
        self._receive_at: float | None = None
        self._drain_at: float | None = None
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self.client: str | None = None
        self.opened = 0.0

    @property
    def is_silent(self) -> bool:
        """No request has arrived yet."""
        return not self._requests and self._state is _State.RECEIVING

    # What the application reports

    def request_begins(self) -> None:
        """A request with complete headers is being worked on."""
        self._state = _State.WORKING
        self._requests += 1
        self._receive_at = None

    def request_ends(self, *, last: bool = False) -> None:
        """Its answer is known, and on its way to the client; after the `last` one aiohttp closes."""
        self._state = _State.CLOSING if last else _State.IDLE
        self._arm(self._gate.limits.idle_timeout)

    def abort(self) -> None:
        """Cut the connection, whatever is still to be sent."""
        self.transport.abort()

    # What the transport reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or turn it away."""
        self.transport = cast("asyncio.Transport", transport)
        self.client = client_of(transport.get_extra_info("peername"))
        self.opened = self._loop.time()
        # Writing is reported as paused as soon as anything is left over, not at 64 KiB.
        self.transport.set_write_buffer_limits(high=0)
        self._arm(self._gate.limits.header_timeout)
        if not self._gate.admit(self):
            self._receive_at = None
            self.transport.write(TOO_MANY)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser, and start the clock of a new request."""
        if self.transport.is_closing():
            return
        if self._inner is None:
            self._inner = self._gate.make_protocol()
            self._inner.connection_made(self.transport)
        if self._state is _State.IDLE:
            self._state = _State.RECEIVING
            self._arm(self._gate.limits.header_timeout)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client has sent everything."""
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self._receive_at = self._drain_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gate.forget(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch how fast the client takes what is waiting."""
        self._unsent = self.transport.get_write_buffer_size()
        self._drain_at = self._loop.time() + self._gate.limits.write_timeout
        self._schedule()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Everything is sent; a client that had been reading is idle only from now on."""
        self._drain_at = None
        if self._state in {_State.IDLE, _State.CLOSING}:
            self._arm(self._gate.limits.idle_timeout)
        if self._inner is not None:
            self._inner.resume_writing()

    # The clock: one timer, moved only forwards in time when it fires too early

    def _arm(self, seconds: float) -> None:
        self._receive_at = self._loop.time() + seconds
        self._schedule()

    def _schedule(self) -> None:
        deadlines = [at for at in (self._receive_at, self._drain_at) if at is not None]
        if not deadlines:
            return
        at = min(deadlines)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._drain_at is not None:
            if now >= self._drain_at and not self._took_enough():
                self._expire()
                return
            if self._state in {_State.IDLE, _State.CLOSING}:
                self._receive_at = None  # it is reading; `resume_writing` sets this again
        if self._receive_at is not None and now >= self._receive_at:
            self._expire()
            return
        self._schedule()

    def _took_enough(self) -> bool:
        """Tell whether the client kept up in the window that ends now, and open the next."""
        limits = self._gate.limits
        left = self.transport.get_write_buffer_size()
        taken, self._unsent = self._unsent - left, left
        self._drain_at = self._loop.time() + limits.write_timeout
        return taken >= limits.min_rate * limits.write_timeout or left == 0

    def _expire(self) -> None:
        self._gate.timed_out += 1
        self._receive_at = self._drain_at = None
        self.transport.abort()


def client_of(peername: object) -> str | None:
    """What connections are counted by: an IPv4 address or an IPv6 /64; None on a Unix socket."""
    if not isinstance(peername, tuple) or not peername:
        return None
    host = str(peername[0]).partition("%")[0]
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
