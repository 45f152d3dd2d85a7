"""From the start of a process to its first answer to a client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

TRIALS_EACH = 3


async def measure(lab: Lab, system: str) -> Samples:
    """Start single agents one after the other."""
    seconds = []
    for trial in range(TRIALS_EACH * lab.trials):
        lab.say(f"{system}: start {trial + 1} of {TRIALS_EACH * lab.trials}")
        started = time.monotonic()
        async with lab.pool(system, size=1, joined=False):
            seconds.append(time.monotonic() - started)
    return {"start": seconds}


FIGURE = Figure(
    "start",
    "one process, until it answers RPC, HTTP or its first command",
    (Quantity("start", "start to first answer", "s", Goal(1.0, against="consul")),),
    measure,
)
