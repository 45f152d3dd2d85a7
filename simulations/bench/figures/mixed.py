"""What genuine Serf agents notice when every second agent of their pool is of another kind.

The pool of Serf itself is the pure one that the others are held against. In each the same agents are
looked at, the first, third, fifth and so on, which are genuine in all of them. Nothing may get worse
for them: not what reaches them, not how soon, not their queues, their CPU time or their packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.figures.detect import kill
from simulations.bench.figures.event import APART, EVENTS_EACH, WITHIN
from simulations.bench.figures.leave import leave
from simulations.bench.figures.rate import delays_of, fire_evenly
from simulations.bench.lab import share
from simulations.bench.news import Kind
from simulations.bench.participant import SerfParticipant
from simulations.bench.processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from simulations.bench.lab import Lab, Pool
    from simulations.bench.traffic import Traffic

RATES = (20, 40)
"""Events per second; a pure pool sustains both."""
JOIN_WITHIN = 15.0
SPARSELY, OFTEN = 1.0, 0.1
"""Seconds between looks at the queues: over whole windows each costs CPU time, around a join or leave
all is over in a second."""


async def measure(lab: Lab, system: str) -> Samples:
    """Many short pools for what changes them, and a long one for what happens in it."""
    if system == "consul":
        return {}  # it refuses members that are no Consul agents
    samples: Samples = {key: [] for key in ("complete", "left", "left_failed", "killed", "intents")}
    samples["false"] = [0]
    for trial in range(lab.trials):
        lab.say(f"{system}: join, leave and failure, trial {trial + 1} of {lab.trials}")
        await _changes(lab, system, trial, samples)
    await _events(lab, system, samples)
    return samples


async def _changes(lab: Lab, system: str, trial: int, samples: Samples) -> None:
    async with lab.pool(system, beside="serf", joined=False) as pool:
        watched = genuine(pool)
        async with queue_depths(watched, "intent", OFTEN) as depths:
            samples["complete"].append(await _join(pool, watched))
            await asyncio.sleep(1)
            leaver = pool.agents[1::2][-1]
            known, _ = await leave(pool, leaver, watched)
        samples["intents"] += map(max, depths)
        samples["left"].append(known)
        samples["left_failed"].append(len(pool.reported(Kind.FAILED, leaver.name, watched)))
        others = pool.others()[1:]  # of both kinds in turn
        victim = others[trial % len(others)]
        watched = [agent for agent in watched if agent is not victim]
        samples["killed"].append((await kill(pool, victim, watched))[1])
        samples["false"][0] += accused(watched, {leaver.name, victim.name})


async def _join(pool: Pool, watched: Sequence[SerfParticipant]) -> float:
    first, *others = pool.agents
    started = time.monotonic()
    await asyncio.gather(*(agent.join(first.gossip) for agent in others))

    def complete() -> bool:
        return all(agent.news.alive() == len(pool.agents) for agent in watched)

    if not await pool.until(complete, JOIN_WITHIN):
        return math.inf
    return max(max(agent.news.first(Kind.JOINED).values()) for agent in watched) - started


async def _events(lab: Lab, system: str, samples: Samples) -> None:
    async with lab.pool(system, beside="serf") as pool:
        watched, count = genuine(pool), EVENTS_EACH * lab.trials
        meters = [Meter.read(lab, watched)]
        spread: list[list[float]] = []
        for number in range(count):
            lab.say(f"{system}: event {number + 1} of {count}")
            due = time.monotonic() + APART
            sender = pool.agents[number % len(pool.agents)]
            spread.append(await pool.spread(sender, f"ev{number:07}", watched, WITHIN))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        samples["half"] = [share(times, 0.5) for times in spread]
        samples["all"] = [times[-1] for times in spread]
        samples["incomplete"] = [sum(math.isinf(times[-1]) for times in spread)]
        meters.append(Meter.read(lab, watched))
        await pool.quiet(lab.seconds, "quiet")
        meters.append(Meter.read(lab, watched))
        for rate in RATES:
            async with queue_depths(watched, "event", SPARSELY) as depths:
                fired = await fire_evenly(lab, pool, rate)
                meters.append(Meter.read(lab, watched))
                delays = await delays_of(pool, fired, watched)
            samples[f"queue_{rate}"] = [max(seen) for seen in depths]
            samples[f"delivered_{rate}"] = [100 - 100 * delays.count(math.inf) / len(delays)]
            samples[f"late_{rate}"] = [share(delays, 0.99)]
            await pool.quiet(1, "queues become empty")
            meters.append(Meter.read(lab, watched))
        single, idle, *busy = [later - earlier for earlier, later in pairwise(meters)]
        samples["cpu_idle"] = idle.cpu_per_minute()
        samples["packets_idle"], samples["bytes_idle"] = idle.traffic_per_second()
        samples["packets_event"], samples["bytes_event"] = (
            [(with_events - without) * single.seconds / count]
            for [with_events], [without] in zip(
                single.traffic_per_second(), idle.traffic_per_second(), strict=True
            )
        )
        for rate, window in zip(RATES, busy[::2], strict=True):
            samples[f"cpu_{rate}"] = window.cpu_per_minute()
            samples[f"packets_{rate}"], samples[f"bytes_{rate}"] = window.traffic_per_second()
        samples["false"][0] += accused(watched, set())


def genuine(pool: Pool) -> list[SerfParticipant]:
    """The agents that are looked at, the same ones in every pool."""
    return [agent for agent in pool.agents[::2] if isinstance(agent, SerfParticipant)]


def accused(watched: Sequence[SerfParticipant], gone: set[str]) -> int:
    """How many views announced the failure of members, besides those that are gone."""
    return sum(len(agent.news.first(Kind.FAILED).keys() - gone) for agent in watched)


@contextlib.asynccontextmanager
async def queue_depths(
    agents: Sequence[SerfParticipant], queue: str, every: float
) -> AsyncIterator[list[list[int]]]:
    """The depths of each agent's queue, as seen meanwhile."""
    depths: list[list[int]] = [[0] for _ in agents]

    async def look() -> None:
        while True:
            await asyncio.sleep(every)
            for agent, seen in zip(agents, depths, strict=True):
                seen.append(await agent.queued(queue))

    looking = asyncio.create_task(look())
    try:
        yield depths
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


