"""Awareness: how much this node doubts itself (Lifeguard's local health multiplier).

A node whose probes fail although others vouch for it, or that has to refute accusations, is probably
slow itself; it then probes more slowly instead of accusing the healthy.
"""

from __future__ import annotations

__all__ = ["Awareness"]


class Awareness:
    """A score from 0 (healthy) to ``maximum - 1`` that scales the probe interval."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.score = 0

    def apply(self, delta: int) -> None:
        """Move the score, within its bounds."""
        self.score = min(max(self.score + delta, 0), self._maximum - 1)

    def scale(self, interval: float) -> float:
        """An interval stretched by our doubt, seconds."""
        return interval * (self.score + 1)
