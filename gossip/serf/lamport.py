"""Lamport clocks: the order of intents, events and queries without a common clock.

A time far ahead would push every clock in the pool to where it wraps, and make all normal messages
look ancient. Serf believes any value; here a jump has a bound.
"""

from __future__ import annotations

__all__ = ["LamportClock"]

HIGHEST_TIME = 2**63 - 1


class LamportClock:
    """One logical clock, starting at 1.

    Args:
        max_jump: a value further ahead is refused.
    """

    def __init__(self, max_jump: int) -> None:
        self._max_jump = max_jump
        self.time = 1

    def increment(self) -> int:
        """Take the current time for a message of ours and move on; returns the time taken."""
        taken = self.time
        self.time += 1
        return taken

    def witness(self, seen: int) -> bool:
        """Move past a time that somebody else used; False, and nothing moves, if it is absurd."""
        if seen - self.time > self._max_jump or seen > HIGHEST_TIME:
            return False
        self.time = max(self.time, seen + 1)
        return True
