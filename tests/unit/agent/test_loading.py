"""Loading leaves the garbage collector as it was and hides from it what stays anyway."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import gc, sys
from agent.loading import load
before = gc.get_freeze_count()
assert load("agent.durations") is sys.modules["agent.durations"]
assert gc.get_freeze_count() > before
try:
    load("agent.nothing")
except ModuleNotFoundError:
    print("collecting" if gc.isenabled() else "off")
"""


def test_garbage_is_collected_again_after_loading_also_when_it_fails() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    assert done.stdout == "collecting\n"
