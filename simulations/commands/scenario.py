"""``scenario`` and ``scenarios``: experiments with a report, and the list of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulations import plots
from simulations.commands.terminal import (
    Progress,
    jobs_option,
    json_option,
    positive,
    say,
    say_json,
)
from simulations.report import Part, as_json, write
from simulations.scenario import Run, Size, perform
from simulations.scenarios import SCENARIOS

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]

FOLDER = Path("reports/scenarios")


def add_to(commands: Subparsers) -> None:
    """Add both subcommands."""
    command = commands.add_parser(
        "scenario",
        parents=[json_option(), jobs_option()],
        help="experiments: measured curves beside theory, with a report",
    )
    command.add_argument(
        "names", nargs="+", metavar="NAME", choices=[*SCENARIOS, "all"],
        help=f"{', '.join(SCENARIOS)}, or all",
    )  # fmt: skip
    size = command.add_mutually_exclusive_group()
    for choice, text in (
        (Size.TINY, "seconds: to try it out"),
        (Size.QUICK, "minutes for all of them (the default)"),
        (Size.FULL, "hours: the sizes of the papers (all: about five hours on two cores)"),
    ):
        size.add_argument(
            f"--{choice.value}", dest="size", action="store_const", const=choice, help=text
        )
    command.add_argument("--seed", type=positive, default=1, help="the first seed (1)")
    command.add_argument(
        "--out", type=Path, default=FOLDER, metavar="DIR", help=f"the report's folder ({FOLDER})"
    )
    command.set_defaults(do=scenario, size=Size.QUICK)

    command = commands.add_parser("scenarios", parents=[json_option()], help="list the experiments")
    command.set_defaults(do=scenarios)


def scenario(options: argparse.Namespace) -> int:
    """Run scenarios and write their report."""
    chosen = list(SCENARIOS) if "all" in options.names else list(dict.fromkeys(options.names))
    size: Size = options.size
    try:  # before hours of work, not after
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.stderr.write(f"no report can be written to {options.out}: {error.strerror}\n")
        return 2
    if not plots.available():
        sys.stderr.write("matplotlib is not installed (the extra sim), so there will be no plots\n")
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    plans = [SCENARIOS[name].sizes[size] for name in chosen]
    total = sum(len(plan.cases) * plan.seeds for plan in plans)
    jobs = min(options.jobs or os.cpu_count() or 1, total)
    sys.stderr.write(f"... {total} runs, {jobs} at a time\n")
    progress = Progress(total, "runs")
    done = failed = 0
    for which, run in perform(
        [SCENARIOS[name] for name in chosen], size, seed=options.seed, jobs=jobs
    ):
        runs[which.name].append(run)
        done, failed = done + 1, failed + bool(run.error)
        progress.advance(done, failed)
    parts = [Part.of(SCENARIOS[name], runs[name]) for name in chosen]
    path = write(parts, size, options.seed, options.out)
    if options.json:
        say_json(as_json(parts, size, options.seed))
    else:
        for part in parts:
            say(part.scenario.title)
            for goal in part.goals:
                say(f"  {'met   ' if goal.met else 'MISSED'}  {goal.text}: {goal.measured}")
        say(f"report: {path}")
    return 0 if all(part.met for part in parts) else 1


def scenarios(options: argparse.Namespace) -> int:
    """List the scenarios."""
    if options.json:
        say_json(
            [
                {
                    "name": s.name,
                    "title": s.title,
                    "question": s.question,
                    "runs": {size.value: len(p.cases) * p.seeds for size, p in s.sizes.items()},
                }
                for s in SCENARIOS.values()
            ]
        )
        return 0
    for s in SCENARIOS.values():
        say(f"{s.name:10} {s.title}")
        say(f"{'':10} {s.question}")
    return 0
