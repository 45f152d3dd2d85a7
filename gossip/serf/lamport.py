"""Lamport clocks: the order of intents, events and queries without a common clock.

A time far ahead would push every clock in the pool to where it wraps, and make all normal messages
look ancient. Serf believes any value; here a jump has a bound.
"""

from __future__ import annotations

__all__ = ["HIGHEST_TIME", "LamportClock"]

HIGHEST_TIME = 2**63 - 1


class LamportClock:
    """One logical clock, starting at 1.

    Args:
        max_jump: a value further ahead is refused.
    """

    def __init__(self, max_jump: int) -> None:
        self._max_jump = max_jump
        self._floor = 0
        self.time = 1

    def resume(self, seen: int, gap: int) -> bool:
        """Go on from a time that an earlier run wrote down; False, and nothing moves, if it is absurd.

        Args:
            seen: that time; 0 when none was written.
            gap: how many times that run may have used after it. We use none of them until `settle`,
                though others may.
        """
        if not self.witness(seen):
            return False
        self._floor = self.time + gap
        return True

    def settle(self) -> None:
        """The pool has told us which times were used, the last run's included."""
        self._floor = 0

    @property
    def upcoming(self) -> int:
        """The time that `increment` will take: `time`, unless the run before may have used it."""
        return max(self.time, self._floor)

    def increment(self) -> int:
        """Take the upcoming time for a message of ours and move on; returns the time taken."""
        taken = self.upcoming
        self.time = taken + 1
        return taken

    def witness(self, seen: int) -> bool:
        """Move past a time that somebody else used; False, and nothing moves, if it is absurd."""
        if seen - self.time > self._max_jump or seen > HIGHEST_TIME:
            return False
        self.time = max(self.time, seen + 1)
        return True
