"""The ring of user events: what was seen lately, so that each event is delivered once.

Slots are chosen by Lamport time modulo the ring's size, as on every Serf node; the whole ring travels
in push/pulls, so that an event missed by gossip arrives later. Two events may share a time; the same
name and payload at the same time is one event, even from two nodes.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossip.wire.serf import UserEvent

__all__ = ["EventRing", "Verdict"]

MAX_BUFFERED_EVENTS = 16384
"""Events in all slots together; a slot grows when many nodes fire at the same time."""


class Verdict(Enum):
    """What becomes of an event that was received."""

    NEW = "new"
    DUPLICATE = "duplicate"
    TOO_OLD = "too_old"
    BEFORE_START = "before_start"
    OVER_LIMIT = "over_limit"


class EventRing:
    """Recent user events, `size` Lamport times of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: list[tuple[int, dict[tuple[str, bytes], None]] | None] = [None] * size
        self._count = 0
        self.min_time = 0
        """Events before it are not ours to see: they were fired before we joined or restarted."""

    def offer(self, event: UserEvent, clock: int) -> Verdict:
        """Judge an event at clock time `clock`, after witnessing it, and keep it if it is new."""
        if event.ltime < self.min_time:
            return Verdict.BEFORE_START
        if clock > self._size and event.ltime < clock - self._size:
            return Verdict.TOO_OLD
        index = event.ltime % self._size
        slot = self._slots[index]
        key = (event.name, event.payload)
        if slot is None or slot[0] != event.ltime:
            self._count -= len(slot[1]) if slot is not None else 0
            slot = self._slots[index] = (event.ltime, {})
        elif key in slot[1]:
            return Verdict.DUPLICATE
        if self._count >= MAX_BUFFERED_EVENTS:
            return Verdict.OVER_LIMIT
        slot[1][key] = None
        self._count += 1
        return Verdict.NEW

    def first_hole(self, start: int, end: int, clock: int) -> int | None:
        """The first time from `start` to `end` that has no event, of those that the ring can hold."""
        for ltime in range(max(start, self.min_time, clock - self._size), end + 1):
            slot = self._slots[ltime % self._size]
            if slot is None or slot[0] < ltime:
                return ltime
        return None

    def snapshot(self) -> list[tuple[int, list[tuple[str, bytes]]]]:
        """All events held, by Lamport time, in slot order."""
        return [(slot[0], list(slot[1])) for slot in self._slots if slot is not None]
