"""Waiting for something to become true, with a deadline and a message that tells what was missing."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["eventually"]

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]],
    *,
    within: float,
    what: str | Callable[[], str],
    every: float = ...,
) -> T: ...


@overload
async def eventually(
    condition: Callable[[], T],
    *,
    within: float,
    what: str | Callable[[], str],
    every: float = ...,
) -> T: ...


async def eventually(
    condition: Callable[[], T | Awaitable[T]],
    *,
    within: float,
    what: str | Callable[[], str],
    every: float = 0.02,
) -> T:
    """Evaluate `condition` until it is truthy and return that value.

    Args:
        condition: plain or coroutine function; an OSError or TimeoutError of its counts as "not yet".
        within: seconds of the loop's time until giving up.
        what: the thing waited for, or a function that describes how far it got.
        every: seconds between two looks.

    Raises:
        TimeoutError: naming what was waited for, the bound and the last error.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + within
    error: Exception | None = None
    while True:
        try:
            async with asyncio.timeout_at(now() + within):
                value = condition()
                result = await value if inspect.isawaitable(value) else value
            if result:
                return result
            error = None
        except OSError as caught:  # TimeoutError is one of them
            error = caught
        if now() >= deadline:
            text = what if isinstance(what, str) else what()
            reason = f" (last error: {error})" if error else ""
            raise TimeoutError(f"not within {within:g} s: {text}{reason}") from error
        await asyncio.sleep(every)
