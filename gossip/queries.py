"""Queries as an application sees them: the replies to its own, and its handlers for those of others."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeAlias

from gossip.arguments import checked_text
from gossip.errors import GossipError
from gossip.events import QueryAck, QueryAnswer, QueryReceived, QueryReply
from gossip.serf.queries import INTERNAL_PREFIX
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

__all__ = ["QueryHandler", "QueryHandlers", "QueryReplies"]

logger = logging.getLogger(__name__)

MAX_HELD_BYTES = 4 * 1024 * 1024
"""Bytes of answers kept for whoever reads them slowly; further ones are dropped and counted."""
MAX_HANDLING = 64
"""Queries being handled at a time; further ones are not answered, and counted."""
HANDLER_THREADS = 4
"""Threads for handlers that are plain functions."""

QueryHandler: TypeAlias = "Callable[[QueryReceived], bytes | Awaitable[bytes | None] | None]"


class QueryReplies:
    """Replies to one query as they come: an async iterator of `QueryAck` and `QueryAnswer`.

    It ends at the deadline, or when it or the cluster is closed. Whoever has heard enough closes it,
    or leaves its ``async with`` block; a cancelled read loses nothing.

    Attributes:
        deadline: the driver's time (``time.monotonic``) at which it ends by itself, seconds.
    """

    def __init__(self, stats: Counter[str]) -> None:
        self.deadline = 0.0
        self._stats = stats
        self._items: deque[QueryReply] = deque()
        self._held = 0
        self._ready = asyncio.Event()
        self._closed = False
        self._on_close: Callable[[], None] | None = None

    def __aiter__(self) -> AsyncIterator[QueryReply]:
        return self

    async def __anext__(self) -> QueryReply:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        reply = self._items.popleft()
        self._held -= _size_of(reply)
        return reply

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
        """Take no more replies; what has come can still be read."""
        if not self._closed and self._on_close is not None:
            self._on_close()

    # For the cluster

    def opened(self, deadline: float, on_close: Callable[[], None]) -> None:
        """The query is on its way; `on_close` closes it in the core."""
        self.deadline = deadline
        self._on_close = on_close

    def receive(self, reply: QueryReply, _now: float) -> None:
        """A reply came."""
        if self._held + _size_of(reply) > MAX_HELD_BYTES:
            self._stats["query_replies_dropped"] += 1
            return
        self._held += _size_of(reply)
        self._items.append(reply)
        self._ready.set()

    def ended(self, _now: float) -> None:
        """No more will come."""
        self._closed = True
        self._ready.set()


def _size_of(reply: QueryReply) -> int:
    match reply:
        case QueryAck():
            return 0  # their number is bounded by the members
        case QueryAnswer(payload=payload):
            return len(payload)


class QueryHandlers:
    """What the application answers, by the names of the queries.

    A coroutine function runs as a task; a plain function may block and so runs in a thread. Neither
    holds up the cluster, both end at the query's deadline, as far as that can be done to a thread.

    Args:
        respond: answers a query.
        clock: the driver's time.
        stats: where queries are counted that nobody could take.
    """

    def __init__(
        self,
        respond: Callable[[QueryReceived, bytes], Awaitable[None]],
        clock: Callable[[], float],
        stats: Counter[str],
    ) -> None:
        self._respond = respond
        self._clock = clock
        self._stats = stats
        self._handlers: dict[str, QueryHandler] = {}
        self._tasks = Tasks(logger)
        self._running = 0
        self._threads: ThreadPoolExecutor | None = None

    def register(self, name: str, handler: QueryHandler) -> None:
        """Have queries of that name answered; the last one registered counts.

        Raises:
            GossipError: the name belongs to the protocol.
            TypeError: it is no text, or the handler no function.
        """
        checked_text("query name", name)
        if not callable(handler):
            raise TypeError(f"handler is {type(handler).__name__}, not a function")
        if name.startswith(INTERNAL_PREFIX):
            raise GossipError(f"queries {INTERNAL_PREFIX}... belong to the protocol, {name!r} too")
        self._handlers[name] = handler

    def receive(self, query: QueryReceived) -> None:
        """A query came; if somebody wants it, they get it soon."""
        handler = self._handlers.get(query.name)
        if handler is None:
            return
        if self._running >= MAX_HANDLING:
            self._stats["queries_unhandled"] += 1
            return
        self._running += 1
        task = self._tasks.spawn(self._handle(handler, query))
        task.add_done_callback(self._handled)  # also of a task that never began

    async def close(self) -> None:
        """Stop handling; threads that still run are left to end by themselves."""
        await self._tasks.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _handled(self, _task: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _handle(self, handler: QueryHandler, query: QueryReceived) -> None:
        limit = asyncio.timeout(max(query.deadline - self._clock(), 0))
        try:
            async with limit:
                answer = await self._call(handler, query)
            if answer is not None:
                await self._respond(query, answer)
        except GossipError as error:
            logger.warning("query %r is not answered: %s", query.name, error)
        except Exception as error:  # the application's, and no reason to end anything of ours
            if isinstance(error, TimeoutError) and limit.expired():
                logger.warning("query %r is not answered: its handler is too slow", query.name)
            else:
                logger.exception("query %r is not answered: its handler failed", query.name)

    async def _call(self, handler: QueryHandler, query: QueryReceived) -> bytes | None:
        answer: bytes | Awaitable[bytes | None] | None
        if inspect.iscoroutinefunction(handler):
            answer = handler(query)
        else:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(HANDLER_THREADS, "gossip-query")
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, handler, query)
        # A function that is not declared as one may give a coroutine back, too.
        return await answer if isinstance(answer, Awaitable) else answer
