"""One user event at a time: how soon it is everywhere, and what it costs on the wire."""

from __future__ import annotations

import asyncio
import math
import time

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.lab import Lab, share

EVENTS_EACH = 10
APART = 1.5
"""Seconds from one event to the next: its copies are all sent within Serf's 8 / 3 ticks of 0.2 s."""
WITHIN = 5.0


async def measure(lab: Lab, system: str) -> Samples:
    """Fire single events from one agent after the other, then compare with as long a quiet window."""
    samples: Samples = {"half": [], "most": [], "all": [], "incomplete": []}
    count = EVENTS_EACH * lab.trials
    async with lab.pool(system) as pool:
        traffic, started = lab.read_traffic(), time.monotonic()
        incomplete = 0
        for number in range(count):
            lab.say(f"{system}: event {number + 1} of {count}")
            fired = time.monotonic()
            sender = pool.agents[number % len(pool.agents)]
            times = await pool.spread(sender, f"ev{number:07}", pool.agents, WITHIN)
            incomplete += math.isinf(times[-1])
            samples["half"].append(share(times, 0.5))
            samples["most"].append(share(times, 0.99))
            samples["all"].append(times[-1])
            await asyncio.sleep(max(0.0, fired + APART - time.monotonic()))
        samples["incomplete"] = [incomplete]
        busy, seconds = lab.read_traffic(), time.monotonic() - started
        await pool.quiet(seconds, "quiet, for comparison")
        idle = lab.read_traffic()
    if traffic and busy and idle:
        with_events, without = busy - traffic, idle - busy
        extra = with_events.udp_packets - without.udp_packets
        samples["packets"] = [extra / count / lab.size]
        extra = with_events.udp_bytes - without.udp_bytes
        samples["bytes"] = [extra / count / lab.size]
    return samples


FIGURE = Figure(
    "event",
    "single user events of about 72 bytes, from the request until members have them",
    (
        Quantity("half", "at 50 % of members", "s"),
        Quantity("most", "at 99 % of members", "s"),
        Quantity("all", "at all members", "s", Goal(1 / 20, least=1 / 4)),
        Quantity("packets", "UDP packets per event and agent", "", Goal(1.0)),
        Quantity("bytes", "UDP bytes per event and agent", "B", Goal(1.1)),
        Quantity(
            "incomplete", f"events not everywhere after {WITHIN:g} s", "", Goal(0, against=None)
        ),
    ),
    measure,
)
