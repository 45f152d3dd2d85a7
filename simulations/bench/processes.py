"""CPU time and memory of another process, from Linux."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "cpu_seconds", "memory"]


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, of all its threads so far, to the nanosecond."""
    # The id of the kernel's CPU clock of a process, as clock_getcpuclockid(3) builds it; the sum in
    # /proc/PID/stat is the same in steps of 10 ms, which is a third of what an idle agent uses.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes: resident, and resident with shared pages divided among their users."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """What a process holds now."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return Memory(fields["Rss"], fields["Pss"])
