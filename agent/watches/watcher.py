"""The watches of an agent: they ask the agent's own endpoints, and run their handlers one after the other.

What they ask for passes through the same handlers as a client's request, forwarded to a server where only
servers know the answer, but over no connection: they work where HTTP listens nowhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, assert_never

from agent.check_runners.http import HttpClient
from agent.check_runners.names import Names
from agent.logs import Value
from agent.watches.http import call_handler
from agent.watches.plan import HttpHandler, ScriptHandler
from agent.watches.progress import AnswerError, Progress
from agent.watches.script import run_handler
from gossip.errors import GossipError
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from agent.forward.messages import Answer
    from agent.watches.plan import Plan
    from agent.watches.progress import News

__all__ = ["Watches"]

log = logging.getLogger(__name__)

WAIT = 60.0
"""Seconds of a blocking query; a server that vanished while it was to answer is noticed after little more."""
LARGE = 64 * 1024
"""Bytes of an answer that is read on another thread."""
MAX_DIGITS = 20
"""Of an index, which has 64 bits."""
MAX_SHOWN = 200
"""Characters of a refusal in the log."""


class Watches:
    """Runs the watches of one agent.

    Args:
        ask: answers a GET of a path and query, with a token, on behalf of the agent.
    """

    def __init__(self, ask: Callable[[str, str], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._names = Names()
        self._http = HttpClient(self._names)
        self._running: list[tuple[Plan, asyncio.Task[None]]] = []
        self._counts: Counter[str] = Counter(errors=0, handled=0, handlers_failed=0)
        self._handling = 0
        self._closed = False
        self._tasks = Tasks(log)

    def follow(self, plans: Iterable[Plan]) -> None:
        """Run these and no others; one that runs already goes on where it is.

        The handler of one that is stopped is ended, with all that it started. Once closed, nothing runs.
        """
        if self._closed:
            return
        wanted = list(plans)
        kept = []
        for plan, task in self._running:
            if plan in wanted and not task.done():
                wanted.remove(plan)
                kept.append((plan, task))
            else:
                task.cancel()
        self._running = [*kept, *((plan, self._tasks.spawn(self._run(plan))) for plan in wanted)]

    async def close(self) -> None:
        """End all of them, handlers included. Idempotent."""
        self._closed = True
        self._running.clear()
        async with AsyncExitStack() as stack:
            stack.callback(self._names.close)
            stack.push_async_callback(self._http.close)
            await self._tasks.cancel()

    def stats(self) -> dict[str, int]:
        """``watching`` and ``handling`` now; ``handled``, ``handlers_failed`` and ``errors`` so far."""
        return {"watching": len(self._running), "handling": self._handling, **self._counts}

    async def _run(self, plan: Plan) -> None:
        progress = Progress(plan, wait=WAIT)
        while True:
            try:
                news = await self._next(progress, plan.token)
            except GossipError as error:
                delay = progress.failed()
                self._counts["errors"] += 1
                log.error("watch failed type=%s error=%s retry=%gs", plan.kind, Value(error), delay)
                await asyncio.sleep(delay)
                continue
            if news is not None:
                await self._handle(plan, news)
            await asyncio.sleep(progress.pause)

    async def _next(self, progress: Progress, token: str) -> News | None:
        """Ask once.

        Raises:
            GossipError: there is no usable answer.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        answer = await self._ask(progress.target(), token)
        if answer.status != 200:
            text = answer.body[:MAX_SHOWN].decode("utf-8", "replace")
            raise GossipError(f"Unexpected response code: {answer.status} ({text})")
        index = _index_of(answer)
        elapsed = clock() - started
        if len(answer.body) < LARGE:
            return progress.answered(index, answer.body, elapsed)
        return await asyncio.to_thread(progress.answered, index, answer.body, elapsed)

    async def _handle(self, plan: Plan, news: News) -> None:
        self._counts["handled"] += 1
        self._handling += 1
        try:
            match plan.handler:
                case ScriptHandler() as handler:
                    succeeded = await run_handler(handler, news)
                case HttpHandler() as handler:
                    succeeded = await call_handler(self._http, handler, news)
                case None:
                    return
                case _:
                    assert_never(plan.handler)
        finally:
            self._handling -= 1
        self._counts["handlers_failed"] += not succeeded


def _index_of(answer: Answer) -> int:
    text = answer.headers.get("X-Consul-Index", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise AnswerError("the index of the answer is not a number")
    return int(text)
