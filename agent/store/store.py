"""The store: what the agent asks to read and to change its datacenter's catalog."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from agent.errors import BusyError
from agent.store.catalog import Catalog
from agent.store.entries import DiskError, StoreError
from agent.store.sqlite import SqliteEngine
from agent.store.watch import Watch
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.store.entries import Deregistration, Registration, Write
    from agent.store.sqlite import Outcome
    from agent.store.watch import Topic

__all__ = ["MAX_WAITING", "Store"]

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_WAITING = 4096
"""Writes that wait for the disk; clients beyond are told to come back later."""
MAX_BATCH = 256
"""Writes that share one sync of the disk."""
CLOSE_TIMEOUT = 10.0
"""Seconds that the disk may take for the last writes."""


class Store:
    """The catalog of one datacenter. Everything runs on the loop that called `start`, but for the disk.

    Args:
        path: of its file; None keeps it in memory.

    Attributes:
        catalog: what was committed.
        watch: the indexes of what it says, and who waits for them.
        refused: writes turned away because too many were waiting.
        failed: writes that the disk did not take.
    """

    def __init__(self, path: Path | None) -> None:
        self.catalog = Catalog()
        self.watch = Watch()
        self.refused = 0
        self.failed = 0
        self._engine = SqliteEngine(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._queue: deque[tuple[Write, asyncio.Future[int]]] = deque()
        self._batch: list[tuple[Write, asyncio.Future[int]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._tasks = Tasks(log)
        self._index = 0
        self._open = False
        self._closed = False

    async def start(self) -> None:
        """Open the catalog and read it.

        Raises:
            ConfigError: it cannot be used; the text says why and what to do.
        """
        loaded = await self._on_thread(self._engine.open)
        self.catalog.load(loaded.entries)
        self._index = loaded.index
        self.watch.start_at(loaded.index)
        self._open = True

    async def close(self) -> None:
        """Finish the writes that wait, and close the file; a disk that hangs is given up. Idempotent."""
        if self._closed:
            return
        self._closed, self._open = True, False
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._writer is not None:
                    await asyncio.wait([self._writer])
                await self._on_thread(self._engine.close)
        except TimeoutError:
            await self._give_up()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _give_up(self) -> None:
        waiting = [done for _, done in (*self._batch, *self._queue) if not done.done()]
        log.error("the disk of the catalog does not answer, given up writes=%d", len(waiting))
        for done in waiting:
            done.set_exception(DiskError("the disk of the catalog does not answer"))
        await self._tasks.cancel()

    def stats(self) -> dict[str, int]:
        """How much there is, who waits for more, and what was refused."""
        return {
            **self.catalog.counts(),
            "index": self._index,
            "waiting_queries": self.watch.waiting,
            "waiting_writes": len(self._queue),
            "refused_writes": self.refused,
            "failed_writes": self.failed,
            "forgotten_topics": self.watch.forgotten,
        }

    @property
    def index(self) -> int:
        """Of the last write that changed anything."""
        return self._index

    async def register(self, registration: Registration) -> int:
        """Have a node, a service and checks be there as described; returns the last write's index.

        It is on the disk, and readers see it, when this returns; at once if it says nothing new. One
        that is cancelled may have been done.

        Raises:
            StoreError: it makes no sense, or the disk failed; nothing was changed.
            BusyError: too many writes wait for the disk.
        """
        return await self._write(registration)

    async def deregister(self, deregistration: Deregistration) -> int:
        """Have a node, a service or a check be gone, which it may be already; see `register`."""
        return await self._write(deregistration)

    async def index_of(self, topic: Topic, *, exceeding: int = 0, wait: float = 0.0) -> int:
        """The index of what the catalog says about a topic, once it exceeds another one.

        0 never waits. Otherwise it waits `wait` seconds at most and gives the index as it is. What the
        catalog says then is of that index until something else is awaited.
        """
        await self.watch.outlast(topic, exceeding, wait)
        return self.watch.index(topic)

    async def _write(self, write: Write) -> int:
        if not self._open:
            raise StoreError("the catalog is closed")
        if len(self._queue) >= MAX_WAITING:
            self.refused += 1
            raise BusyError("too many writes wait for the disk")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((write, done))
        if self._writer is None or self._writer.done():
            self._writer = self._tasks.spawn(self._drain())
        return await done

    async def _drain(self) -> None:
        """Write what waits, and what comes meanwhile."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
            self._batch = batch
            writes = [write for write, _ in batch]
            try:
                outcomes = await self._on_thread(lambda: self._engine.commit(writes))  # noqa: B023
            except Exception as error:
                log.exception("the catalog could not be written")
                outcomes = [DiskError(f"the catalog could not be written: {error}")] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                self._settle(outcome, done)

    def _settle(self, outcome: Outcome, done: asyncio.Future[int]) -> None:
        if isinstance(outcome, DiskError):
            self.failed += 1
        if isinstance(outcome, StoreError):
            if not done.done():
                done.set_exception(outcome)
            return
        self._index = outcome.index
        if outcome.changes:
            self.watch.changed(self.catalog.apply(outcome.changes), outcome.index)
        if not done.done():
            done.set_result(outcome.index)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
