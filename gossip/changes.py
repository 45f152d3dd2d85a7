"""Waiting for a version number to change: what stands behind blocking queries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Changes"]


class Changes:
    """Wakes callers when a version that only grows has changed.

    Args:
        version: tells it.
    """

    def __init__(self, version: Callable[[], int]) -> None:
        self._version = version
        self._seen = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    async def wait(self, seen: int) -> int:
        """Wait until the version is not `seen`, or `close` is called; returns it."""
        while self._version() == seen and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        return self._version()

    def check(self) -> None:
        """Wake those who wait if the version has changed since the last call."""
        if (version := self._version()) != self._seen:
            self._seen = version
            self._wake()

    def close(self) -> None:
        """Wake everybody; nobody waits any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
