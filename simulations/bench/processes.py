"""CPU time and memory of another process, from Linux; and what the processes we start find prepared."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Memory", "cpu_seconds", "memory", "python_compiled"]


_BYTECODE = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")


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


@contextlib.contextmanager
def python_compiled() -> Iterator[None]:
    """Let the Python processes started meanwhile keep what they compile, as an installed package has it.

    Where PYTHONDONTWRITEBYTECODE is set, or the sources cannot be written beside, every process would
    compile all of its modules again, and that would be measured.
    """
    before = {name: os.environ.get(name) for name in _BYTECODE}
    with tempfile.TemporaryDirectory(prefix="gossip-bytecode-") as folder:
        os.environ.update(dict(zip(_BYTECODE, (folder, ""), strict=True)))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
