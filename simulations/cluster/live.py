"""The live table of an experiment and what is printed at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.cluster.compare import WITHIN
from simulations.cluster.record import figures
from simulations.cluster.screen import table
from simulations.report import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulations.cluster.compare import Comparison
    from simulations.cluster.experiment import Row
    from simulations.cluster.record import Record
    from simulations.plan import Plan

__all__ = ["comparison_lines", "live_table", "record_lines"]


def live_table(plan: Plan, say: Callable[[str], None]) -> Callable[[Row], None]:
    """Starts a table about a plan; what is returned adds a row to it."""
    say(
        f"{plan.name}: starting {plan.nodes} agents, then {len(plan.steps)} steps in {plan.seconds:g} s"
    )
    head = f"{'second':>7} {'running':>8} {'paused':>7} {'views right':>12} {'events':>7} {'seen':>6}  step"
    shown = False

    def tell(row: Row) -> None:
        nonlocal shown
        if not shown:
            say(head)
            shown = True
        right = f"{row.right_views}/{row.running}"
        say(
            f"{row.at:7.1f} {row.running:8} {row.paused:7} {right:>12} {row.fired:7} {row.arrived:6}"
            f"  {row.what}".rstrip()
        )

    return tell


def record_lines(record: Record) -> Iterator[str]:
    """What came of a run of processes, for people."""
    yield ""
    rows = [
        (f"{deed.at:.1f}", deed.what, _names(deed.whom), "-" if took is None else f"{took:.2f}")
        for deed, took in record.recoveries()
    ]
    yield table(("second", "step", "nodes", "views right after, s"), rows)
    yield ""
    yield table(
        ("figure", "value"),
        [(name, number(value)) for name, value in figures([record]).items() if value is not None],
    )
    yield ""
    for fact, value in record.facts.items():
        yield f"{fact}: {number(value)}"
    for problem in record.problems:
        yield f"PROBLEM: {problem}"
    yield (
        "Every view was right in the end."
        if record.settled()
        else "Some view was WRONG in the end."
    )


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """How close the simulator is, for people."""
    yield ""
    rows = [
        (
            name,
            number(real),
            number(virtual),
            "" if difference is None else f"{100 * difference:+.0f} %",
        )
        for name, real, virtual, difference in comparison.rows()
    ]
    yield table(("figure", "processes", "simulator", "difference"), rows)
    yield ""
    far = comparison.far()
    yield (
        f"Further apart than {WITHIN}, or on one side only: {', '.join(far)}."
        if far
        else f"All that is compared is within {WITHIN}."
    )
    for problem in comparison.problems:
        yield f"PROBLEM: {problem}"
    yield "What is in the real figures and not in the simulator's:"
    for reason in comparison.reasons():
        yield f"* {reason}"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} nodes"
