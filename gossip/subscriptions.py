"""Subscriptions: events for consumers that may be slow, bounded, with a mark where some were lost."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from gossip.errors import LimitError
from gossip.events import Gap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

__all__ = ["Subscription"]

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")


class Subscription(Generic[_Item]):
    """What happens from now on, as an async iterator: events in order, and `Gap` where some were lost.

    It ends when the cluster, or whatever else publishes, is closed, when `close` is called, or with its
    ``async with`` block. Left open and unread it goes on keeping `limit` events.

    Args:
        limit: events kept for a slow consumer.
        on_close: called when it ends.
        on_missed: called for every event that is lost, when that happens.
        kinds: classes of events that are wanted; None for all.

    Raises:
        LimitError: `limit` is below 1.
        TypeError: an argument is of another type: found later, it would hold up whoever publishes.
    """

    def __init__(
        self,
        limit: int,
        on_close: Callable[[Subscription[_Item]], None],
        on_missed: Callable[[], None] | None = None,
        kinds: tuple[type[_Item], ...] | None = None,
    ) -> None:
        if not isinstance(limit, int):
            raise TypeError(f"limit is {type(limit).__name__}, not int")
        if limit < 1:
            raise LimitError(f"limit {limit} is below 1: no event could be kept")
        if on_missed is not None and not callable(on_missed):
            raise TypeError(f"on_missed is {type(on_missed).__name__}, not a function")
        if kinds is not None:
            try:
                isinstance(None, kinds)
            except TypeError:
                raise TypeError(f"kinds {kinds!r} are not a tuple of classes") from None
        self._limit = limit
        self._on_close = on_close
        self._on_missed = on_missed
        self._kinds = kinds
        self._items: deque[_Item | Gap] = deque()
        self._missed = 0
        self._ready = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> AsyncIterator[_Item | Gap]:
        return self

    async def __anext__(self) -> _Item | Gap:
        while not self._items and not self._missed:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        if self._items:
            return self._items.popleft()
        missed, self._missed = self._missed, 0
        return Gap(missed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration after what is queued."""
        if not self._closed:
            self._closed = True
            self._ready.set()
            self._on_close(self)

    def publish(self, event: _Item) -> None:
        """Queue an event if it is wanted, or count it as missed while the consumer is too far behind."""
        if self._kinds is not None and not isinstance(event, self._kinds):
            return
        if len(self._items) >= self._limit:
            self._missed += 1
            if self._on_missed is not None:
                try:
                    self._on_missed()
                except Exception:  # the application's; others wait for this event too
                    logger.exception("on_missed of a subscription failed")
        else:
            if self._missed:
                self._items.append(Gap(self._missed))
                self._missed = 0
            self._items.append(event)
        self._ready.set()
