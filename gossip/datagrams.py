"""UDP through asyncio-dgram, behind a guard that outlives whatever asyncio does with bad addresses.

What asyncio-dgram leaves to its user, and what is done about it here:

* an error of one send is raised by the next send, about an unrelated peer, instead of sending: such
  errors are counted, and the send is repeated until it is made;
* an unusable address can close the transport for good: addresses are checked before every send, and
  a socket that closes nevertheless is opened again on the same port;
* its queues have no bound: all that is there is taken off at once, and `Inbox` keeps what answers
  probes in front and drops the oldest when it is full;
* a sender paused by back-pressure waits for ever once the transport is gone: so nobody waits for it.
  Packets leave at once, as they nearly always can; on a congested socket a task of its own sends the
  rest, and has a deadline.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter, deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import asyncio_dgram

from gossip.wire.packet import is_probe_traffic
from gossip.zones import Zones

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gossip.machine import Machine
    from gossip.wire.address import Address

__all__ = ["Datagrams", "Inbox"]

INBOX_LIMIT = 1024
"""Packets waiting to be processed, of both kinds together (memberlist's HandoffQueueDepth)."""
RECEIVE_BUFFER = 2 * 1024 * 1024
"""Socket receive buffer asked for, bytes; the system may grant less."""
SEND_TIMEOUT = 1.0
"""Packets that a congested transport does not take in so many seconds are dropped."""
UNSENT_LIMIT = 1024
"""Packets waiting for a congested transport; beyond, the oldest are dropped."""
SEND_ATTEMPTS = 64
"""So many errors of earlier packets may come up before a packet is given up."""
REOPEN_DELAYS = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pauses before attempts to open a closed socket again, seconds; the last repeats."""

_T = TypeVar("_T")


class Inbox:
    """Received packets in two lines: what keeps members alive first, then everything else."""

    def __init__(self, stats: Counter[str], limit: int = INBOX_LIMIT) -> None:
        self._urgent: deque[tuple[bytes, Address]] = deque()
        self._rest: deque[tuple[bytes, Address]] = deque()
        self._limit = limit
        self._stats = stats

    def __len__(self) -> int:
        return len(self._urgent) + len(self._rest)

    def put(self, data: bytes, address: Address) -> None:
        """Take a packet in; when full, the oldest of the less urgent line makes room."""
        if len(self) >= self._limit:
            (self._rest or self._urgent).popleft()
            self._stats["packets_dropped_overload"] += 1
        (self._urgent if is_probe_traffic(data) else self._rest).append((data, address))

    def take(self, most: int) -> list[tuple[bytes, Address]]:
        """Up to `most` packets, the urgent ones first."""
        packets: list[tuple[bytes, Address]] = []
        for line in (self._urgent, self._rest):
            while line and len(packets) < most:
                packets.append(line.popleft())
        return packets


class Datagrams:
    """One UDP socket that stays open.

    Args:
        stats: counts errors and drops.
        zones: of link-local addresses; None starts without any.
    """

    def __init__(self, stats: Counter[str], zones: Zones | None = None) -> None:
        self._stats = stats
        self._zones = zones or Zones()
        self._machine: Machine | None = None
        self._stream: Any = None  # asyncio-dgram's stubs do not know the server's send
        self._ip = ""
        self._port = 0
        self._family = socket.AF_INET
        self._closed = False
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self._sender: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The bound port."""
        return self._port

    async def open(self, machine: Machine, ip: str, port: int) -> None:
        """Bind to an address of a machine; port 0 lets the system choose.

        Raises:
            OSError: it cannot be bound.
        """
        sock = machine.bind(socket.SOCK_DGRAM, ip, port)
        self._machine = machine
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._family = sock.family
            self._ip, self._port = ip, sock.getsockname()[1]
            if sock.family == socket.AF_INET6:
                self._zones.own = sock.getsockname()[3]
            self._stream = await asyncio_dgram.from_socket(sock)
        except BaseException:
            sock.close()
            raise

    def send(self, packets: list[tuple[bytes, Address]]) -> None:
        """Send a batch; packets that cannot be sent are counted, the others leave."""
        unsent = self._unsent
        unsent += packets
        if self._sender is None:
            while unsent:
                if _at_once(self._send_one(*unsent.popleft())) is None:
                    self._sender = asyncio.create_task(self._send_rest())
                    break
        while len(unsent) > UNSENT_LIMIT:
            unsent.popleft()
            self._stats["sends_dropped_overload"] += 1

    async def receive(self) -> list[tuple[bytes, Address]]:
        """The datagrams that are there, at least one; none when the socket has been closed by `close`."""
        received: list[tuple[bytes, Any]] = []
        while not self._closed and not received:
            try:
                received.append(await self._stream.recv())
                while (more := _at_once(self._stream.recv())) is not None:
                    received.append(more)
            except asyncio_dgram.TransportClosed:
                if not self._closed:
                    await self._reopen()
            except OSError:
                self._stats["socket_errors"] += 1
        return [(data, self._zones.member_address(source)) for data, source in received]

    def close(self) -> None:
        """Close the socket for good; a pending `receive` returns an empty list."""
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
        if self._stream is not None:
            self._stream.close()

    async def _send_rest(self) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                while self._unsent:
                    await self._send_one(*self._unsent.popleft())
        except TimeoutError:
            self._stats["send_timeouts"] += 1
            self._unsent.clear()
        finally:
            self._sender = None

    async def _send_one(self, data: bytes, address: Address) -> bool:
        """Send a packet, or count it; waits while the transport is congested."""
        target = _socket_address(self._family, *address)
        if target is not None and (zone := self._zones.of(address[0])):
            target = (*target[:3], zone)
        if target is None:
            self._stats["sends_refused"] += 1
            return True
        for _ in range(SEND_ATTEMPTS):
            try:
                await self._stream.send(data, target)
            except OSError:
                self._stats["socket_errors"] += 1  # of an earlier packet: this one is still here
                continue
            except asyncio_dgram.TransportClosed:
                self._stats["send_errors"] += 1
            except (ValueError, TypeError):  # uvloop's way of refusing an address
                self._stats["sends_refused"] += 1
            return True
        self._stats["send_errors"] += 1
        return True

    async def _reopen(self) -> None:
        assert self._machine is not None  # noqa: S101 - it was open
        self._stats["socket_reopened"] += 1
        attempt = 0
        while not self._closed:
            await asyncio.sleep(REOPEN_DELAYS[min(attempt, len(REOPEN_DELAYS) - 1)])
            try:
                await self.open(self._machine, self._ip, self._port)
            except OSError:
                attempt += 1
            else:
                return


def _at_once(work: Coroutine[Any, Any, _T]) -> _T | None:
    """What a coroutine returns if it need not wait; else None, and it is ended where it would."""
    try:
        work.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    work.close()
    return None


@lru_cache(maxsize=4096)
def _socket_address(family: int, ip: str, port: int) -> tuple[Any, ...] | None:
    """What a socket of this family takes for an address, or None when it must not see it."""
    try:
        parsed = ipaddress.ip_address(ip)
    except ValueError:
        return None  # a name would be resolved, on the loop
    if not 1 <= port <= 65535:
        return None
    if family == socket.AF_INET:
        return (ip, port) if parsed.version == 4 else None
    return (ip if parsed.version == 6 else f"::ffff:{ip}", port, 0, 0)
