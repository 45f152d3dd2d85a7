"""``campaign``, ``run`` and ``plan``: pools under faults, drawn from a seed or written in a file."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections import Counter
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from simulations.calm import PROMISES
from simulations.campaign import Result, plan_of, run_plan, run_seed, uncovered
from simulations.commands.terminal import (
    PLAN_FORMAT,
    Progress,
    Steps,
    add_command,
    between,
    jobs_option,
    json_option,
    positive,
    say,
    say_json,
)
from simulations.plan import Plan, PlanError
from simulations.workers import in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the three subcommands."""
    minutes = argparse.ArgumentParser(add_help=False)
    minutes.add_argument(
        "--minutes",
        type=between(0.2, 24 * 60),
        default=5.0,
        help="virtual minutes of chaos per seed (5)",
    )

    command = add_command(
        commands, "campaign", "many pools under faults",
        "Run many pools, each under faults drawn from its seed, while every invariant is checked.",
        """examples:
  python -m simulations campaign                             60 seeds of five virtual minutes, on all cores
  python -m simulations campaign --seeds 2000 --minutes 15   for a night
  python -m simulations campaign --replay 17 --minutes 5     a seed again, with the trace of what failed

exit status: 1 when an invariant broke, or some kind of fault never happened.
""",
        parents=[json_option(), jobs_option(), minutes],
    )  # fmt: skip
    command.add_argument("--seeds", type=positive, default=60, help="how many (60)")
    command.add_argument("--first", type=int, default=0, help="the first seed (0)")
    command.add_argument("--replay", type=int, metavar="SEED", help="run this seed only")
    command.set_defaults(do=campaign)

    command = add_command(
        commands, "run", "a plan from a file, in virtual time",
        "Run a plan in virtual time while every invariant is checked, then let the pool calm down.",
        f"""examples:
  python -m simulations run partition-and-heal               one of simulations/plans
  python -m simulations run faults.toml --seeds 20           of your own, with other dice each time

{PLAN_FORMAT}
exit status: 1 when an invariant broke.
""",
        parents=[json_option(), jobs_option()],
    )  # fmt: skip
    command.add_argument(
        "plan", help="a .toml or .json file, or one of simulations/plans by its name"
    )
    command.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    command.add_argument("--seeds", type=positive, default=1, help="how many (1)")
    command.set_defaults(do=run)

    command = add_command(
        commands, "plan", "the plan of a seed, as JSON",
        "Print the faults that a campaign draws from a seed, as a plan to be changed and run.",
        """examples:
  python -m simulations plan 17 --minutes 5 > faults.json
  python -m simulations run faults.json --seed 17            the same as campaign --replay 17 --minutes 5
""",
        parents=[minutes],
    )  # fmt: skip
    command.add_argument("seed", type=int, metavar="SEED", help="of a campaign")
    command.set_defaults(do=show_plan)


def on_all_cores(
    work: Callable[[int], Result], seeds: Sequence[int], jobs: int | None
) -> list[Result]:
    """The results of all seeds, in their order; what fails is told as soon as it does."""
    jobs = jobs or os.cpu_count() or 1
    progress = Progress(len(seeds), "seeds")
    results: dict[int, Result] = {}
    failed = 0
    for seed, result in in_processes(work, seeds, min(jobs, len(seeds))):
        results[seed] = result
        if result.violations:
            failed += 1
            first = result.violations[0].splitlines()[0]
            sys.stderr.write(f"\nseed {seed} fails: {first}; {result.replay}\n")
        progress.advance(len(results), failed)
    return [results[seed] for seed in seeds]


def table(results: Sequence[Result]) -> Iterable[str]:
    """What a campaign did, by kind of trouble, and how long the promises took."""
    yield f"{'trouble':10} {'seeds':>6} {'failed':>6} {'node hours':>11} {'transitions':>12} {'packets':>11}"
    kinds = sorted({result.profile for result in results})
    for kind in [*kinds, "all"]:
        some = [r for r in results if kind in {r.profile, "all"}]
        yield (
            f"{kind:10} {len(some):6} {sum(bool(r.violations) for r in some):6} "
            f"{sum(r.node_seconds for r in some) / 3600:11.1f} "
            f"{sum(r.transitions for r in some):12,} {sum(r.packets for r in some):11,}"
        )
    if kept := sorted({name for result in results for name in result.times}):
        yield ""
        yield f"{'promise':46} {'runs':>6} {'median s':>9} {'max s':>9}"
    for name in kept:
        times = [result.times[name] for result in results if name in result.times]
        what = f"{name} {PROMISES[name]}"
        yield f"{what:46} {len(times):6} {median(times):9.1f} {max(times):9.1f}"


def say_failure(result: Result) -> None:
    """What went wrong in one run, and how to see it again."""
    say(f"seed {result.seed}, {result.profile}, {result.nodes} nodes: {result.violations[0]}")
    for violation in result.violations[1:4]:
        say(f"  also {violation.splitlines()[0]}")
    for line in result.trace:
        say(f"  {line}")
    say(f"  replay: {result.replay}")
    say()


def campaign(options: argparse.Namespace) -> int:
    """Run many seeds, or replay one."""
    if options.replay is not None:
        result = run_seed(options.replay, options.minutes, tell=Steps().tell)
        return finish([result], options, missing=[])
    seeds = range(options.first, options.first + options.seeds)
    work = partial(run_seed, minutes=options.minutes)
    results = on_all_cores(work, seeds, options.jobs)
    return finish(results, options, missing=uncovered(results))


def finish(results: Sequence[Result], options: argparse.Namespace, *, missing: list[str]) -> int:
    """Report results; gives the exit status."""
    failed = [result for result in results if result.violations]
    if options.json:
        covered: Counter[str] = Counter()
        for result in results:
            covered.update(result.covered)
        say_json(
            {
                "failed": [r.to_dict() for r in failed],
                "results": [r.to_dict() for r in results],
                "covered": covered,
                "missing": missing,
            }
        )
    else:
        for result in failed:
            say_failure(result)
        for line in table(results):
            say(line)
        if len(results) == 1:
            say(f"trace {results[0].digest}")
        if missing:
            say(f"never happened: {', '.join(missing)}")
    return 1 if failed or missing else 0


def run(options: argparse.Namespace) -> int:
    """Run a plan from a file."""
    try:
        plan = Plan.find(options.plan)
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    seeds = range(options.seed, options.seed + options.seeds)
    work = partial(_run_file, options.plan, plan)
    if len(seeds) == 1:
        results = [work(seeds[0], tell=Steps().tell)]
    else:
        results = on_all_cores(work, seeds, options.jobs)
    return finish(results, options, missing=[])


def _run_file(
    path: str, plan: Plan, seed: int, tell: Callable[[str], None] = lambda _step: None
) -> Result:
    again = f"python -m simulations run {shlex.quote(path)} --seed {seed}"
    return run_plan(plan, seed, replay=again, tell=tell)


def show_plan(options: argparse.Namespace) -> int:
    """Write the plan of a seed."""
    sys.stdout.write(plan_of(options.seed, options.minutes)[0].to_json())
    return 0
