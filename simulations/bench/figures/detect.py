"""One agent is killed: until the others announce it failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.bench.lab import Lab, Pool
    from simulations.bench.participant import Participant

WITHIN = 60.0


async def measure(lab: Lab, system: str) -> Samples:
    """One agent after the other of the same pool is killed; nobody else may be announced."""
    samples: Samples = {"first": [], "all": [], "false": []}
    async with lab.pool(system) as pool:
        killed = pool.agents[-min(lab.trials, lab.size - 2) :]
        for victim in killed:
            lab.say(f"{system}: {victim.name} is killed")
            first, everybody = await kill(pool, victim, pool.others(victim))
            samples["first"].append(first)
            samples["all"].append(everybody)
        victims = {victim.name for victim in killed}
        samples["false"] = [
            sum(len(agent.news.first(Kind.FAILED).keys() - victims) for agent in pool.others())
        ]
    return samples


async def kill(
    pool: Pool, victim: Participant, observers: Sequence[Participant]
) -> tuple[float, float]:
    """Kill one agent; seconds until the first observer, and until all, announce it failed."""
    at = time.monotonic()
    await victim.process.kill()

    def announced() -> bool:
        return len(pool.reported(Kind.FAILED, victim.name, observers)) == len(observers)

    everybody = await pool.until(announced, WITHIN)
    times = pool.reported(Kind.FAILED, victim.name, observers)
    pool.retire(victim)
    return (
        times[0] - at if times else float("inf"),
        times[-1] - at if everybody else float("inf"),
    )


FIGURE = Figure(
    "detect",
    "one agent is killed (SIGKILL)",
    (
        Quantity("first", "first announces it failed", "s"),
        Quantity("all", "all announce it failed", "s", Goal(1.0)),
        Quantity("false", "running agents announced failed", "", Goal(0, against=None)),
    ),
    measure,
)
