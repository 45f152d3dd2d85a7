"""A thousand events as fast as one agent takes them: how many arrive, and when the last."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

EVENTS = 1000
WITHIN = 45.0
SILENCE = 4.0
"""Seconds without a single arrival after which no more are expected."""


async def measure(lab: Lab, system: str) -> Samples:
    """Fire from one agent of a fresh pool for each trial and count distinct arrivals everywhere."""
    samples: Samples = {"delivered": [], "last": [], "taken": [], "packets": []}
    for trial in range(lab.trials):
        lab.say(f"{system}: burst of {EVENTS}, trial {trial + 1} of {lab.trials}")
        async with lab.pool(system) as pool:
            names = [f"bu{number:07}" for number in range(EVENTS)]
            before = lab.read_traffic()
            started = time.monotonic()
            await asyncio.gather(*(pool.agents[0].fire(name, lab.payload) for name in names))
            samples["taken"].append(time.monotonic() - started)
            arrived, latest = 0, started
            while arrived < EVENTS * lab.size and time.monotonic() < started + WITHIN:
                events = [agent.news.first(Kind.EVENT) for agent in pool.agents]
                count = sum(map(len, events))
                if count == arrived and time.monotonic() > latest + SILENCE:
                    break
                if count > arrived:
                    arrived = count
                    latest = max(max(times.values()) for times in events if times)
                await asyncio.sleep(0.05)
            samples["delivered"].append(100 * arrived / EVENTS / lab.size)
            samples["last"].append(latest - started)
            after = lab.read_traffic()
            if before and after:
                packets = (after - before).udp_packets
                samples["packets"].append(packets / lab.size)
    return samples


FIGURE = Figure(
    "burst",
    f"{EVENTS} events fired at once at one agent",
    (
        Quantity("delivered", "delivered", "%", Goal(100, above=True, against=None)),
        Quantity("last", "last delivery", "s", Goal(2.0, against=None)),
        Quantity("taken", "until the agent had taken them", "s"),
        Quantity("packets", "UDP packets per agent", ""),
    ),
    measure,
)
