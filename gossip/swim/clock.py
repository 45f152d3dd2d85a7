"""Local time: the time during which this process was really running.

A process that was stopped (SIGSTOP, a paused virtual machine, a blocked loop) finds on waking that
every deadline has passed, and would accuse whoever could not be heard meanwhile. So the core lives on
a clock of its own: a wake-up that comes much later than its deadline is a *stall*, and the time lost
does not count. After a stall the clock stands still for a moment, so that the packets that piled up
are read before any timer judges their senders.

    running --wake-up late by > STALL_THRESHOLD--> holding --WAKE_GRACE passed--> running

Lifeguard (Dadgar et al., 2018) asks a member to doubt itself first; this is the same idea for time.
"""

from __future__ import annotations

from math import inf, nextafter

__all__ = ["STALL_THRESHOLD", "WAKE_GRACE", "LocalClock"]

STALL_THRESHOLD = 0.1
"""A wake-up later than this, seconds, was a stall."""
WAKE_GRACE = 0.05
"""How long the clock stands still after a stall, seconds."""


class LocalClock:
    """Translates the driver's monotonic time into local time, both in seconds."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._lost = 0.0
        self._hold_until = -inf

    def enter(self, now: float, due: float | None) -> tuple[float, float]:
        """Local time at `now`, and by how much this wake-up was late if it ends a stall, else 0.

        Args:
            now: the driver's monotonic time.
            due: the earliest pending deadline in local time, or None.
        """
        if now < self._hold_until:
            return self._last, 0.0
        local = now - self._lost
        if local < self._last:  # noqa: PLR1730 - every input comes through here
            local = self._last
        if due is not None and local - due > STALL_THRESHOLD:
            self._last = max(self._last, nextafter(due, -inf))
            self._hold_until = now + WAKE_GRACE
            self._lost = self._hold_until - self._last
            return self._last, local - due
        self._last = local
        return local, 0.0

    def driver_time(self, local: float) -> float:
        """The driver's time at which local time will be `local`, if nothing stalls.

        Entering at that time gives `local` or more, in spite of rounding: a deadline that is just
        not reached when the driver wakes would be asked for again and again.
        """
        at = local + self._lost
        if at - self._lost < local:
            at = nextafter(at, inf)
        return at if at > self._hold_until else self._hold_until  # noqa: FURB136 - as above
