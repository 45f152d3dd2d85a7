"""Worker: a thread that does one piece of work after the other, and tells the event loop of each."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """One thread, started at once; made on the running loop.

    It is a daemon, because work that hangs, as on a disk that does not answer, must not keep the
    process from ending.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def submit(self, work: Callable[[], None], done: Callable[[OSError | None], object]) -> None:
        """Have something done, and `done` called on the loop with the error that it ended with."""
        self._work.put(lambda: self._do(work, done))

    def end(self, last: Callable[[], None]) -> None:
        """Do one last thing when all else is done, then end; nobody is told."""
        self._work.put(last)
        self._work.put(None)

    def _do(self, work: Callable[[], None], done: Callable[[OSError | None], object]) -> None:
        failure = None
        try:
            work()
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(done, failure)

    def _run(self) -> None:
        """The thread."""
        while (work := self._work.get()) is not None:
            with contextlib.suppress(OSError):  # of the last thing
                work()
