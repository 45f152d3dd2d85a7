"""Tasks: background work that belongs to one owner, ends with it, and never fails unseen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Coroutine

__all__ = ["Tasks"]


class Tasks:
    """The running tasks of one owner.

    Args:
        logger: where a task that ended with an error is reported; nobody else would wait for it.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._running: dict[asyncio.Task[None], None] = {}  # in order, so that runs can be the same

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run something until it ends by itself or `cancel` is called."""
        return self.adopt(asyncio.create_task(work))

    def adopt(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Take over a task that somebody else started."""
        self._running[task] = None
        task.add_done_callback(self._done)
        return task

    async def cancel(self) -> None:
        """End all of them but the caller; they have ended when this returns."""
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logger.critical("a task in the background ended", exc_info=error)
