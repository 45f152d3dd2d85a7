"""What happened in an experiment, the same for processes and for virtual time, and the figures made of it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from simulations.cluster.agent import ALIVE, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Deed", "Fired", "Record", "figures"]

_NEVER = float("inf")
_STARTS = frozenset({"restart", "join"})
_CUTS = frozenset({"partition", "cut"})
_STEP = 1.0
"""Seconds within which a step has ended or started the processes it is about."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A step of the plan that was carried out."""

    at: float
    """Seconds since the start."""
    until: float
    """When the fault ended; `at` for those that do not last."""
    what: str
    """The action."""
    whom: tuple[str, ...]
    """The nodes that were chosen."""


@dataclass(slots=True)
class Fired:
    """A user event."""

    at: float
    name: str
    by: str
    arrived: dict[str, float] = field(default_factory=dict)
    """When it was at each node, seconds since the start of the experiment."""


@dataclass(slots=True)
class _Life:
    began: float
    ended: float | None = None
    how: str = ""


class Record:
    """The history of one experiment; all times are seconds since its start, when all nodes were joined.

    Args:
        origin: ``processes`` or ``simulator``.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.length = 0.0
        """Seconds until the end, the time it took to settle included."""
        self.deeds: list[Deed] = []
        self.events: dict[str, Fired] = {}
        self.changes: list[tuple[float, str, str, int]] = []
        """When, who, about whom, and the status it then showed; 0 for a member that it forgot."""
        self.lives: dict[str, list[_Life]] = {}
        self.pauses: list[tuple[float, float, str]] = []
        self.facts: dict[str, Any] = {}
        """What else the one who ran it has to say, such as CPU time."""
        self.problems: list[str] = []
        """Steps that did not work, and why."""

    # Written while it happens

    def begin(self, nodes: Iterable[str]) -> None:
        """These nodes run, and each sees all of them alive."""
        self.lives = {name: [_Life(0.0)] for name in nodes}

    def did(self, at: float, until: float, what: str, whom: Iterable[str]) -> None:
        """A step was carried out."""
        self.deeds.append(Deed(at, until, what, tuple(whom)))

    def began(self, name: str, at: float) -> None:
        """A process was started after the beginning; it knows nobody."""
        self.lives.setdefault(name, []).append(_Life(at))

    def ended(self, name: str, at: float, how: str) -> None:
        """A process ended by ``kill`` or ``leave``."""
        life = self.lives[name][-1]
        life.ended, life.how = at, how

    def paused(self, name: str, at: float, until: float) -> None:
        """A process did not run for a while."""
        self.pauses.append((at, until, name))

    def fired(self, key: str, name: str, by: str, at: float) -> None:
        """A user event was fired; `key` tells it from all others."""
        known = self.events.get(key)
        self.events[key] = Fired(at, name, by, known.arrived if known else {})

    def arrived(self, key: str, at_node: str, at: float) -> None:
        """A user event was seen at a node; only the first time counts, and it may come before `fired`."""
        event = self.events.setdefault(key, Fired(at, "", ""))
        event.arrived.setdefault(at_node, at)

    def saw(self, by: str, about: str, status: int, at: float) -> None:
        """A node shows a new status of a member."""
        self.changes.append((at, by, about, status))

    # Figures

    def running(self, name: str, at: float) -> bool:
        """Whether a process of that name ran then."""
        return any(
            life.began <= at and (life.ended is None or at < life.ended)
            for life in self.lives.get(name, ())
        )

    def _ran_on(self, name: str, since: float) -> bool:
        """Whether the process that ran then was not ended any more."""
        return (
            self.running(name, since)
            and self.lives[name][-1].began <= since
            and self.lives[name][-1].ended is None
        )

    def spreads(self) -> dict[str, list[float]]:
        """For each event, after how many seconds each other node that ran from then on showed it."""
        return {
            key: sorted(
                at - event.at
                for name, at in event.arrived.items()
                if name != event.by and self._ran_on(name, event.at)
            )
            for key, event in self.events.items()
            if event.by
        }

    def overhead(self) -> float:
        """How long the HTTP API takes: median time until the node that fired an event shows it itself."""
        return (
            _median([e.arrived[e.by] - e.at for e in self.events.values() if e.by in e.arrived])
            or 0.0
        )

    def undelivered(self) -> int:
        """How many deliveries are missing: per event, nodes that ran from then on without getting it.

        Nothing is missing of an event that ended with the node that fired it.
        """
        return sum(
            name not in event.arrived
            for event in self.events.values()
            if event.by and (self._ran_on(event.by, event.at) or event.arrived.keys() - {event.by})
            for name in self.lives
            if self._ran_on(name, event.at)
        )

    def detections(self) -> dict[str, list[float]]:
        """For each kill, after how many seconds each node that ran on said failed, in order.

        Nodes that ran into a pause meanwhile count; a kill whose node was started again before is left
        out where nobody noticed it.
        """
        found: dict[str, list[float]] = {}
        for name, lives in self.lives.items():
            for number, life in enumerate(lives):
                if life.how != "kill" or life.ended is None:
                    continue
                after = lives[number + 1].began if number + 1 < len(lives) else _NEVER
                first: dict[str, float] = {}
                for at, by, about, status in self.changes:
                    if about == name and status == FAILED and life.ended <= at < after:
                        first.setdefault(by, at - life.ended)
                delays = sorted(
                    delay for by, delay in first.items() if self._ran_on(by, life.ended)
                )
                if delays:
                    found[f"{name} at {life.ended:.1f} s"] = delays
        return found

    def false_alarms(self) -> int:
        """How often somebody said failed about a member whose process ran and was not paused."""
        return sum(
            status == FAILED
            and self.running(about, at)
            and not any(
                name == about and start <= at <= until for start, until, name in self.pauses
            )
            for at, _, about, status in self.changes
        )

    def recoveries(self) -> list[tuple[Deed, float | None]]:
        """For each deed, how many seconds after its end every view was right; None if not before the next.

        Right is a view of a running node that shows exactly the running nodes alive.
        """
        right = self._right_spans()
        ends = [end for _, end in right]
        found: list[tuple[Deed, float | None]] = []
        deeds = sorted(self.deeds, key=lambda deed: deed.at)
        for deed in deeds:
            since = self._done_at(deed)
            limit = min((other.at for other in deeds if other.at > since), default=_NEVER)
            at = bisect_right(ends, since)
            took = max(0.0, right[at][0] - since) if at < len(right) else _NEVER
            found.append((deed, took if since + took < limit or not took else None))
        return found

    def _done_at(self, deed: Deed) -> float:
        """When a deed was over: processes end and start a little after their step began."""
        turns = [
            turn
            for name in deed.whom
            for life in self.lives.get(name, ())
            for turn in (life.began, life.ended)
            if turn is not None and deed.at <= turn <= deed.at + _STEP
        ]
        return max([deed.until, *turns])

    def settled(self) -> bool:
        """Whether every view was right in the end."""
        spans = self._right_spans()
        return bool(spans) and spans[-1][1] == _NEVER

    def _right_spans(self) -> list[tuple[float, float]]:
        """From when to when all views were right."""
        spans: list[tuple[float, float]] = []
        right_since: float | None = None
        for at, wrong in self.wrong_entries():
            if wrong and right_since is not None:
                spans.append((right_since, at))
                right_since = None
            elif not wrong and right_since is None:
                right_since = at
        return spans if right_since is None else [*spans, (right_since, _NEVER)]

    def wrong_entries(self) -> Iterator[tuple[float, int]]:
        """How many entries are wrong in all views together, from when on."""
        running = {name for name, lives in self.lives.items() if not lives[0].began}
        views = {name: set(running) for name in running}
        wrong = 0
        yield 0.0, wrong
        for at, name, about, status in self._history():
            if about is None:
                if status == ALIVE:
                    running.add(name)
                    views[name] = set()
                else:
                    running.discard(name)
                wrong = sum(len(views[node] ^ running) for node in running)
            elif name in running:
                view = views[name]
                wrong -= (about in view) != (about in running)
                (view.add if status == ALIVE else view.discard)(about)
                wrong += (about in view) != (about in running)
            yield at, wrong

    def _history(self) -> list[tuple[float, str, str | None, int]]:
        """What was seen, and (about nobody) whose process began or ended, in the order of time."""
        turns: list[tuple[float, str, str | None, int]] = []
        for name, lives in self.lives.items():
            for life in lives:
                if life.began:
                    turns.append((life.began, name, None, ALIVE))
                if life.ended is not None:
                    turns.append((life.ended, name, None, 0))
        return sorted([*turns, *self.changes], key=lambda item: item[0])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "origin": self.origin,
            "figures": figures([self]),
            "settled": self.settled(),
            "deeds": [
                {
                    "at": deed.at,
                    "until": deed.until,
                    "what": deed.what,
                    "whom": list(deed.whom),
                    "right_after": seconds,
                }
                for deed, seconds in self.recoveries()
            ],
            "events": [
                {
                    "at": self.events[key].at,
                    "name": self.events[key].name,
                    "by": self.events[key].by,
                    "seconds": times,
                }
                for key, times in self.spreads().items()
            ],
            "detections": self.detections(),
            "facts": self.facts,
            "problems": self.problems,
        }


def figures(records: Sequence[Record]) -> dict[str, float | None]:
    """What one or more runs of a plan showed, in numbers; None where there is nothing to count."""
    spreads = [times for record in records for times in record.spreads().values() if times]
    detections = [times for record in records for times in record.detections().values()]
    recoveries = [found for record in records for found in record.recoveries()]
    runs = len(records)
    return {
        "events": sum(len(record.spreads()) for record in records) / runs,
        "deliveries missing": sum(record.undelivered() for record in records) / runs,
        "event at a node, s": _median([t for times in spreads for t in times]),
        "event at all, s": _median([times[-1] for times in spreads]),
        "event at all, worst s": max((times[-1] for times in spreads), default=None),
        "kills noticed": len(detections) / runs,
        "kill noticed first, s": _median([times[0] for times in detections]),
        "kill noticed by a node, s": _median([t for times in detections for t in times]),
        "kill noticed by all, s": _median([times[-1] for times in detections]),
        "running members said failed": sum(record.false_alarms() for record in records) / runs,
        "views right after a start, s": _after(_STARTS, recoveries),
        "views right after a cut, s": _after(_CUTS, recoveries),
    }


def _after(kinds: frozenset[str], recoveries: Iterable[tuple[Deed, float | None]]) -> float | None:
    return _median([took for deed, took in recoveries if took is not None and deed.what in kinds])


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
