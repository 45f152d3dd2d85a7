"""Work for many processes: tasks with what came of them as they end, and an end at once when nobody listens."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["in_processes"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int, *, fresh: bool = False
) -> Iterator[tuple[Task, Result]]:
    """Do something with each of some tasks; gives each task and its result, in the order they end.

    Ctrl-C ends the workers where they are. Whoever stops listening waits for the tasks that have begun,
    and for no others.

    Args:
        work: a function of a module, or a `functools.partial` of one; what it raises is raised here.
        tasks: what it is called with.
        jobs: how many at a time; one does everything in this process.
        fresh: each task has a process of its own that did nothing before, whatever `jobs` is.
    """
    if jobs == 1 and not fresh:
        for task in tasks:
            yield task, work(task)
        return
    with ProcessPoolExecutor(
        max(1, min(jobs, len(tasks))),
        mp_context=get_context("spawn") if fresh else None,
        max_tasks_per_child=1 if fresh else None,
        # A terminal tells the workers of Ctrl-C too. Python's own handler would only end the task at hand.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as executor:
        futures = {executor.submit(work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            executor.shutdown(cancel_futures=True)
