"""All agents join by the first one at once: until every view is complete."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

WITHIN = 15.0


async def measure(lab: Lab, system: str) -> Samples:
    """Start fresh agents for each trial; views with holes after the bound count as infinite."""
    samples: Samples = {"complete": [], "holes": []}
    for trial in range(lab.trials):
        lab.say(f"{system}: {lab.size} agents join, trial {trial + 1} of {lab.trials}")
        async with lab.pool(system, joined=False) as pool:
            first, *others = pool.agents
            started = time.monotonic()
            await asyncio.gather(*(agent.join(first.gossip) for agent in others))
            await pool.until(pool.complete, WITHIN)
            holes = pool.holes()
            last = max(max(agent.news.first(Kind.JOINED).values()) for agent in pool.agents)
            samples["holes"].append(holes)
            samples["complete"].append(float("inf") if holes else last - started)
    return samples


FIGURE = Figure(
    "join",
    "all agents join by the first at the same moment",
    (
        Quantity("complete", "until every view is complete", "s", Goal(0.2)),
        Quantity(
            "holes", f"members missing in views after {WITHIN:g} s", "", Goal(0, against=None)
        ),
    ),
    measure,
)
