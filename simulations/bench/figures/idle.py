"""What a joined agent costs while nothing happens: CPU, packets, memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from simulations.bench.figure import Figure, Goal, Quantity, Samples
from simulations.bench.processes import cpu_seconds, memory

if TYPE_CHECKING:
    from simulations.bench.lab import Lab

MIB = 1 << 20


async def measure(lab: Lab, system: str) -> Samples:
    """Watch one quiet window; per agent, sent packets being received ones too.

    memberlist's first push/pull comes one to two intervals (30 s each) after the start, so that the
    window starts when as much time has passed.
    """
    async with lab.pool(system) as pool:
        await pool.quiet(lab.seconds, "warming up")
        pids = [agent.process.pid for agent in pool.agents]
        traffic, started = lab.read_traffic(), time.monotonic()
        before = {pid: cpu_seconds(pid) for pid in pids}
        await pool.quiet(lab.seconds, "idle")
        spent = [cpu_seconds(pid) - before[pid] for pid in pids]
        after, seconds = lab.read_traffic(), time.monotonic() - started
        held = [memory(pid) for pid in pids]
    samples: Samples = {
        "cpu": [60 * sum(spent) / len(pids) / seconds],
        "rss": [sum(m.rss for m in held) / len(held) / MIB],
        "pss": [sum(m.pss for m in held) / len(held) / MIB],
    }
    if traffic and after:
        window = after - traffic
        for key, count in (
            ("packets", window.udp_packets),
            ("bytes", window.udp_bytes),
            ("tcp", window.tcp_bytes),
        ):
            samples[key] = [count / len(pids) / seconds]
    return samples


FIGURE = Figure(
    "idle",
    "a joined pool in which nothing happens, per agent",
    (
        Quantity("cpu", "CPU", "s/min", Goal(0.5)),
        Quantity("packets", "UDP packets each way", "/s", Goal(1.0)),
        Quantity("bytes", "UDP bytes each way", "B/s", Goal(1.0)),
        Quantity("tcp", "TCP bytes (push/pull)", "B/s"),
        Quantity("rss", "resident memory", "MiB", Goal(0.8, against="consul")),
        Quantity("pss", "memory, shared pages divided", "MiB"),
    ),
    measure,
)
