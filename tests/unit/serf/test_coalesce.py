"""Coalescing: bursts are merged before the application sees them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gossip.events import (
    Event,
    MemberEvent,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    UserEvent,
)
from gossip.serf.coalesce import MAX_USER_EVENTS, Coalescer
from gossip.serf.members import describe_member
from gossip.swim.timers import Timers
from tests.rigs import info_of

ANN = describe_member(info_of("ann"), MemberStatus.ALIVE)
BOB = replace(ANN, name="bob")


class Rig:
    """A coalescer of 3 s and 1 s of quiet, and what it delivered when."""

    def __init__(self, period: float = 3.0, quiescent: float = 1.0) -> None:
        self.timers = Timers()
        self.now = 0.0
        self.delivered: list[tuple[float, Event]] = []
        self._coalescer = Coalescer(
            period, quiescent, self.timers, lambda event: self.delivered.append((self.now, event))
        )

    def offer(self, *events: Event) -> None:
        for event in events:
            self._coalescer.offer(event, self.now)

    def run(self, until: float) -> None:
        while (due := self.timers.next_at()) is not None and due <= until:
            self.now = due
            self.timers.run_due(due)
        self.now = until

    def events(self) -> list[Event]:
        events = [event for _, event in self.delivered]
        self.delivered.clear()
        return events


def user(ltime: int, payload: bytes = b"", *, name: str = "deploy", cc: bool = True) -> UserEvent:
    return UserEvent(ltime, name, payload, cc)


# When


def test_events_are_delivered_when_it_has_been_quiet() -> None:
    rig = Rig()
    rig.offer(MemberJoined(ANN))
    rig.run(0.9)
    rig.offer(MemberJoined(BOB))

    rig.run(10.0)

    assert rig.delivered == [(1.9, MemberJoined(ANN)), (1.9, MemberJoined(BOB))]


def test_and_at_the_latest_at_the_end_of_the_period() -> None:
    rig = Rig()
    for step in range(10):
        rig.run(step * 0.5)
        rig.offer(user(step))

    rig.run(10.0)

    assert [at for at, _ in rig.delivered] == [3.0, 5.5]


def test_each_burst_has_a_period_of_its_own() -> None:
    rig = Rig()
    rig.offer(user(1))
    rig.run(10.0)
    rig.offer(user(2))
    rig.run(20.0)

    assert [at for at, _ in rig.delivered] == [1.0, 11.0]


def test_no_timer_is_left_afterwards() -> None:
    rig = Rig()
    rig.offer(user(1), MemberJoined(ANN))

    rig.run(10.0)

    assert rig.timers.next_at() is None


# Members


def test_only_the_last_change_of_a_member_is_told() -> None:
    rig = Rig()

    rig.offer(MemberJoined(ANN), MemberFailed(ANN), MemberJoined(BOB), MemberLeft(ANN))
    rig.run(10.0)

    assert rig.events() == [MemberLeft(ANN), MemberJoined(BOB)]


@pytest.mark.parametrize("kind", [MemberJoined, MemberLeft, MemberFailed])
def test_what_was_told_last_is_not_told_again(kind: type[MemberEvent]) -> None:
    rig = Rig()
    rig.offer(kind(ANN))
    rig.run(10.0)
    rig.events()

    rig.offer(MemberUpdated(ANN), kind(ANN))
    rig.run(20.0)

    assert rig.events() == []


def test_updates_are_always_told() -> None:
    rig = Rig()
    for turn in range(1, 3):
        rig.offer(MemberUpdated(ANN))
        rig.run(turn * 10.0)

    assert rig.events() == [MemberUpdated(ANN)] * 2


def test_somebody_reaped_is_forgotten_here_too_and_its_return_told() -> None:
    rig = Rig()
    changes: list[Event] = [MemberJoined(ANN), MemberReaped(ANN), MemberJoined(ANN)]
    for change in changes:
        rig.offer(change)
        rig.run(rig.now + 10.0)

    assert rig.events() == changes


# User events


def test_same_named_events_keep_those_of_the_highest_time() -> None:
    rig = Rig()

    rig.offer(user(1, b"a"), user(3, b"b"), user(2, b"c"), user(3, b"d"), user(1, name="restart"))
    rig.run(10.0)

    assert rig.events() == [user(3, b"b"), user(3, b"d"), user(1, name="restart")]


def test_events_that_may_not_be_merged_pass_at_once() -> None:
    rig = Rig()
    rig.run(0.5)

    rig.offer(user(1, cc=False), user(2, cc=False))

    assert rig.delivered == [(0.5, user(1, cc=False)), (0.5, user(2, cc=False))]
    assert rig.timers.next_at() is None


def test_a_later_burst_may_hold_an_earlier_time() -> None:
    rig = Rig()
    rig.offer(user(5))
    rig.run(10.0)
    rig.events()

    rig.offer(user(3))
    rig.run(20.0)

    assert rig.events() == [user(3)]


def test_without_a_quiet_time_everything_is_delivered_at_the_next_wake_up() -> None:
    rig = Rig(quiescent=0.0)

    rig.offer(user(1), user(2))
    rig.run(0.0)

    assert rig.events() == [user(2)]


def test_too_many_user_events_are_delivered_at_once() -> None:
    rig = Rig()
    rig.offer(*(user(number, name=str(number)) for number in range(MAX_USER_EVENTS - 1)))
    held = rig.events()
    rig.offer(user(9999, name="last"), user(9999, b"2", name="last"))

    assert held == []
    assert len(rig.events()) == MAX_USER_EVENTS
    rig.run(10.0)
    assert rig.events() == [user(9999, b"2", name="last")]


def test_replaced_user_events_do_not_count() -> None:
    rig = Rig()
    rig.offer(*(user(number) for number in range(3 * MAX_USER_EVENTS)))

    assert rig.events() == []
    rig.run(10.0)
    assert rig.events() == [user(3 * MAX_USER_EVENTS - 1)]
