"""Reports of scenarios, for people and for scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from simulations import plots
from simulations.document import Document
from simulations.scenario import Findings, Goal, Lines, Run, Scenario, Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from simulations.scenario import Bars

__all__ = ["Part", "as_json", "as_markdown", "document"]


@dataclass(frozen=True)
class Part:
    """What came of one scenario."""

    scenario: Scenario
    runs: Sequence[Run]
    findings: Findings | None
    """None when no run gave anything."""

    @classmethod
    def of(cls, scenario: Scenario, runs: Iterable[Run]) -> Part:
        """Read the runs that gave something."""
        order = sorted(runs, key=lambda run: (json.dumps(run.case, sort_keys=True), run.seed))
        good = [run for run in order if not run.error]
        return cls(scenario, order, scenario.read(good) if good else None)

    @property
    def goals(self) -> list[Goal]:
        """The scenario's, and that every run came to its end."""
        ended = sum(not run.error for run in self.runs)
        every = Goal(
            "every run comes to its end", f"{ended} of {len(self.runs)}", ended == len(self.runs)
        )
        return [*(self.findings.goals if self.findings else ()), every]

    @property
    def met(self) -> bool:
        """Whether all goals are."""
        return all(goal.met for goal in self.goals)

    def files(self) -> list[tuple[str, Lines | Bars]]:
        """The plots with their files' names."""
        found = self.findings.plots if self.findings else ()
        return [(f"{self.scenario.name}-{plot.name}.png", plot) for plot in found]


def number(value: str | float | None) -> str:
    """A value for people: three digits that count, thousands apart; a dash where there is none."""
    if isinstance(value, str):
        return value
    if value is None or isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _row(cells: Iterable[str | float]) -> str:
    return f"| {' | '.join(number(cell).replace('|', '/') for cell in cells)} |"


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "**missed**"


def as_markdown(parts: Sequence[Part], size: Size, seed: int, *, with_plots: bool) -> str:
    """The report for people."""
    return "\n".join(_lines_of(parts, size, seed, with_plots=with_plots)) + "\n"


def _lines_of(parts: Sequence[Part], size: Size, seed: int, *, with_plots: bool) -> Iterator[str]:
    names = " ".join(part.scenario.name for part in parts)
    yield "# Simulated experiments"
    yield ""
    yield (
        "Nodes are the production core; clock, network and faults are simulated, so a seed gives the same "
        "numbers on every machine. Dashed lines are theory, all others were measured."
    )
    yield ""
    yield f"Again: `python -m simulations scenario {names} --{size.value} --seed {seed}`"
    yield ""
    yield "| experiment | goal | measured | |"
    yield "| --- | --- | --- | --- |"
    for part in parts:
        for goal in part.goals:
            yield _row((part.scenario.title, goal.text, goal.measured, _verdict(goal)))
    for part in parts:
        yield from _section(part, with_plots=with_plots)


def _section(part: Part, *, with_plots: bool) -> Iterator[str]:
    scenario = part.scenario
    yield ""
    yield f"## {scenario.title}"
    yield ""
    yield f"**{scenario.question}**"
    yield ""
    yield scenario.setup
    yield "One run." if len(part.runs) == 1 else f"{len(part.runs)} runs."
    yield ""
    if with_plots:
        for file, plot in part.files():
            yield f"![{plot.title}]({file})"
            yield ""
    if part.findings is not None:
        yield _row(part.findings.table.head)
        yield _row("---" for _ in part.findings.table.head)
        for row in part.findings.table.rows:
            yield _row(row)
        yield ""
    for goal in part.goals:
        yield f"* {goal.text}: {goal.measured}, {_verdict(goal)}"
    for run in part.runs:
        if run.error:
            yield f"* did not end: {run.case}, seed {run.seed}: {run.error}"
    yield ""
    yield f"**Measured and expected.** {scenario.explanation}"


def as_json(parts: Sequence[Part], size: Size, seed: int) -> dict[str, Any]:
    """The report for scripts, as a `Document` has it."""
    return {
        "size": size.value,
        "seed": seed,
        "met": all(part.met for part in parts),
        "scenarios": [
            {
                "name": part.scenario.name,
                "title": part.scenario.title,
                "question": part.scenario.question,
                "goals": [vars(goal) for goal in part.goals],
                "table": None if part.findings is None else vars(part.findings.table),
                "plots": [_plot(file, plot) for file, plot in part.files()],
                "runs": [vars(run) for run in part.runs],
            }
            for part in parts
        ],
    }


def _plot(file: str, plot: Lines | Bars) -> dict[str, Any]:
    data = dict(vars(plot))
    if isinstance(plot, Lines):
        data["curves"] = [vars(curve) for curve in plot.curves]
    return {"file": file, **data}


def document(parts: Sequence[Part], size: Size, seed: int) -> Document:
    """The report of some scenarios."""
    return Document(
        list(_lines_of(parts, size, seed, with_plots=plots.available())),
        [file for part in parts for file in part.files()],
        as_json(parts, size, seed),
    )
