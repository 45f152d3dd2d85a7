"""Machine: what a cluster takes from the machine that it runs on: time, chance, sockets and threads.

There is one real machine. An event loop that simulates some (`simulations.virtual`) gives a cluster one
of its own instead, so that a program can be tested in virtual time without knowing of it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gossip.sockets import bound_socket, own_ip
from gossip.worker import Worker

if TYPE_CHECKING:
    import socket

__all__ = ["Machine", "SimulatesMachines", "machine_of"]


class Machine:
    """The machine that this process runs on."""

    def clock(self) -> float:
        """The monotonic clock, seconds."""
        return time.monotonic()

    def dice(self) -> random.Random:
        """A source of random choices of its own."""
        return random.Random()

    def nonce(self) -> bytes:
        """Twelve bytes that never come again."""
        return os.urandom(12)

    def bind(self, kind: socket.SocketKind, ip: str, port: int) -> socket.socket:
        """A bound socket, as `gossip.sockets.bound_socket` makes it."""
        return bound_socket(kind, ip, port)

    async def connect(
        self, ip: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a TCP connection; raises OSError."""
        return await asyncio.open_connection(ip, port)

    def worker(self, name: str) -> Worker:
        """A thread for what may block."""
        return Worker(name)

    def own_ip(self, bind: str) -> str:
        """The address that others see us under when this one is bound; see `gossip.sockets.own_ip`."""
        return own_ip(bind)


@runtime_checkable
class SimulatesMachines(Protocol):
    """An event loop under which every cluster has a machine of its own."""

    def machine(self, name: str) -> Machine:
        """The machine for the member of this name, which is about to start."""
        ...


def machine_of(name: str) -> Machine:
    """The machine on which the member of this name starts: the running loop decides."""
    loop = asyncio.get_running_loop()
    return loop.machine(name) if isinstance(loop, SimulatesMachines) else Machine()
