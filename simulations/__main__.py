"""``python -m simulations``: campaigns, plans, planted bugs and scale, in virtual time."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from simulations import entries
from simulations.campaign import Result, plan_of, run_plan, run_seed, uncovered
from simulations.fuzz import Report, fuzz
from simulations.plan import Plan, PlanError
from simulations.planted import MAX_SEEDS, PLANTED, hunt
from simulations.scale import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

EXAMPLES = """examples:
  python -m simulations campaign --seeds 60 --minutes 5      many pools under faults, on all cores
  python -m simulations campaign --replay 17 --minutes 5     one of them again, with the trace of what failed
  python -m simulations plan 17 --minutes 5                  the faults of that seed, as a file
  python -m simulations run faults.toml --seed 3             faults of your own
  python -m simulations planted                              do the checkers see what is wrong on purpose?
  python -m simulations fuzz --inputs 2000000                bytes that nobody should send, at every entry
  python -m simulations scale --nodes 1000                   speed and memory of a large pool

exit status: 0 when all went well, 1 when an invariant broke or a fault never happened, 2 for bad usage.
"""


class Progress:
    """A line on standard error that says how far a long run is; nothing for what is over quickly."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def advance(self, done: int, failed: int) -> None:
        """So many are done."""
        now = time.monotonic()
        last = done == self._total
        if now - self._started < 2 or (
            now - self._shown < (0.5 if self._live else 10) and not last
        ):
            return
        self._shown = now
        took = now - self._started
        left = took / done * (self._total - done)
        bar = "#" * (30 * done // self._total)
        text = f"[{bar:30}] {done}/{self._total} {self._what}, {failed} failed, {left:.0f} s left"
        end = "\n" if last or not self._live else ""
        sys.stderr.write(("\r" if self._live else "") + text + end)
        sys.stderr.flush()


def on_all_cores(work: Callable[[int], Result], seeds: Sequence[int], jobs: int) -> list[Result]:
    """The results of all seeds, in their order."""
    progress = Progress(len(seeds), "seeds")
    results: dict[int, Result] = {}
    if jobs == 1:
        done: Iterable[Result] = map(work, seeds)
        for result in done:
            results[result.seed] = result
            progress.advance(len(results), sum(bool(r.violations) for r in results.values()))
    else:
        with ProcessPoolExecutor(jobs) as executor:
            for future in as_completed([executor.submit(work, seed) for seed in seeds]):
                result = future.result()
                results[result.seed] = result
                progress.advance(len(results), sum(bool(r.violations) for r in results.values()))
    return [results[seed] for seed in seeds]


def say(text: str = "") -> None:
    """One line for people."""
    sys.stdout.write(text + "\n")


def say_json(value: object) -> None:
    """One document for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


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
    yield ""
    yield f"{'promise':10} {'runs':>6} {'median s':>9} {'max s':>9}"
    for name in sorted({name for result in results for name in result.times}):
        times = [result.times[name] for result in results if name in result.times]
        yield f"{name:10} {len(times):6} {median(times):9.1f} {max(times):9.1f}"


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
        return finish([run_seed(options.replay, options.minutes)], options, missing=[])
    seeds = range(options.first, options.first + options.seeds)
    work = partial(run_seed, minutes=options.minutes)
    results = on_all_cores(work, seeds, options.jobs or os.cpu_count() or 1)
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
    plan = Plan.load(options.plan)
    seeds = range(options.seed, options.seed + options.seeds)
    results = on_all_cores(partial(run_plan, plan), seeds, options.jobs or 1)
    return finish(results, options, missing=[])


def show_plan(options: argparse.Namespace) -> int:
    """Write the plan of a seed."""
    sys.stdout.write(plan_of(options.seed, options.minutes)[0].to_json())
    return 0


def planted(options: argparse.Namespace) -> int:
    """Look for every planted bug."""
    missed = []
    found = []
    progress = Progress(len(PLANTED), "bugs")
    for bug in PLANTED:
        seeds, violation = hunt(bug, seeds=options.seeds)
        found.append({"bug": bug.name, "seeds": seeds, "violation": violation.splitlines()[:1]})
        if not seeds:
            missed.append(bug.name)
        progress.advance(len(found), len(missed))
        if not options.json:
            what = (
                f"after {seeds} seeds  {violation.splitlines()[0][:80]}" if seeds else "OVERLOOKED"
            )
            say(f"{bug.name:48} {what}")
    if options.json:
        say_json({"planted": found, "overlooked": missed})
    return 1 if missed else 0


def fuzz_entry(name: str, inputs: int, seed: int) -> Report:
    """Fuzz one entry, in whatever process."""
    (target,) = (target for target in entries.targets() if target.name == name)
    return fuzz(target, inputs, seed)


def fuzz_entries(options: argparse.Namespace) -> int:
    """Fuzz every entry, or one."""
    names = [target.name for target in entries.targets()]
    chosen = [name for name in names if options.entry in {name, None}]
    if not chosen:
        raise PlanError(f"--entry {options.entry} is none of {', '.join(names)}")
    work = partial(fuzz_entry, inputs=options.inputs, seed=options.seed)
    with ProcessPoolExecutor(options.jobs or os.cpu_count()) as executor:
        reports = list(executor.map(work, chosen))
    if options.json:
        say_json([report.to_dict() for report in reports])
        return 1 if any(report.findings for report in reports) else 0
    say(
        f"{'entry':10} {'inputs':>11} {'refused':>11} {'slowest ms':>11} {'grew by MiB':>12} findings"
    )
    for report in reports:
        say(
            f"{report.target:10} {report.inputs:11,} {report.refused:11,} "
            f"{report.slowest * 1000:11.1f} {report.growth / 2**20:12.1f} {len(report.findings):8}"
        )
        for finding in report.findings:
            say(f"  {finding}")
    return 1 if any(report.findings for report in reports) else 0


def scale(options: argparse.Namespace) -> int:
    """Measure a large pool."""

    def tell(step: str) -> None:
        sys.stderr.write(f"... {step}\n")

    figures = measure(options.nodes, seconds=options.seconds, idle_only=options.idle, tell=tell)
    if options.json:
        say_json(figures)
    else:
        for name, value in figures.items():
            say(
                f"{name:44} {value:>14,.2f}"
                if isinstance(value, float)
                else f"{name:44} {value:>14,}"
            )
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document")
    jobs = argparse.ArgumentParser(add_help=False)
    jobs.add_argument("--jobs", type=_positive, help="processes; the number of cores by default")
    minutes = argparse.ArgumentParser(add_help=False)
    minutes.add_argument(
        "--minutes", type=_minutes, default=5.0, help="virtual minutes of chaos per seed (5)"
    )

    command = commands.add_parser(
        "campaign", parents=[common, jobs, minutes], help="many pools under faults"
    )
    command.add_argument("--seeds", type=_positive, default=60, help="how many (60)")
    command.add_argument("--first", type=int, default=0, help="the first seed (0)")
    command.add_argument("--replay", type=int, metavar="SEED", help="run this seed only")
    command.set_defaults(do=campaign)

    command = commands.add_parser("run", parents=[common, jobs], help="a plan from a file")
    command.add_argument("plan", type=Path, help="a .toml or .json file")
    command.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    command.add_argument("--seeds", type=_positive, default=1, help="how many (1)")
    command.set_defaults(do=run)

    command = commands.add_parser("plan", parents=[minutes], help="the plan of a seed, as JSON")
    command.add_argument("seed", type=int)
    command.set_defaults(do=show_plan)

    command = commands.add_parser("planted", parents=[common], help="find bugs made on purpose")
    command.add_argument("--seeds", type=_positive, default=MAX_SEEDS, help="tried per bug (200)")
    command.set_defaults(do=planted)

    command = commands.add_parser(
        "fuzz", parents=[common, jobs], help="damaged bytes at every entry"
    )
    command.add_argument("--inputs", type=_positive, default=50_000, help="per entry (50000)")
    command.add_argument("--entry", help="only this one")
    command.add_argument("--seed", type=int, default=1, help="all inputs follow from it (1)")
    command.set_defaults(do=fuzz_entries)

    command = commands.add_parser("scale", parents=[common], help="speed and memory")
    command.add_argument("--nodes", type=_positive, default=1000, help="how many (1000)")
    command.add_argument("--seconds", type=float, default=10.0, help="idle virtual seconds (10)")
    command.add_argument("--idle", action="store_true", help="leave out event, kill and leave")
    command.set_defaults(do=scale)
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _minutes(text: str) -> float:
    value = float(text)
    if not 0.2 <= value <= 24 * 60:
        raise argparse.ArgumentTypeError(f"{value:g} is not between 0.2 and 1440")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives the exit status."""
    options = parse(arguments)
    try:
        status: int = options.do(options)
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
