"""Ports on loopback that are free for UDP and TCP and that nobody else on this machine picks meanwhile."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Ports", "is_free"]

_FIRST, _LAST = 20_000, 31_999
"""Below the range that Linux hands to outgoing connections (from 32,768), so none takes our ports."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether both a UDP socket and a listening TCP socket can be bound to `port` now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # As servers bind: connections of a predecessor that linger do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


class Ports:
    """Hands out ports; each stays ours until `close`, also before its user binds it and after it dies.

    Between looking for a free port and a child binding it lies the start of a process. Two test runs
    that pick at the same time would collide there, so every port is leased through a name in Linux's
    abstract socket namespace, which the kernel takes back when the owner ends, however it ends.
    """

    def __init__(self) -> None:
        self._leases: list[socket.socket] = []
        self._random = random.Random()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def take(self, preferred: int | None = None) -> int:
        """A port free for UDP and TCP on 127.0.0.1: `preferred` if it is free, else any.

        Raises:
            OSError: when none of 200 random ports is free.
        """
        candidates = [self._random.randint(_FIRST, _LAST) for _ in range(200)]
        for port in ([preferred] if preferred else []) + candidates:
            if self._claim(port):
                return port
        raise OSError(f"no free port found between {_FIRST} and {_LAST}")

    def take_exactly(self, port: int) -> int:
        """`port` itself; raises OSError when it is taken."""
        if not self._claim(port):
            raise OSError(f"port {port} on 127.0.0.1 is taken by another process")
        return port

    def _claim(self, port: int) -> bool:
        return is_free(port) and self._lease(port)

    def _lease(self, port: int) -> bool:
        if sys.platform != "linux":
            return True
        lease = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lease.bind(f"\0gossip-agent-port-{port}")
        except OSError:
            lease.close()
            return False
        self._leases.append(lease)
        return True

    def close(self) -> None:
        """Give every port back."""
        for lease in self._leases:
            with contextlib.suppress(OSError):
                lease.close()
        self._leases.clear()
