r"""Connections between virtual machines, as asyncio transports.

    connect --first segment--> accepted --segments both ways--> closed | reset
            \--nobody listens--> refused

As with TCP, a cut does not break a connection: segments are sent again, in order, until they pass.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address
    from simulations.virtual.loop import VirtualLoop
    from simulations.virtual.machine import VirtualMachine, VirtualSocket

__all__ = ["Stream", "VirtualServer"]

FIRST_RETRY = 0.2
LAST_RETRY = 3.2
"""A cut segment is tried again after these times, doubled each time, seconds."""
EPSILON = 1e-6
"""Segments of one direction arrive at least so far apart, seconds, and so in order."""


class VirtualServer(asyncio.AbstractServer):
    """Accepts connections to one bound socket."""

    def __init__(
        self, loop: VirtualLoop, sock: VirtualSocket, factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._factory = factory
        self.sock = sock
        self.context = copy_context()
        """Of whoever listens: connections are accepted when that one runs."""

    def accept(self, stream: Stream) -> None:
        """Serve a connection that was made."""
        stream.begin(self._factory())

    @property
    def sockets(self) -> tuple[VirtualSocket, ...]:
        """The one socket."""
        return (self.sock,)

    def close(self) -> None:
        """Refuse connections from now on; those that were made go on."""
        self._loop.wires.stop_listening(self)
        self.sock.close()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    async def start_serving(self) -> None:
        """It does from the start."""

    async def serve_forever(self) -> None:
        """Serve until the caller is cancelled."""
        try:
            await self._loop.create_future()
        finally:
            self.close()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._loop.wires.is_listening(self)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop


class Stream(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self, loop: VirtualLoop, machine: VirtualMachine, address: Address, peer: Address
    ) -> None:
        super().__init__({"sockname": address, "peername": peer})
        self._loop = loop
        self.machine = machine
        self.address = address
        self.peer: Stream | None = None
        self._protocol: asyncio.Protocol | None = None
        self.arrived_until = 0.0
        self._outgoing: deque[Callable[[], None]] = deque()
        self._stuck = False
        self._closing = False
        self._lost = False
        self._ended = False
        self._reading = False  # what comes before it stands has to wait
        self._unread: list[Callable[[], None]] = []

    def begin(self, protocol: asyncio.Protocol) -> None:
        """The connection stands."""
        self._protocol = protocol
        if not self._lost:  # given up meanwhile
            protocol.connection_made(self)
            self.resume_reading()

    # The way to the other end

    def carry(self, arrive: Callable[[], None]) -> None:
        """Have something happen at the other end, behind all that was sent there before."""
        self._outgoing.append(arrive)
        if not self._stuck:
            self._transmit(FIRST_RETRY)

    def _transmit(self, pause: float) -> None:
        """Send what waits, or try again after a pause."""
        loop, peer = self._loop, self.peer
        assert peer is not None  # noqa: S101 - set before anything is sent
        network, here, there = loop.network, self.machine.as_host, peer.machine.as_host
        # Both directions: without acknowledgements nothing moves either.
        self._stuck = not (network.reaches(here, there) and network.reaches(there, here))
        if self._stuck:
            loop.covered["segments_cut"] += 1
            loop.call_unbound(pause, self._transmit, min(2 * pause, LAST_RETRY))
            return
        while self._outgoing:
            delay = network.segment_delay(here, there)
            at = max(loop.time() + delay, peer.arrived_until + EPSILON)
            peer.arrived_until = at
            loop.call_unbound(at - loop.time(), self._outgoing.popleft())

    def receive(self, action: Callable[[], None]) -> None:
        """Something arrives here: now, or when it is read."""
        if self._reading:
            action()
        else:
            self._unread.append(action)

    def data(self, data: bytes) -> None:
        """Bytes from the other end."""
        if self._protocol is not None and not self._lost:
            self._protocol.data_received(data)

    def eof(self) -> None:
        """The other end sends nothing more."""
        if self._protocol is None or self._lost:
            return
        if not self._protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """The other end is gone."""
        self._lose(ConnectionResetError("connection reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.connection_lost, error)

    # What asyncio's streams call

    def write(self, data: Any) -> None:
        """Send bytes; they arrive in pieces and in order."""
        peer = self.peer
        if self._closing or self._ended or peer is None or not data or self.machine.down:
            return
        loop = self._loop
        loop.trace.add(loop.time(), "stream", self.machine.name, peer.machine.name, bytes(data))
        for chunk in loop.network.chunks(bytes(data)):
            self.carry(_bound(peer, chunk))

    def write_eof(self) -> None:
        """Send nothing more."""
        if not self._ended and self.peer is not None:
            self._ended = True
            peer = self.peer
            self.carry(lambda: peer.receive(peer.eof))

    def can_write_eof(self) -> bool:
        """A connection has two directions."""
        return True

    def close(self) -> None:
        """Send the rest, then close."""
        if not self._closing:
            self.write_eof()
            self._lose(None)

    def abort(self) -> None:
        """Reset the connection."""
        if not self._lost:
            peer = self.peer
            self._lose(None)
            if peer is not None:
                self.carry(peer.reset)

    def is_closing(self) -> bool:
        """Whether it was closed, here or by the other end."""
        return self._closing

    def pause_reading(self) -> None:
        """Let what arrives wait."""
        self._reading = False

    def resume_reading(self) -> None:
        """Take what has arrived, and what will."""
        self._reading = True
        unread, self._unread = self._unread, []
        for action in unread:
            self.receive(action)

    def is_reading(self) -> bool:
        """Whether what arrives is taken."""
        return self._reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who receives from now on."""
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - of a stream
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who receives."""
        assert self._protocol is not None  # noqa: S101 - asked once it stands
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """The network takes everything at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The network takes everything at once."""


def _bound(peer: Stream, chunk: bytes) -> Callable[[], None]:
    def arrive() -> None:
        peer.receive(lambda: peer.data(chunk))

    return arrive
