"""Sustained events: the highest rate at which, over a whole window, all arrive and arrive soon."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.lab import Lab, Pool, share
from simulations.bench.news import Kind
from simulations.bench.processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.bench.participant import Participant

FIRST = 25.0
HIGHEST = 3200.0
REFINEMENTS = 2
SLOWEST = 1.0
"""Seconds that 99 % of deliveries must be faster than."""
STRICT, LOOSE = 0.9999, 0.99
DRAIN = 6.0


@dataclass(frozen=True, slots=True)
class Window:
    """One rate, tried once."""

    rate: float
    delivered: float
    """Part of all (event, agent) pairs, 0 to 1."""
    late: float
    """Seconds by which 99 % of all pairs were there; infinite when more are missing."""
    cpu: float
    """CPU seconds per second, all agents together."""

    def holds(self, delivered: float) -> bool:
        """Whether this rate is sustained, given how much must arrive."""
        return self.delivered >= delivered and self.late < SLOWEST


async def measure(lab: Lab, system: str) -> Samples:
    """Double the rate until it fails, then halve the gap; each rate on a fresh pool."""
    windows: list[Window] = []
    good, rate = 0.0, FIRST
    while rate <= HIGHEST:
        windows.append(await _window(lab, system, rate))
        if not windows[-1].holds(LOOSE):
            break
        good, rate = rate, rate * 2
    bad = rate
    for _ in range(REFINEMENTS if good and bad <= HIGHEST else 0):
        rate = (good + bad) / 2
        windows.append(await _window(lab, system, rate))
        if windows[-1].holds(LOOSE):
            good = rate
        else:
            bad = rate
    strict = max((w for w in windows if w.holds(STRICT)), key=lambda w: w.rate, default=None)
    loose = max((w for w in windows if w.holds(LOOSE)), key=lambda w: w.rate, default=None)
    samples: Samples = {
        "strict": [strict.rate if strict else 0.0],
        "loose": [loose.rate if loose else 0.0],
    }
    if loose:
        samples |= {"late": [loose.late], "delivered": [100 * loose.delivered], "cpu": [loose.cpu]}
    return samples


async def _window(lab: Lab, system: str, rate: float) -> Window:
    async with lab.pool(system) as pool:
        cpu = sum(cpu_seconds(agent.process.pid) for agent in pool.agents)
        fired = await fire_evenly(lab, pool, rate)
        cpu = sum(cpu_seconds(agent.process.pid) for agent in pool.agents) - cpu

        delays = await delays_of(pool, fired, pool.agents)
    missing = sum(delay == float("inf") for delay in delays)
    window = Window(rate, 1 - missing / len(delays), share(delays, 0.99), cpu * rate / len(fired))
    lab.say(
        f"{system}: {rate:g}/s: {100 * window.delivered:.3f} % delivered ({missing} of {len(delays)}"
        f" missing), 99 % within {window.late:.3f} s, {window.cpu:.2f} cores\n"
    )
    return window


async def delays_of(
    pool: Pool, fired: dict[str, float], observers: Sequence[Participant]
) -> list[float]:
    """Seconds until each observer had each event, in order, infinity for what never came."""

    def arrived() -> bool:
        return all(fired.keys() <= agent.news.first(Kind.EVENT).keys() for agent in observers)

    await pool.until(arrived, DRAIN)
    return sorted(
        agent.news.first(Kind.EVENT).get(name, float("inf")) - at
        for agent in observers
        for name, at in fired.items()
    )


async def fire_evenly(lab: Lab, pool: Pool, rate: float) -> dict[str, float]:
    """Fire evenly, from one agent after the other; when each event was handed over."""
    fired: dict[str, float] = {}
    requests: set[asyncio.Task[None]] = set()
    count = int(rate * lab.seconds)
    started = time.monotonic()
    for number in range(count):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if number % max(1, int(5 * rate)) == 0:
            lab.say(f"{pool.system}: {rate:g} events/s, {count - number} left")
        name = f"{rate:04.0f}{number:05}"
        fired[name] = time.monotonic()
        agent = pool.agents[number % len(pool.agents)]
        request = asyncio.create_task(agent.fire(name, lab.payload))
        requests.add(request)
        request.add_done_callback(requests.discard)
    await asyncio.gather(*requests)
    return fired


FIGURE = Figure(
    "rate",
    "events per second, fired evenly by all agents, whole windows; 99 % of deliveries within 1 s",
    (
        Quantity(
            "strict", f"sustained, {STRICT:.2%} delivered", "/s", Goal(10, least=3, above=True)
        ),
        Quantity("loose", f"sustained, {LOOSE:.0%} delivered", "/s", Goal(10, least=3, above=True)),
        Quantity("late", "99 % of deliveries within, at the latter", "s"),
        Quantity("delivered", "delivered, at the latter", "%"),
        Quantity("cpu", "cores used by all agents, at the latter", ""),
    ),
    measure,
)
