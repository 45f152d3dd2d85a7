"""``python -m simulations.bench.peers``: our agents beside genuine Serf and Consul, in one run.

Every figure is measured on each system in turn, alternating which goes first, on fresh pools in a
network of their own. What counts is the ratio; absolute values belong to the machine. Progress goes
to standard error, the table or JSON to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import time
from typing import TYPE_CHECKING

from simulations.bench.figures import FIGURES
from simulations.bench.lab import Lab, to_stderr
from simulations.bench.network import isolate
from simulations.bench.options import chosen
from simulations.bench.participant import SYSTEMS
from simulations.bench.processes import python_compiled
from simulations.bench.report import Report
from simulations.bench.traffic import TrafficCounter
from simulations.peers import PeerMissingError, find_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python -m simulations.bench.peers -n 10                            everything, against Serf
  python -m simulations.bench.peers -n 30 -figures event,burst       two figures
  python -m simulations.bench.peers -figures start,idle -systems serf,consul,agent
  python -m simulations.bench.peers -n 10 -format json > result.json

The binaries are found through SERF_BIN and CONSUL_BIN or the search path. Above about 60 agents on
two cores the machine is measured, not the protocol.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.bench.peers",
        description="Measure our agents beside genuine peers and print values and ratios.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-n", type=int, default=10, metavar="N", help="agents per pool (default 10)"
    )
    parser.add_argument(
        "-figures",
        "--figures",
        default=",".join(FIGURES),
        metavar="A,B",
        help=f"which, of {', '.join(FIGURES)} (default all)",
    )
    parser.add_argument(
        "-systems",
        "--systems",
        default="serf,node",
        metavar="A,B",
        help=f"which, of {', '.join(SYSTEMS)} (default serf,node); node is our library alone",
    )
    parser.add_argument(
        "-seconds", "--seconds", type=float, default=30.0, metavar="S", help="window (default 30)"
    )
    parser.add_argument(
        "-trials", "--trials", type=int, default=3, help="repetitions within a figure (default 3)"
    )
    parser.add_argument(
        "-rounds", "--rounds", type=int, default=1, help="of everything (default 1)"
    )
    parser.add_argument("-format", "--format", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    options.figures = chosen(parser, "figures", options.figures, FIGURES)
    options.systems = chosen(parser, "systems", options.systems, SYSTEMS)
    if options.n < 3:
        parser.error(f"-n {options.n} is below 3, where nothing spreads")
    if min(options.seconds, options.trials, options.rounds) <= 0:
        parser.error("-seconds, -trials and -rounds are above 0")
    return options


async def compare(options: argparse.Namespace, *, isolated: bool) -> Report:
    """Measure everything that was asked for."""
    report = Report(
        options.systems,
        {
            "agents": options.n,
            "seconds": options.seconds,
            "trials": options.trials,
            "rounds": options.rounds,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "own_network": isolated,
        },
    )
    counter = TrafficCounter() if isolated else contextlib.nullcontext()
    with counter as traffic:
        lab = Lab(options.n, options.seconds, options.trials, to_stderr, traffic)
        turn = 0
        for number in range(1, options.rounds + 1):
            for name in options.figures:
                order = options.systems if turn % 2 == 0 else options.systems[::-1]
                turn += 1
                for system in order:
                    to_stderr(f"round {number} of {options.rounds}: {name}: {system}")
                    report.add(name, system, await FIGURES[name].measure(lab, system))
        if traffic is not None and (lost := traffic.read().lost):
            to_stderr(
                f"the packet counter missed {lost} packets: packet figures are lower bounds\n"
            )
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    try:
        for system in options.systems:
            if system in {"serf", "consul"}:
                find_peer(system)
        isolated = isolate()
        if not isolated:
            to_stderr("no network of our own here: packets are not counted\n")
        started = time.monotonic()
        with python_compiled():
            report = asyncio.run(compare(options, isolated=isolated))
    except KeyboardInterrupt:
        print("\ninterrupted; all agents ended", file=sys.stderr)
        return 130
    except (OSError, RuntimeError, PeerMissingError) as error:
        print(f"\nerror: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    to_stderr(f"measured in {time.monotonic() - started:.0f} s")
    print(file=sys.stderr)
    if options.format == "json":
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(report.as_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
