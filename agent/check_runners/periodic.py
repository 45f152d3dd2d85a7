"""A probe that is made again and again.

    start --random part of the interval--> run --interval--> run --interval--> ...

The interval counts from the end of one run, so runs of one check never overlap; the random part keeps
the checks of a restarted agent, or of a thousand agents started together, from running at once.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.store.entries import Status
    from gossip.tasks import Tasks

__all__ = ["Periodic", "Probe", "Result"]


class Result(NamedTuple):
    """What one run found."""

    status: Status
    output: str


Probe: TypeAlias = "Callable[[], Awaitable[Result]]"


class Periodic:
    """Runs one probe until it is stopped.

    Args:
        probe: makes one run; it has its own timeout, and never fails.
        interval: seconds between two runs.
        report: gets what each run found.
        tasks: owns the task.
        chance: the part of the interval before the first run, from 0 to 1.
    """

    def __init__(
        self,
        probe: Probe,
        interval: float,
        report: Callable[[Result], None],
        tasks: Tasks,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._probe = probe
        self._interval = interval
        self._report = report
        self._delay = interval * chance()
        self._task = tasks.spawn(self._run())

    def stop(self) -> None:
        """Run no more; a run in progress is ended, and nothing is reported any more."""
        self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(self._delay)
        while True:
            self._report(await self._probe())
            await asyncio.sleep(self._interval)
