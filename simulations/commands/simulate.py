"""``simulate``: the experiments that show most, in virtual time and on processes, in one report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.commands.cluster import guarded, run_on_processes
from simulations.commands.scenario import goal_lines, run_scenarios
from simulations.commands.terminal import (
    add_command,
    jobs_option,
    json_option,
    positive,
    say,
    say_json,
)
from simulations.document import join
from simulations.report import document
from simulations.scenario import Size

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers
    from simulations.plan import Plan

__all__ = ["add_to"]

SCENARIOS = ("spread", "lifeguard")
FOLDER = Path("reports/simulate")
OPENING = (
    "What a pool does: first in virtual time, where pools are large and chance is repeatable, then on "
    "agents as processes, with real sockets and real signals."
)


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "simulate", f"{', '.join(SCENARIOS)} and a plan on processes, in one report",
        f"Run {' and '.join(SCENARIOS)} in virtual time and a plan on real agents; one report shows them all.",
        """examples:
  python -m simulations simulate                             about six minutes
  python -m simulations simulate --tiny --nodes 5            about one, most of it on processes
  python -m simulations simulate --plan partition-and-heal --nodes 30

exit status: 1 when a goal was missed, or processes did not agree in the end.
""",
        parents=[json_option(), jobs_option()],
    )  # fmt: skip
    command.add_argument("--nodes", type=positive, default=20, help="agents as processes (20)")
    command.add_argument("--plan", default="kill-and-pause", help="as for cluster (kill-and-pause)")
    command.add_argument("--seed", type=positive, default=1, help="the first seed (1)")
    command.add_argument(
        "--tiny", dest="size", action="store_const", const=Size.TINY, help="seconds: to try it out"
    )
    command.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"the report's folder ({FOLDER})"
    )
    command.set_defaults(do=simulate, size=Size.QUICK)


def simulate(options: argparse.Namespace) -> int:
    """Run them all; status 0 when all goals are met and the processes agreed in the end."""
    return guarded(options, _simulate)


def _simulate(options: argparse.Namespace, plan: Plan) -> int:
    # Processes first: what cannot be done here is refused at once and not after minutes.
    sys.stderr.write(f"Processes: {plan.name}, {plan.nodes} agents\n")
    good, processes, lines = run_on_processes(options, plan)
    sys.stderr.write(f"Virtual time: {', '.join(SCENARIOS)}\n")
    parts = run_scenarios(SCENARIOS, options.size, options.seed, options.jobs)
    whole = join(
        "What a pool does",
        OPENING,
        {"virtual": document(parts, options.size, options.seed), "processes": processes},
    )
    path = whole.save(options.out)
    if options.json:
        say_json(whole.data)
    else:
        for line in (*goal_lines(parts), *lines):
            say(line)
        say(f"Report: {path}")
    return 0 if good and all(part.met for part in parts) else 1
