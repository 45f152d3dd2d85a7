"""``python -m simulations.restarts [-cycles N] [-seed N]``: kill and restart a node many times.

Exit status 1 when something happened that must not: an event delivered again whose time was written,
a Lamport time used twice, a broken file, or no way back into the pool within 35 s.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from simulations.restarts.cycles import run_cycles


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="simulations.restarts", description=__doc__)
    parser.add_argument("-cycles", type=int, default=100, metavar="N", help="kills (default 100)")
    parser.add_argument("-seed", type=int, metavar="N", help="seed of the instants")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the pool has much to say about a member that is killed
    with tempfile.TemporaryDirectory(prefix="gossip-restarts-") as folder:
        report = asyncio.run(run_cycles(options.cycles, Path(folder), seed=options.seed))
    print(f"cycles                     {report.cycles}")
    print(f"events delivered           {report.events}")
    print(f"of them again, unwritten   {report.again}")
    print(f"slowest way back           {report.worst_rejoin:.2f} s")
    for line in report.wrong:
        print(f"WRONG  {line}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
