"""``cluster`` and ``compare``: a plan on real processes, and beside the same plan in virtual time."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.cluster.compare import compare_with_virtual
from simulations.cluster.experiment import run_processes
from simulations.cluster.live import comparison_lines, live_table, record_lines
from simulations.cluster.report import comparison_document, record_document
from simulations.commands.terminal import (
    PLAN_FORMAT,
    Progress,
    add_command,
    json_option,
    positive,
    say,
    say_json,
    writable,
)
from simulations.plan import Plan, PlanError
from simulations.world import NotReachedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from simulations.commands.terminal import Subparsers
    from simulations.document import Document

__all__ = ["add_to", "guarded", "run_on_processes"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommands."""
    command = add_command(
        commands, "cluster", "a plan on real agents, as processes",
        "Run a plan on real agents, measured through their HTTP API, and end everything that was started.",
        f"""examples:
  python -m simulations cluster                              kill-and-pause on ten agents: a minute
  python -m simulations cluster --plan partition-and-heal    faults of the network: root or user namespaces
  python -m simulations cluster --plan faults.toml --nodes 20 --out reports/mine

{PLAN_FORMAT}
exit status: 1 when a view is wrong in the end, an event is missing or a step did not work.
""",
        parents=[json_option()],
    )  # fmt: skip
    command.add_argument(
        "--plan",
        default="kill-and-pause",
        help="a .toml or .json file, or one of simulations/plans by its name (kill-and-pause)",
    )
    _add_common(command, "reports/cluster")
    command.set_defaults(do=cluster)

    command = add_command(
        commands, "compare", "one plan on real agents and in virtual time",
        "Run a plan on real agents once and in virtual time many times, and put the figures side by side.",
        """examples:
  python -m simulations compare                              two minutes; root or user namespaces
  python -m simulations compare kill-and-pause --nodes 5     plans are as for cluster

exit status: 1 when medians are too far apart, or a step did not work.
""",
        parents=[json_option()],
    )  # fmt: skip
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
    return guarded(options, _cluster)


def compare(options: argparse.Namespace) -> int:
    """Run a plan both ways; status 0 when the medians are close."""
    return guarded(options, _compare)


def guarded(options: argparse.Namespace, run: Callable[[argparse.Namespace, Plan], int]) -> int:
    """Find the plan of a command and run it; what goes wrong becomes a line and a status.

    A report that could not be written is told before the work.
    """
    try:
        plan = Plan.find(options.plan)
        if options.nodes:
            plan = plan.with_nodes(options.nodes)
        return run(options, plan) if writable(options.out) else 2
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (OSError, RuntimeError, NotReachedError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; every process has ended and nothing is left.\n")
        return 130


def _cluster(options: argparse.Namespace, plan: Plan) -> int:
    good, document, lines = run_on_processes(options, plan)
    report = document.save(options.out)
    if options.json:
        say_json(document.data)
    else:
        for line in lines:
            say(line)
        say(f"Report: {report}")
    return 0 if good else 1


def run_on_processes(options: argparse.Namespace, plan: Plan) -> tuple[bool, Document, list[str]]:
    """Run a plan on processes, with a live table.

    Returns:
        Whether all views were right in the end and no event was missing, the report, and what it says in short.
    """
    record = run_processes(plan, live_table(plan, progress_of(options)))
    good = record.settled() and not record.undelivered() and not record.problems
    again = _again("cluster --plan", options.plan, plan)
    return good, record_document(plan, record, again), list(record_lines(record))


def _again(command: str, path: str, plan: Plan) -> str:
    return f"python -m simulations {command} {shlex.quote(path)} --nodes {plan.nodes}"


def _compare(options: argparse.Namespace, plan: Plan) -> int:
    say_row = progress_of(options)
    progress = Progress(options.seeds, "runs")

    def virtual_begins(line: str) -> None:
        say_row(line)
        progress.begin()

    comparison = compare_with_virtual(
        plan,
        options.seeds,
        live_table(plan, say_row),
        virtual_begins,
        lambda done: progress.advance(done, 0),
    )
    again = f"{_again('compare', options.plan, plan)} --seeds {options.seeds}"
    report = comparison_document(comparison, again).save(options.out)
    if options.json:
        say_json(comparison.to_dict())
    else:
        for line in comparison_lines(comparison):
            say(line)
        say(f"Report: {report}")
    return 1 if comparison.far() or comparison.problems else 0


def progress_of(options: argparse.Namespace) -> Callable[[str], None]:
    """Where the live table goes: scripts get only the result on standard output."""
    stream = sys.stderr if options.json else sys.stdout
    return lambda line: print(line, file=stream, flush=True)
