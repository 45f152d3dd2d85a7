"""Some agents are stopped again and again: are running ones accused (Lifeguard's experiment)?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulations.bench.lab import Lab, Pool
    from simulations.bench.participant import Participant


@dataclass(frozen=True, slots=True)
class Plan:
    """How a pool is hampered."""

    share: float
    """Part of the agents that is stopped, all of them at the same times."""
    stopped: tuple[float, float]
    """Bounds of each stop, seconds."""
    running: float
    """Seconds from one stop to the next."""

    def victims(self, agents: int) -> int:
        """How many of so many agents are stopped."""
        return max(1, round(self.share * agents))

    def stops(self) -> Iterator[float]:
        """The length of each stop, the same for every system."""
        rng = Random(1)
        while True:
            yield rng.uniform(*self.stopped)

    def __str__(self) -> str:
        low, high = self.stopped
        seconds = f"{low:g} s" if low == high else f"{low:g}-{high:g} s"
        return f"{self.share:.0%} stopped {seconds}, running {self.running:g} s"


PLANS = {"": Plan(0.13, (10, 10), 2), "harsh_": Plan(0.3, (2, 16), 0.2)}
"""By what their quantities' keys begin with; 13 % are 1 of 10, 4 of 30, 8 of 60."""
HEAL_WITHIN = 60.0


async def measure(lab: Lab, system: str) -> Samples:
    """One plan after the other, each on a pool of its own."""
    samples: Samples = {}
    for prefix, plan in PLANS.items():
        counted = await _try(lab, system, plan)
        samples |= {prefix + key: values for key, values in counted.items()}
    return samples


async def _try(lab: Lab, system: str, plan: Plan) -> Samples:
    """Stop (SIGSTOP) and continue the same agents for two windows; judge what everybody announced."""
    async with lab.pool(system) as pool:
        hampered = pool.agents[-plan.victims(lab.size) :]
        try:
            await _hamper(lab, pool, hampered, plan)
        finally:
            for agent in hampered:
                agent.process.resume()
        resumed = time.monotonic()
        healed = await pool.until(pool.complete, HEAL_WITHIN)
        seconds = time.monotonic() - resumed
        names = {agent.name for agent in hampered}
        announced = [
            (agent.name, news.subject, news.kind)
            for agent in pool.agents
            for news in agent.news.all()
            if news.kind in {Kind.FAILED, Kind.SUSPECTED}
        ]
    return {
        "false": [sum(k is Kind.FAILED and s not in names for _, s, k in announced)],
        "false_healthy": [
            sum(k is Kind.FAILED and s not in names and a not in names for a, s, k in announced)
        ],
        "suspected": [len({s for _, s, k in announced if k is Kind.SUSPECTED} - names)],
        "true": [sum(k is Kind.FAILED and s in names for _, s, k in announced)],
        "healed": [seconds if healed else float("inf")],
    }


async def _hamper(lab: Lab, pool: Pool, hampered: list[Participant], plan: Plan) -> None:
    deadline = time.monotonic() + 2 * lab.seconds
    for stopped in plan.stops():
        for agent in hampered:
            agent.process.pause()
        await pool.quiet(stopped, f"{len(hampered)} agents stopped")
        for agent in hampered:
            agent.process.resume()
        await asyncio.sleep(plan.running)
        if time.monotonic() >= deadline:
            return


def _quantities(prefix: str, plan: Plan) -> tuple[Quantity, ...]:
    none = Goal(0, against=None)
    return (
        Quantity(f"{prefix}false", f"{plan}: others announced failed (views)", "", none),
        Quantity(f"{prefix}false_healthy", "... by agents never stopped themselves", "", none),
        Quantity(f"{prefix}suspected", "never stopped, yet suspected (members)", ""),
        Quantity(f"{prefix}true", "stopped ones announced failed (views)", ""),
        Quantity(f"{prefix}healed", "until all views were complete again", "s"),
    )


FIGURE = Figure(
    "pause",
    "some agents are stopped, all at the same time, again and again",
    tuple(quantity for prefix, plan in PLANS.items() for quantity in _quantities(prefix, plan)),
    measure,
)
