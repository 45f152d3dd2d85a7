"""One agent is killed: until the others announce it failed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

WITHIN = 60.0


async def measure(lab: Lab, system: str) -> Samples:
    """One agent after the other of the same pool is killed; nobody else may be announced."""
    samples: Samples = {"first": [], "all": [], "false": []}
    async with lab.pool(system) as pool:
        killed = pool.agents[-min(lab.trials, lab.size - 2) :]
        for victim in killed:
            lab.say(f"{system}: {victim.name} is killed")
            observers = pool.others(victim)
            at = time.monotonic()
            await victim.process.kill()

            def announced(name: str = victim.name) -> bool:
                return len(pool.reported(Kind.FAILED, name, observers)) == len(observers)  # noqa: B023 - awaited in this round

            everybody = await pool.until(announced, WITHIN)
            times = pool.reported(Kind.FAILED, victim.name, observers)
            samples["first"].append(times[0] - at if times else float("inf"))
            samples["all"].append(times[-1] - at if everybody else float("inf"))
            pool.retire(victim)
        victims = {victim.name for victim in killed}
        samples["false"] = [
            sum(len(agent.news.first(Kind.FAILED).keys() - victims) for agent in pool.others())
        ]
    return samples


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
