"""A machine under a virtual loop: its clock, chance and sockets, and how well it runs."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, cast

from gossip.machine import Machine
from gossip.wire.address import normal_ip
from gossip.worker import Worker

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from gossip.wire.address import Address
    from simulations.host import Host
    from simulations.virtual.loop import VirtualLoop, _Call

__all__ = ["VirtualMachine", "VirtualSocket"]

WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound
FIRST_EPHEMERAL = 32768
NO_FILE = 2**30


class VirtualSocket:
    """What is known of a bound socket; it looks to asyncio-dgram like a real one."""

    def __init__(self, machine: VirtualMachine, kind: socket.SocketKind, address: Address) -> None:
        self.machine = machine
        self.address = address
        self.type = kind
        self.family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET

    def fileno(self) -> int:
        """A number that no real file has: the loop watches none for it."""
        return NO_FILE

    def getsockname(self) -> tuple[Any, ...]:
        """The bound address, in the form of its family."""
        return self.address if self.family == socket.AF_INET else (*self.address, 0, 0)

    def setsockopt(self, *_: object) -> None:
        """Nothing that can be set makes a difference here."""

    def close(self) -> None:
        """Give the port back."""
        self.machine.release(self)


class _Worker(Worker):
    """Works on the loop, in no time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def submit(self, work: Callable[[], None], done: Callable[[OSError | None], object]) -> None:
        """Have something done, and `done` called afterwards."""
        self._loop.call_soon(self._do, work, done)

    def _do(self, work: Callable[[], None], done: Callable[[OSError | None], object]) -> None:
        try:
            work()
        except OSError as error:
            done(error)
        else:
            done(None)

    def end(self, last: Callable[[], None]) -> None:
        """Do one last thing."""
        last()


class VirtualMachine(Machine):
    """One simulated machine.

    Attributes:
        name: of the machine, and mostly of the member on it.
        ip: where its sockets live that are bound to all addresses.
        paused: nothing that belongs to it runs; what arrives waits.
        down: nothing that it sends leaves any more.
        loss_in, loss_out, delay: faults of its network card.
        parked: what it has to do when it goes on.
    """

    def __init__(self, loop: VirtualLoop, name: str, ip: str, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self.name = name
        self.ip = ip
        self.paused = False
        self.down = False
        self.loss_in = 0.0
        self.loss_out = 0.0
        self.delay = 0.0
        self.parked: list[_Call] = []
        self.sockets: dict[VirtualSocket, None] = {}

    def __repr__(self) -> str:
        return f"<VirtualMachine {self.name} {self.ip}>"

    @property
    def as_host(self) -> Host:
        """Itself, to the simulated network: what that reads of a host is here too."""
        return cast("Host", self)

    # What a cluster takes from it

    def clock(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def dice(self) -> random.Random:
        """The machine's own, which follow from the seed."""
        return self._rng

    def nonce(self) -> bytes:
        """Twelve bytes that follow from the seed."""
        return self._rng.randbytes(12)

    def bind(self, kind: socket.SocketKind, ip: str, port: int) -> socket.socket:
        """A socket on the simulated network; port 0 chooses a free one.

        Raises:
            OSError: the address is taken.
        """
        wires = self._loop.wires
        host = self.ip if ip in WILDCARDS else ip.partition("%")[0]
        if port == 0:
            port = next((p for p in range(FIRST_EPHEMERAL, 65536) if wires.is_free((host, p))), 0)
        if not wires.is_free((host, port), kind):
            raise OSError(errno.EADDRINUSE, f"{host}:{port}: Address already in use")
        sock = VirtualSocket(self, kind, (host, port))
        self.sockets[sock] = None
        wires.bound[kind, sock.address] = sock
        return cast("socket.socket", sock)

    async def connect(
        self, ip: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection from this machine."""
        return await self._loop.wires.open_connection(self, (ip.partition("%")[0], port))

    def worker(self, name: str) -> Worker:
        """Something that works at once: a thread would live in real time."""
        del name
        return _Worker(self._loop)

    def own_ip(self, bind: str) -> str:
        """What is bound, or its own address for all addresses."""
        return self.ip if bind in WILDCARDS else normal_ip(bind)

    def release(self, sock: VirtualSocket) -> None:
        """A socket was closed."""
        self.sockets.pop(sock, None)
        if self._loop.wires.bound.get((sock.type, sock.address)) is sock:
            del self._loop.wires.bound[sock.type, sock.address]

    def source_ip(self) -> str:
        """Where its connections come from: the address that its sockets are bound to."""
        return next((sock.address[0] for sock in self.sockets), self.ip)

    # How well it runs

    def pause(self) -> None:
        """Stop everything that belongs to it until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Go on, with what was missed."""
        if self.paused:
            self.paused = False
            self._loop.unpark(self)
