"""Reports of experiments on processes, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulations import plots
from simulations.cluster.compare import WITHIN
from simulations.cluster.experiment import ONE_WAY
from simulations.cluster.record import figures
from simulations.document import Document
from simulations.report import number
from simulations.scenario import Curve, Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from simulations.cluster.compare import Comparison
    from simulations.cluster.record import Record
    from simulations.plan import Plan

__all__ = ["comparison_document", "record_document"]

MEANINGS: Final = {
    "events": "user events that were fired",
    "deliveries missing": "nodes that ran from an event on and never showed it, summed over all events",
    "event at a node, s": "from the request that fired an event until another node showed it: median",
    "event at all, s": "... until all of them did: median",
    "event at all, worst s": "... of the slowest event",
    "kills noticed": "processes killed and said failed by somebody before they were started again",
    "kill noticed first, s": "from a kill until the first node said failed: median",
    "kill noticed by a node, s": "... until a node did: median of all nodes",
    "kill noticed by all, s": "... until the last node did: median",
    "running members said failed": "how often a node said failed of one that ran and was not paused; in a "
    "partition it has to, as it cannot know better",
    "views right after a start, s": "from the start of a process until all views were right: median",
    "views right after a cut, s": "from the end of a cut or partition until all views were right: median",
    "seconds to start and join": "from the first process until all views were right for the first time",
    "CPU of an agent, %": "of one core, mean of those that ran all the time",
    "CPU of observing, %": "of one core, by what measured all this",
    ONE_WAY: "by probes of an idle pool",
}
"""What the figures are, in the words of a report."""
BY_THE_RELAY: Final = "by the relay, until the weather last changed"
POINTS = 40
"""Of a curve of how times are distributed."""


def record_document(plan: Plan, record: Record, again: str) -> Document:
    """What came of one run, and the command that does it again."""
    return _document(
        {"plan": plan.to_dict(), **record.to_dict()},
        [*_spread_plots({"processes": [record]}), _views_plot(record)],
        _record_lines(plan, record, again),
    )


def comparison_document(comparison: Comparison, again: str) -> Document:
    """How close the simulator is, and the command that finds it out again."""
    both = {"processes": [comparison.real], "simulator": comparison.virtual}
    return _document(
        comparison.to_dict(), _spread_plots(both), _comparison_lines(comparison, again)
    )


def _document(data: dict[str, Any], lines: Sequence[Lines], text: Iterable[str]) -> Document:
    found = list(text)
    files = [(f"{plot.name}.png", plot) for plot in lines]
    if plots.available():
        for file, plot in files:
            found += ["", f"![{plot.title}]({file})"]
    return Document(found, files, data)


def _record_lines(plan: Plan, record: Record, again: str) -> Iterator[str]:
    yield f"# {plan.name}: {plan.nodes} agents as processes"
    yield ""
    yield (
        "Agents as processes did what a plan says; all was measured through their HTTP API, with blocking "
        "queries. Times are seconds since all were joined. Each node has a view: how it shows every member. "
        "A view is right when it shows exactly the running nodes alive; whom else it shows alive, or does "
        "not, is a wrong entry."
    )
    yield ""
    yield f"Again: `{again}`"
    yield ""
    yield (
        "**Every view was right in the end.**"
        if record.settled()
        else "**Some view was wrong in the end.**"
    )
    yield ""
    yield from _table(
        ("second", "step", "nodes", "all views right after, s"),
        [
            (
                f"{deed.at:.1f}" + (f" to {deed.until:.1f}" if deed.until > deed.at else ""),
                deed.what,
                ", ".join(deed.whom),
                "-" if took is None else f"{took:.2f}",
            )
            for deed, took in record.recoveries()
        ],
    )
    yield ""
    yield "Seconds are counted from the end of a step; a dash says that the next one came before."
    for head, values in (("figure", figures([record])), ("cost", record.facts)):
        yield ""
        yield from _table(
            (head, "value", "what it is"),
            [
                (k, number(v), MEANINGS.get(k, BY_THE_RELAY))
                for k, v in values.items()
                if v is not None
            ],
        )
    yield ""
    for problem in record.problems:
        yield f"* did not work: {problem}"


def _comparison_lines(comparison: Comparison, again: str) -> Iterator[str]:
    yield f"# {comparison.plan.name}: {comparison.plan.nodes} agents, and {comparison.plan.nodes} simulated nodes"
    yield ""
    yield (
        f"One plan, run once on processes and {len(comparison.virtual)} times in virtual time; medians, "
        f"seconds. What is compared has to be within {WITHIN} of the processes."
    )
    yield ""
    yield f"Again: `{again}`"
    yield ""
    yield from _table(
        ("figure", "processes", "simulator", "difference", "what it is"),
        [
            (
                name,
                number(real),
                number(virtual),
                "" if apart is None else f"{100 * apart:+.0f} %",
                MEANINGS[name],
            )
            for name, real, virtual, apart in comparison.rows()
        ],
    )
    yield ""
    if far := comparison.far():
        yield f"**Further apart, or on one side only: {', '.join(far)}.**"
        yield ""
    for problem in comparison.problems:
        yield f"* did not work: {problem}"
    if comparison.problems:
        yield ""
    yield "What is in the real figures and not in the simulator's:"
    yield ""
    for reason in comparison.reasons():
        yield f"* {reason}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _spread_plots(runs: dict[str, Sequence[Record]]) -> list[Lines]:
    """How the times of events and of detections are distributed, a curve for each kind of run."""
    spreads = {
        kind: [1000 * t for record in records for times in record.spreads().values() for t in times]
        for kind, records in runs.items()
    }
    detections = {
        kind: [t for record in records for times in record.detections().values() for t in times]
        for kind, records in runs.items()
    }
    found = []
    for name, title, x, values in (
        ("events", "Events at the other nodes", "milliseconds since the event was fired", spreads),
        ("detection", "Killed nodes said failed", "seconds since the kill", detections),
    ):
        curves = [Curve(kind, _distribution(times)) for kind, times in values.items() if times]
        if curves:
            found.append(Lines(name, title, x, "share of nodes that know, %", curves))
    return found


def _views_plot(record: Record) -> Lines:
    """How wrong the views were, over time; each step is drawn as one."""
    points: list[tuple[float, float]] = []
    for at, wrong in record.wrong_entries():
        if points:
            points.append((at, points[-1][1]))
        points.append((at, float(wrong)))
    points.append((record.length, points[-1][1]))
    curve = Curve("wrong entries", points, marks=False)
    return Lines(
        "views",
        "How far the views were from the truth",
        "seconds since the start",
        "wrong entries in all views",
        [curve],
    )


def _distribution(times: list[float]) -> list[tuple[float, float]]:
    """Points of the distribution: the time, and by then what part, in percent."""
    ordered = sorted(times)
    last = len(ordered) - 1
    picks = sorted({round(number * last / POINTS) for number in range(POINTS + 1)})
    return [(ordered[pick], 100 * (pick + 1) / len(ordered)) for pick in picks]
