"""Notices in the log: what members do that an operator should know, but no more than is readable."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

__all__ = ["NoticeLog"]

logger = logging.getLogger(__name__)

PER_MINUTE = 30
"""Lines in the log about what members do, which a stranger may provoke; further ones are counted."""


class NoticeLog:
    """Writes the notices of one node.

    Args:
        clock: the driver's time.
        stats: counts what is not written.
    """

    def __init__(self, clock: Callable[[], float], stats: Counter[str]) -> None:
        self._clock = clock
        self._stats = stats
        self._minute_ends = 0.0
        self._written = 0

    def write(self, notices: Iterable[str]) -> None:
        """Write them, as far as this minute has room."""
        now = self._clock()
        if now >= self._minute_ends:
            self._minute_ends, self._written = now + 60.0, 0
        for notice in notices:
            self._written += 1
            if self._written <= PER_MINUTE:
                # The notice is the message, no value in one: what thins out repeated messages would
                # take all notices for the same, and the last step of a key rotation for the sixth of it.
                logger.warning(notice)
            else:
                self._stats["notices_dropped"] += 1
