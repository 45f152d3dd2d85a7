"""Runs tests in a network namespace whose NAT renumbers source ports: ``python -m tests.behind_nat FILE``.

The namespace is made for the process, which therefore is one of its own, and goes with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.bench.network import isolate
from simulations.local.nat import rewrite_source_ports

UNABLE = 77
"""Exit code when this system lets us have no such network."""


def run_behind_nat(cases: str, *, within: float) -> None:
    """Run the tests of a file there; skipped where that cannot be, which with INTEROP=required fails."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.behind_nat", cases]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=within, check=False
    )
    if done.returncode == UNABLE:
        if os.environ.get("INTEROP") == "required":
            pytest.fail(f"INTEROP=required, but {done.stderr}", pytrace=False)
        pytest.skip(done.stderr)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def main(cases: str) -> int:
    """Make the network and run the tests in it."""
    try:
        if not isolate():
            raise OSError("no network namespace can be made")
        for family in (socket.AF_INET, socket.AF_INET6):
            rewrite_source_ports(family)
    except OSError as error:
        sys.stderr.write(f"no network of our own: {error}\n")
        return UNABLE
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", cases]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
