"""Pacing: user events are fired no faster than the pool's ring of recent events can take.

Every Serf node drops an event that is a ring's length (512) older than the newest it has seen. Fired
all at once, a thousand events overtake one another on their way and half are dropped so. All nodes
see the same event clock, so each can tell how fast the whole pool fires, and wait for its turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossip.serf.lamport import LamportClock

__all__ = ["EventPacer"]

WINDOW = 0.125
"""Seconds; some windows' time is what an event may need to reach everybody under load."""
RING_SHARE = 5
"""One window may use one of so many parts of the ring."""


class EventPacer:
    """Tells when the next event may be fired.

    Args:
        clock: the event clock, moved by everybody's events.
        ring_size: slots of the ring.
    """

    def __init__(self, clock: LamportClock, ring_size: int) -> None:
        self._clock = clock
        self._share = max(ring_size // RING_SHARE, 1)
        self._window_end = 0.0
        self._base = clock.time

    def pause(self, now: float) -> float:
        """Seconds to wait before firing, 0 for none."""
        if now >= self._window_end:
            self._window_end = now + WINDOW
            self._base = self._clock.time
        if self._clock.time - self._base < self._share:
            return 0.0
        return self._window_end - now
