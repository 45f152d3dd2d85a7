"""The driver's bench: a real node takes every packet on each event loop."""

from __future__ import annotations

import json
import subprocess
import sys


def test_each_loop_answers_every_ping_and_takes_every_event() -> None:
    command = [
        sys.executable,
        "-m",
        "simulations.bench.driver",
        "-packets",
        "56",
        "-format",
        "json",
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    loops = json.loads(run.stdout)["loops"]
    assert "asyncio" in loops
    for rows in loops.values():
        assert set(rows) == {
            "ping and ack, 1 in flight",
            "ping and ack, 32 in flight",
            "user event, new",
            "user event, known",
            "memory",
        }
        assert all(value > 0 for row in rows.values() for value in row.values())
