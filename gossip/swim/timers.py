"""Deadlines in one heap: what happens next costs O(log n), whatever the cluster's size."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timer", "Timers"]

COMPACT_ABOVE = 64  # cancelled entries tolerated before the heap is rebuilt without them


class Timer:
    """One pending call, cancelled by `Timers.cancel`."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[float], None]) -> None:
        self.at = at
        self.callback: Callable[[float], None] | None = callback

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self.callback is not None


class Timers:
    """Calls ordered by time, then by the order in which they were asked for."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_at(self, at: float, callback: Callable[[float], None]) -> Timer:
        """Ask for ``callback(now)`` at the first `run_due` whose ``now`` is not before `at`."""
        timer = Timer(at, callback)
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Take a call back; done, cancelled or None is fine too."""
        if timer is None or timer.callback is None:
            return
        timer.callback = None
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next_at(self) -> float | None:
        """When the earliest call is due, or None when there is none."""
        heap = self._heap
        while heap:
            at, _, timer = heap[0]
            if timer.callback is not None:
                return at
            heappop(heap)
            self._cancelled -= 1
        return None

    def run_due(self, now: float) -> None:
        """Make every call that is due, those asked for meanwhile included."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heappop(heap)[2]
            callback = timer.callback
            if callback is None:
                self._cancelled -= 1
                continue
            timer.callback = None
            callback(now)
            heap = self._heap  # a cancellation may have rebuilt it
