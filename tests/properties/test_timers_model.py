"""The timers compared with a list that is sorted anew each time."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.swim.timers import Timer, Timers
from tests.effort import MACHINES


@dataclass
class Entry:
    """What the model knows about one timer, and what its call will do."""

    at: float
    order: int
    timer: Timer
    cancels: int | None
    follows: float | None


class TimersMachine(RuleBasedStateMachine):
    """Every call notes itself; some cancel another one or ask for one more."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.now = 0.0
        self.pending: list[Entry] = []
        self.every: list[Entry] = []
        self.called: list[int] = []

    def _ask(self, at: float, cancels: int | None, follows: float | None) -> None:
        order = len(self.every)
        timer = self.timers.call_at(at, lambda now: self._call(order, now))
        entry = Entry(at, order, timer, cancels, follows)
        self.every.append(entry)
        self.pending.append(entry)

    def _call(self, order: int, now: float) -> None:
        entry = self.every[order]
        assert now >= entry.at
        due = min(self.pending, key=lambda e: (e.at, e.order))
        assert entry is due, "the earliest comes first, and of two the one asked for first"
        self.pending.remove(entry)
        self.called.append(order)
        if entry.cancels is not None:
            self._cancel(entry.cancels)
        if entry.follows is not None:
            self._ask(now + entry.follows, None, None)

    def _cancel(self, which: int) -> None:
        entry = self.every[which % len(self.every)]
        self.timers.cancel(entry.timer)
        if entry in self.pending:
            self.pending.remove(entry)

    @rule(
        delay=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0]),
        cancels=st.none() | st.integers(0, 50),
        follows=st.none() | st.sampled_from([0.0, 1.0]),
    )
    def ask(self, delay: float, cancels: int | None, follows: float | None) -> None:
        self._ask(self.now + delay, cancels, follows)

    @rule(count=st.integers(60, 100))
    def ask_for_many_and_cancel_them(self, count: int) -> None:
        """Cancelled entries do not pile up."""
        for _ in range(count):
            self._ask(self.now + 9, None, None)
            self._cancel(len(self.every) - 1)

    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        if self.every:
            self._cancel(which)

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 5.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.timers.run_due(self.now)
        assert all(entry.at > self.now for entry in self.pending)

    @invariant()
    def the_next_one_is_known(self) -> None:
        assert self.timers.next_at() == min((e.at for e in self.pending), default=None)
        assert len(self.timers) == len(self.pending)
        assert [e.order for e in self.every if e.timer.pending] == [e.order for e in self.pending]
        assert len(self.timers._heap) <= 2 * len(self.pending) + 66


TestTimers = TimersMachine.TestCase
TestTimers.settings = MACHINES
