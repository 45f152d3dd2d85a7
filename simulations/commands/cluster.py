"""``cluster`` and ``compare``: a plan on real processes, and beside the same plan in virtual time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.cluster.compare import compare_with_virtual
from simulations.cluster.experiment import run_processes
from simulations.cluster.live import comparison_lines, live_table, record_lines
from simulations.cluster.report import write_comparison, write_record
from simulations.commands.terminal import json_option, positive, say, say_json
from simulations.plan import Plan, PlanError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommands."""
    command = commands.add_parser(
        "cluster", parents=[json_option()], help="a plan on real agents, as processes"
    )
    command.add_argument(
        "--plan",
        default="kill-and-pause",
        help="a .toml or .json file, or one of simulations/plans by its name (kill-and-pause)",
    )
    _add_common(command, "reports/cluster")
    command.set_defaults(do=cluster)

    command = commands.add_parser(
        "compare", parents=[json_option()], help="one plan on real agents and in virtual time"
    )
    command.add_argument(
        "plan", nargs="?", default="events-and-kills", help="as for cluster (events-and-kills)"
    )
    command.add_argument("--seeds", type=positive, default=20, help="runs in virtual time (20)")
    _add_common(command, "reports/compare")
    command.set_defaults(do=compare)


def _add_common(command: argparse.ArgumentParser, folder: str) -> None:
    command.add_argument("--nodes", type=positive, help="how many, in place of what the plan says")
    command.add_argument(
        "--out",
        type=Path,
        default=Path(folder),
        metavar="DIR",
        help=f"the report's folder ({folder})",
    )


def cluster(options: argparse.Namespace) -> int:
    """Run a plan on processes; status 0 when all views were right in the end and no event is missing."""
    return _guarded(options, _cluster)


def compare(options: argparse.Namespace) -> int:
    """Run a plan both ways; status 0 when the medians are close."""
    return _guarded(options, _compare)


def _guarded(options: argparse.Namespace, run: Callable[[argparse.Namespace, Plan], int]) -> int:
    try:
        plan = Plan.find(options.plan)
        if options.nodes:
            plan = plan.with_nodes(options.nodes)
        return run(options, plan)
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; every process has ended and nothing is left.\n")
        return 130


def _cluster(options: argparse.Namespace, plan: Plan) -> int:
    record = run_processes(plan, live_table(plan, _progress(options)))
    report = write_record(plan, record, options.out)
    if options.json:
        say_json({"plan": plan.to_dict(), **record.to_dict()})
    else:
        for line in record_lines(record):
            say(line)
        say(f"Report: {report}")
    good = record.settled() and not record.undelivered() and not record.problems
    return 0 if good else 1


def _compare(options: argparse.Namespace, plan: Plan) -> int:
    say_row = _progress(options)
    comparison = compare_with_virtual(plan, options.seeds, live_table(plan, say_row), say_row)
    report = write_comparison(comparison, options.out)
    if options.json:
        say_json(comparison.to_dict())
    else:
        for line in comparison_lines(comparison):
            say(line)
        say(f"Report: {report}")
    return 1 if comparison.far() or comparison.real.problems else 0


def _progress(options: argparse.Namespace) -> Callable[[str], None]:
    """Where the live table goes: scripts get only the result on standard output."""
    stream = sys.stderr if options.json else sys.stdout
    return lambda line: print(line, file=stream, flush=True)
