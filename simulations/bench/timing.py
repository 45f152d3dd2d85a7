"""Measures how long small operations take, for all benchmarks alike."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Case", "Result", "main", "measure", "run"]


@dataclass(frozen=True)
class Case:
    """One operation to measure; `size` in bytes lets throughput be told, 0 leaves it out."""

    name: str
    operation: Callable[[], object]
    size: int = 0


@dataclass(frozen=True)
class Result:
    """What one operation took: the best round in ns, and megabytes per second if it has a size."""

    name: str
    ns: float
    size: int
    mb_per_second: float | None


def measure(operation: Callable[[], object], *, seconds: float = 0.2, rounds: int = 20) -> float:
    """Time an operation and give ns per call: the best of some rounds, the least disturbed one.

    Args:
        operation: what to call, without arguments.
        seconds: about how long all rounds take together.
        rounds: into how many the time is divided.
    """
    budget = seconds * 1e9 / rounds
    count, elapsed = 1, _time(operation, 1)
    while elapsed < budget / 10:
        count *= 4
        elapsed = _time(operation, count)
    count = max(1, int(count * budget / max(elapsed, 1)))
    return min(_time(operation, count) for _ in range(rounds)) / count


def _time(operation: Callable[[], object], count: int) -> int:
    repeat = range(count)
    start = perf_counter_ns()
    for _ in repeat:
        operation()
    return perf_counter_ns() - start


def run(cases: Iterable[Case], *, seconds: float = 0.2) -> list[Result]:
    """Measure the cases one after another; the cost of calling nothing is taken off."""
    empty = measure(lambda: None, seconds=seconds)
    results = []
    for case in cases:
        ns = max(0.0, measure(case.operation, seconds=seconds) - empty)
        speed = case.size * 1e3 / ns if case.size and ns else None
        results.append(Result(case.name, ns, case.size, speed))
    return results


def render(results: Sequence[Result]) -> str:
    """Lay results out as a table."""
    width = max((len(result.name) for result in results), default=0)
    lines = [f"{'operation':{width}}  {'ns':>12}  {'bytes':>9}  {'MB/s':>8}"]
    for result in results:
        size = f"{result.size:,}" if result.size else ""
        speed = f"{result.mb_per_second:,.1f}" if result.mb_per_second else ""
        lines.append(f"{result.name:{width}}  {result.ns:>12,.0f}  {size:>9}  {speed:>8}")
    return "\n".join(lines)


def main(
    description: str, make_cases: Callable[[], Iterable[Case]], argv: Sequence[str] | None = None
) -> int:
    """Be the command line of a benchmark: options, measuring, output; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "-format", "--format", choices=("table", "json"), default="table", help="output format"
    )
    parser.add_argument(
        "-seconds", "--seconds", type=float, default=0.2, help="time spent on each operation"
    )
    parser.add_argument(
        "-filter", "--filter", default="", help="only operations whose name contains this"
    )
    options = parser.parse_args(argv)
    chosen = [case for case in make_cases() if options.filter in case.name]
    results = run(chosen, seconds=options.seconds)
    if options.format == "json":
        report = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "results": [asdict(result) for result in results],
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(render(results) + "\n")
    return 0
