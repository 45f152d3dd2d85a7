"""A wall clock that tests set; the monotonic one goes on as it is (R-10)."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

__all__ = ["TEN_YEARS", "jumps", "set_wall_clock"]

TEN_YEARS = 10 * 365 * 86400.0

_real = time.time
_steps = itertools.cycle([0.0, TEN_YEARS, -TEN_YEARS])


def jumps() -> float:
    """The time, ten years ahead or behind; another step with every look at it."""
    return _real() + next(_steps)


def set_wall_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float]) -> None:
    """Whoever asks for the time gets this, in seconds since 1970."""
    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now() * 1e9))
