"""One agent leaves gracefully: until every other one knows, and until its process ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.bench.lab import Lab, Pool
    from simulations.bench.participant import Participant

WITHIN = 10.0
EXIT_WITHIN = 20.0


async def measure(lab: Lab, system: str) -> Samples:
    """One agent after the other leaves the same pool, the first (which all joined by) stays."""
    samples: Samples = {"known": [], "ended": []}
    async with lab.pool(system) as pool:
        for leaver in pool.agents[-min(lab.trials, lab.size - 2) :]:
            lab.say(f"{system}: {leaver.name} leaves")
            known, ended = await leave(pool, leaver, pool.others(leaver))
            samples["known"].append(known)
            samples["ended"].append(ended)
    return samples


async def leave(
    pool: Pool, leaver: Participant, observers: Sequence[Participant]
) -> tuple[float, float]:
    """One agent leaves; seconds until all observers know, and until its process has ended."""
    started = time.monotonic()
    ended = asyncio.create_task(leaver.process.wait(EXIT_WITHIN))
    with contextlib.suppress(OSError):  # it may be gone before it has answered
        await leaver.leave()

    def known() -> bool:
        return len(pool.reported(Kind.LEFT, leaver.name, observers)) == len(observers)

    everybody = await pool.until(known, WITHIN)
    times = pool.reported(Kind.LEFT, leaver.name, observers)
    seconds = float("inf")
    with contextlib.suppress(TimeoutError):
        await ended
        seconds = time.monotonic() - started
    pool.retire(leaver)
    return times[-1] - started if everybody else float("inf"), seconds


FIGURE = Figure(
    "leave",
    "one agent leaves gracefully",
    (
        Quantity("known", "until all others know", "s", Goal(0.1)),
        Quantity("ended", "until its process has ended", "s"),
    ),
    measure,
)
