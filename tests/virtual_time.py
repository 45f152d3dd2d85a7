"""Coroutines whose timers take no time, on the simulator's event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from simulations.virtual import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["in_virtual_time"]

T = TypeVar("T")


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
