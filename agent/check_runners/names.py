"""The addresses of the hosts that checks connect to.

The system's resolver blocks the thread that asks, for as long as the name servers do not answer. Checks
ask in threads of their own: a dead name server makes them fail, and takes no thread from anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["Names"]

THREADS = 4
"""Names that are looked up at the same time; the others wait, and may time out meanwhile."""


class Names:
    """The resolver of one agent's checks."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(
        self, host: str, port: int, family: int = socket.AF_UNSPEC
    ) -> list[tuple[Any, ...]]:
        """What `socket.getaddrinfo` gives for TCP.

        Raises:
            OSError: the host has no address.
        """
        with contextlib.suppress(OSError, UnicodeError):
            return _look_up(host, port, family, socket.AI_NUMERICHOST)  # asks nobody
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "check-names")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, _look_up, host, port, family
            )
        except UnicodeError:
            raise OSError(None, "not a host name") from None

    def close(self) -> None:
        """Look up no more. Idempotent."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int, flags: int = 0) -> list[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)
