"""``scenario`` and ``scenarios``: experiments with a report, and the list of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.commands.terminal import (
    Progress,
    add_command,
    jobs_option,
    json_option,
    positive,
    say,
    say_json,
    writable,
)
from simulations.report import Part, document
from simulations.scenario import Run, Size, perform
from simulations.scenarios import SCENARIOS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to", "goal_lines", "run_scenarios"]

FOLDER = Path("reports/scenarios")


def add_to(commands: Subparsers) -> None:
    """Add both subcommands."""
    command = add_command(
        commands, "scenario", "experiments: measured curves beside theory, with a report",
        "Run experiments in virtual time, and write what was measured beside what theory says.",
        """examples:
  python -m simulations scenario spread --tiny               seconds
  python -m simulations scenario all                         every experiment: minutes
  python -m simulations scenario lifeguard --seed 7 --out reports/lifeguard

exit status: 1 when a goal was missed.
""",
        parents=[json_option(), jobs_option()],
    )  # fmt: skip
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

    command = add_command(
        commands, "scenarios", "list the experiments", "List the experiments and their questions.",
        """examples:
  python -m simulations scenarios
  python -m simulations scenarios --json                     with the number of runs of each size
""",
        parents=[json_option()],
    )  # fmt: skip
    command.set_defaults(do=scenarios)


def scenario(options: argparse.Namespace) -> int:
    """Run scenarios and write their report."""
    chosen = list(SCENARIOS) if "all" in options.names else list(dict.fromkeys(options.names))
    if not writable(options.out):
        return 2
    parts = run_scenarios(chosen, options.size, options.seed, options.jobs)
    whole = document(parts, options.size, options.seed)
    path = whole.save(options.out)
    if options.json:
        say_json(whole.data)
    else:
        for line in goal_lines(parts):
            say(line)
        say(f"Report: {path}")
    return 0 if all(part.met for part in parts) else 1


def run_scenarios(names: Sequence[str], size: Size, seed: int, jobs: int | None) -> list[Part]:
    """Run scenarios, on all cores unless `jobs` says on how many, and show how far they are."""
    chosen = [SCENARIOS[name] for name in names]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    total = sum(len(plan.cases) * plan.seeds for plan in (s.sizes[size] for s in chosen))
    jobs = min(jobs or os.cpu_count() or 1, total)
    sys.stderr.write(f"... {total} runs, {jobs} at a time\n")
    progress = Progress(total, "runs")
    done = failed = 0
    for which, run in perform(chosen, size, seed=seed, jobs=jobs):
        runs[which.name].append(run)
        done, failed = done + 1, failed + bool(run.error)
        progress.advance(done, failed)
    return [Part.of(SCENARIOS[name], runs[name]) for name in names]


def goal_lines(parts: Sequence[Part]) -> Iterator[str]:
    """What came of the goals, for people."""
    for part in parts:
        yield part.scenario.title
        for goal in part.goals:
            yield f"  {'met   ' if goal.met else 'MISSED'}  {goal.text}: {goal.measured}"


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
