"""What the agent runs on, in the words of Serf's and Consul's statistics."""

from __future__ import annotations

import os
import platform
from functools import cache

__all__ = ["runtime_stats"]

GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What Go calls a processor that the system calls otherwise."""


@cache  # none of it changes, and the system is slow to tell how many cores it has
def runtime_stats() -> dict[str, str]:
    """The section ``runtime``; every value is text, or Go clients cannot read it."""
    machine = platform.machine()
    return {
        "arch": GO_NAMES.get(machine, machine),
        "cpu_count": str(os.cpu_count() or 1),
        "os": platform.system().lower(),
        "version": f"python{platform.python_version()}",
    }
