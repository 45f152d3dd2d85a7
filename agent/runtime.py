"""What the agent runs on, in the words of Serf's and Consul's statistics."""

from __future__ import annotations

import os
import platform
from functools import cache

__all__ = ["runtime_stats"]


@cache  # none of it changes, and the system is slow to tell how many cores it has
def runtime_stats() -> dict[str, str]:
    """The section ``runtime``; every value is text, or Go clients cannot read it."""
    return {
        "arch": platform.machine(),
        "cpu_count": str(os.cpu_count() or 1),
        "os": platform.system().lower(),
        "version": f"python{platform.python_version()}",
    }
