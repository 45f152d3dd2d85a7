"""Some agents are stopped again and again: are running ones accused (Lifeguard's experiment)?"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from simulations.bench.lab import Lab, Pool
    from simulations.bench.participant import Participant

STOPPED, RUNNING = 10.0, 2.0
SHARE = 0.13
"""Part of the agents that is stopped: 1 of 10, 4 of 30, 8 of 60."""
HEAL_WITHIN = 60.0


async def measure(lab: Lab, system: str) -> Samples:
    """Stop (SIGSTOP) and continue the same agents for two windows; judge what everybody announced."""
    async with lab.pool(system) as pool:
        hampered = pool.agents[-max(1, round(SHARE * lab.size)) :]
        try:
            await _hamper(lab, pool, hampered)
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


async def _hamper(lab: Lab, pool: Pool, hampered: list[Participant]) -> None:
    deadline = time.monotonic() + 2 * lab.seconds
    while time.monotonic() < deadline:
        for agent in hampered:
            agent.process.pause()
        await pool.quiet(STOPPED, f"{len(hampered)} agents stopped")
        for agent in hampered:
            agent.process.resume()
        await asyncio.sleep(RUNNING)


FIGURE = Figure(
    "pause",
    f"{SHARE:.0%} of agents stopped {STOPPED:g} s, running {RUNNING:g} s, again and again",
    (
        Quantity(
            "false", "announced failed though never stopped (views)", "", Goal(0, against=None)
        ),
        Quantity(
            "false_healthy", "... by agents never stopped themselves", "", Goal(0, against=None)
        ),
        Quantity("suspected", "never stopped, yet suspected (members)", ""),
        Quantity("true", "stopped ones announced failed (views)", ""),
        Quantity("healed", "until all views were complete again", "s"),
    ),
    measure,
)
