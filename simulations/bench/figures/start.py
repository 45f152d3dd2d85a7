"""From the start of a process to its first answer to a client.

The answer is the same for all that speak HTTP: status 200 to ``GET /v1/agent/members``, asked every
10 ms. A Consul agent gives it before a leader is elected, as a server and as a client in the same time.
Once alone on the machine, which is what a user waits for, and once as a whole pool at the same time,
which is CPU time in disguise.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

TRIALS_EACH = 3


async def measure(lab: Lab, system: str) -> Samples:
    """Start single agents one after the other, then all of a pool at once."""
    lab.say(f"{system}: a start that does not count, for what is read from disk and compiled")
    await _seconds_to_start(lab, system, 1)
    alone, together = [], []
    for trial in range(TRIALS_EACH * lab.trials):
        lab.say(f"{system}: start {trial + 1} of {TRIALS_EACH * lab.trials}")
        alone.append(await _seconds_to_start(lab, system, 1))
    for trial in range(lab.trials):
        lab.say(f"{system}: start of {lab.size} at once, {trial + 1} of {lab.trials}")
        together.append(await _seconds_to_start(lab, system, lab.size))
    return {"start": alone, "together": together}


async def _seconds_to_start(lab: Lab, system: str, size: int) -> float:
    started = time.monotonic()
    async with lab.pool(system, size=size, joined=False):
        return time.monotonic() - started


FIGURE = Figure(
    "start",
    "from the start of a process until it answers RPC, HTTP or its first command",
    (
        Quantity("start", "one alone, first answer", "s", Goal(1.0, least=1.5, against="consul")),
        Quantity("together", "all at once, last first answer", "s"),
    ),
    measure,
)
