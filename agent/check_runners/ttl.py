"""A check that somebody else makes, and has to tell of in time: the clock of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TtlClock"]


class TtlClock:
    """Runs out once when it was not restarted for so long; a restart revives it.

    Args:
        ttl: seconds; the first of them begin at once.
        expire: called when they are over.
    """

    def __init__(self, ttl: float, expire: Callable[[], None]) -> None:
        self._ttl = ttl
        self._expire = expire
        self._timer = asyncio.get_running_loop().call_later(ttl, expire)

    def restart(self) -> None:
        """Begin anew."""
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._ttl, self._expire)

    def stop(self) -> None:
        """Never run out."""
        self._timer.cancel()
