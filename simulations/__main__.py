"""``python -m simulations``: agents on this machine, and experiments in virtual time and on processes."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from simulations.commands import (
    agents,
    campaign,
    cluster,
    fuzz,
    model,
    planted,
    scale,
    scenario,
    simulate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (agents, simulate, campaign, planted, fuzz, scale, scenario, model, cluster)
"""Modules that add their subcommands, in the order of the help."""
EXAMPLES = """examples:
  python -m simulations agents -n 3                          agents to look at, until Ctrl-C
  python -m simulations simulate                             a large pool, slow members, real processes: one report
  python -m simulations campaign --seeds 60 --minutes 5      many pools under faults, on all cores
  python -m simulations campaign --replay 17 --minutes 5     one of them again, with the trace of what failed
  python -m simulations plan 17 --minutes 5                  the faults of that seed, as a file
  python -m simulations run faults.toml --seed 3             faults of your own
  python -m simulations planted                              do the checkers see what is wrong on purpose?
  python -m simulations fuzz --inputs 2000000                bytes that nobody should send, at every entry
  python -m simulations scale --nodes 1000                   speed and memory of a large pool
  python -m simulations scenario all --quick                 experiments beside theory, with a report
  python -m simulations scenario lifeguard --seed 7 --out reports/lifeguard
  python -m simulations model --members 1000000              what to expect of a million members
  python -m simulations cluster --plan partition-and-heal    a plan on real agents, as processes
  python -m simulations compare                              one plan on real agents and in virtual time

exit status: 0 when all went well, 1 when an invariant broke, a fault never happened or a goal was missed,
2 for bad usage, 130 when interrupted. COMMAND --help shows more of each.
"""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it."""


def command_line() -> argparse.ArgumentParser:
    """The parser of everything; what it gives has `do`, a function of itself that gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations", epilog=EXAMPLES,
        description="Agents on this machine, and experiments in virtual time and on processes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives the exit status, and exits with 2 when the command line is wrong."""
    options = command_line().parse_args(arguments)
    try:
        status: int = options.do(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; what is still in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
