"""What a scenario is, and how its cases are run on all cores.

    Scenario --its cases, once per seed--> Run, Run, ... --read--> Findings: plots, a table, goals

A scenario declares; a `Run` is what was measured in one case with one seed; `Findings` are what its
report shows. Everything measured is a number by name, so a report can be made again from its JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from simulations.workers import in_processes
from simulations.world import NotReachedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "Bars", "Case", "Curve", "Findings", "Goal", "Lines", "Measured", "Plan", "Run", "Scenario", "Size",
    "Table", "grid", "mean", "perform", "select",
]  # fmt: skip

Case: TypeAlias = "dict[str, Any]"
"""What is varied: JSON values by parameter."""
Measured: TypeAlias = "dict[str, float]"


class Size(Enum):
    """How much is run."""

    TINY = "tiny"
    """Seconds: shows that it works, and little else."""
    QUICK = "quick"
    """Minutes, for all scenarios together."""
    FULL = "full"
    """Hours: the sizes of the papers."""


@dataclass(frozen=True)
class Plan:
    """The cases of one size, each run with so many seeds."""

    cases: Sequence[Case]
    seeds: int = 1


@dataclass(frozen=True)
class Run:
    """What one case with one seed gave; `error` says why it gave nothing."""

    case: Case
    seed: int
    measured: Measured
    wall_seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Curve:
    """Points of one line; theory is drawn dashed and without marks, and so many points need none."""

    label: str
    points: Sequence[tuple[float, float]]
    theory: bool = False
    marks: bool = True


@dataclass(frozen=True)
class Lines:
    """A plot of curves. `name` becomes part of its file's name; axes carry their units."""

    name: str
    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Bars:
    """A plot of bars: for each group one bar per series, zeros shown as such on a logarithmic axis."""

    name: str
    title: str
    y: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float]]
    log_y: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under their headings, which carry the units."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass(frozen=True)
class Goal:
    """Something that has to come out, and what came out."""

    text: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Findings:
    """What a report shows of a scenario."""

    table: Table
    plots: Sequence[Lines | Bars]
    goals: Sequence[Goal]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """An experiment.

    Attributes:
        name: on the command line.
        title: of its part of the report.
        question: what it answers.
        setup: what is fixed, in a sentence or two.
        explanation: why measurement and theory differ where they do.
        sizes: what is run.
        run: one case with one seed, in a process of its own; so it has to be a module's function.
        read: makes findings of the runs that gave something.
    """

    name: str
    title: str
    question: str
    setup: str
    explanation: str
    sizes: Mapping[Size, Plan]
    run: Callable[[Case, int], Measured] = field(repr=False)
    read: Callable[[Sequence[Run]], Findings] = field(repr=False)


def grid(**values: Iterable[Any]) -> list[Case]:
    """Every combination of these parameters' values."""
    return [
        dict(zip(values, combination, strict=True)) for combination in product(*values.values())
    ]


def select(runs: Iterable[Run], **case: Any) -> list[Run]:
    """The runs whose cases have these values."""
    return [run for run in runs if all(run.case.get(key) == value for key, value in case.items())]


def mean(runs: Iterable[Run], name: str) -> float:
    """The mean of what was measured under a name, over the runs that have it; NaN for none."""
    found = [run.measured[name] for run in runs if name in run.measured]
    return fmean(found) if found else float("nan")


def perform(
    scenarios: Sequence[Scenario], size: Size, *, seed: int = 1, jobs: int = 1
) -> Iterator[tuple[Scenario, Run]]:
    """Run scenarios; gives each run as it ends, in any order.

    Args:
        scenarios: which ones.
        size: of all of them.
        seed: the first seed.
        jobs: processes; one runs everything here.
    """
    tasks = [
        (scenario, case, seed + number)
        for scenario in scenarios
        for case in scenario.sizes[size].cases
        for number in range(scenario.sizes[size].seeds)
    ]
    for (scenario, _, _), run in in_processes(attempt, tasks, jobs):
        yield scenario, run


def attempt(task: tuple[Scenario, Case, int]) -> Run:
    """One run; a condition that never came true is its result, not the end of everything."""
    scenario, case, seed = task
    started = perf_counter()
    try:
        measured, error = scenario.run(case, seed), ""
    except NotReachedError as failure:
        measured, error = {}, str(failure)
    return Run(case, seed, measured, perf_counter() - started, error)