@dataclass(frozen=True, slots=True)
class Meter:
    """What some agents used and received until a moment; the difference of two is a window's."""

    seconds: float
    cpu: list[float]
    traffic: Traffic | None

    @classmethod
    def read(cls, lab: Lab, agents: Sequence[SerfParticipant]) -> Meter:
        """Of these agents, now."""
        cpu = [cpu_seconds(agent.process.pid) for agent in agents]
        return cls(time.monotonic(), cpu, lab.read_traffic(agents))

    def __sub__(self, earlier: Meter) -> Meter:
        return Meter(
            self.seconds - earlier.seconds,
            [now - before for now, before in zip(self.cpu, earlier.cpu, strict=True)],
            self.traffic - earlier.traffic if self.traffic and earlier.traffic else None,
        )

    def cpu_per_minute(self) -> list[float]:
        """Seconds per minute, of each agent."""
        return [60 * seconds / self.seconds for seconds in self.cpu]

    def traffic_per_second(self) -> tuple[list[float], list[float]]:
        """UDP packets and bytes that one agent received per second; nothing if that is unknown."""
        if self.traffic is None:
            return [], []
        agents = len(self.cpu) * self.seconds
        return [self.traffic.udp_packets / agents], [self.traffic.udp_bytes / agents]


NO_WORSE = Goal(1.0)

FIGURE = Figure(
    "mixed",
    "genuine Serf agents in a pool in which every second agent is of the named kind",
    (
        Quantity("half", "event at 50 % of them", "s", NO_WORSE),
        Quantity("all", "event at all of them", "s", NO_WORSE),
        Quantity("incomplete", f"events not at all after {WITHIN:g} s", "", Goal(0, against=None)),
        Quantity("packets_event", "UDP packets received per event", ""),
        Quantity("bytes_event", "UDP bytes received per event", "B"),
        Quantity("cpu_idle", "CPU, idle", "s/min", NO_WORSE),
        Quantity("packets_idle", "UDP packets received, idle", "/s"),
        Quantity("bytes_idle", "UDP bytes received, idle", "B/s"),
        *(
            quantity
            for rate in RATES
            for quantity in (
                Quantity(f"delivered_{rate}", f"delivered at {rate}/s", "%", Goal(1.0, above=True)),
                Quantity(f"late_{rate}", f"99 % within, at {rate}/s", "s", NO_WORSE),
                Quantity(f"queue_{rate}", f"highest event queue at {rate}/s", "", NO_WORSE),
                Quantity(f"cpu_{rate}", f"CPU at {rate}/s", "s/min", NO_WORSE),
                Quantity(f"packets_{rate}", f"UDP packets received at {rate}/s", "/s"),
                Quantity(f"bytes_{rate}", f"UDP bytes received at {rate}/s", "B/s"),
            )
        ),
        Quantity("complete", "join, until their views are complete", "s", NO_WORSE),
        Quantity("intents", "highest intent queue at join and leave", "", NO_WORSE),
        Quantity("left", "one of that kind leaves, until they know", "s", NO_WORSE),
        Quantity("left_failed", "... announced failed instead (views)", "", Goal(0, against=None)),
        Quantity("killed", "one of either kind is killed, until they know", "s", NO_WORSE),
        Quantity("false", "running agents announced failed", "", Goal(0, against=None)),
    ),
    measure,
)
