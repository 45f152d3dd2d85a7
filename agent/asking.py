"""How soon a blocking query is asked again: at once, unless that would ask for nothing."""

from __future__ import annotations

__all__ = ["pause_after"]

POLL = 1.0
"""Seconds between looks at an agent that gives no index, and so cannot block."""
NO_PROGRESS = 0.2
"""Seconds; bounds the requests when an agent answers at once without news."""


def pause_after(index: int, asked_with: int, elapsed: float) -> float:
    """Seconds to wait before the next question.

    Args:
        index: of the answer; 0 when it had none.
        asked_with: the index in the question.
        elapsed: seconds from the question to the answer.
    """
    if index == 0:
        return POLL
    return NO_PROGRESS if index == asked_with and elapsed < NO_PROGRESS else 0.0
