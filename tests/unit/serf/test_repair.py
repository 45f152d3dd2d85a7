"""Repair: a hole in the event times is asked for, a few times, and then believed."""

from __future__ import annotations

import pytest

from gossip.serf.lamport import LamportClock
from gossip.serf.repair import (
    MAX_REQUESTS,
    PATIENCE,
    PATIENCE_TICKS,
    REQUESTS_PER_MINUTE,
    EventRepair,
    MemberRepair,
    Requests,
)
from gossip.serf.ring import EventRing, Verdict
from gossip.serf.tags import encode_own_tags
from gossip.swim.timers import Timers
from gossip.wire.serf import UserEvent, encode_tags
from tests.rigs import NodeRig


class Rig:
    """A repair over a ring; `asked` holds when somebody was asked for what is missing."""

    def __init__(self, size: int = 16) -> None:
        self.clock = LamportClock(2**32)
        self.timers = Timers()
        self.ring = EventRing(size)
        self.asked: list[float] = []
        self.now = 0.0
        self.patience = PATIENCE
        self.repair = EventRepair(
            self.ring, self.clock, self.timers, Requests(self.asked.append), lambda: self.patience
        )

    def receive(self, *ltimes: int) -> None:
        for ltime in ltimes:
            self.clock.witness(ltime)
            if self.ring.offer(UserEvent(ltime, "x", b"", True), self.clock.time) is Verdict.NEW:
                self.repair.received(ltime, self.now)

    def run(self, until: float) -> None:
        while (due := self.timers.next_at()) is not None and due <= until:
            self.now = due
            self.timers.run_due(due)
        self.now = until


def test_events_in_order_need_no_repair_and_no_timer() -> None:
    rig = Rig()

    rig.receive(*range(1, 40))

    assert rig.timers.next_at() is None


def test_a_hole_that_gossip_fills_in_time_is_not_asked_for() -> None:
    rig = Rig()
    rig.receive(1, 4, 2)
    rig.run(PATIENCE * 0.9)

    rig.receive(3)
    rig.run(10)

    assert rig.asked == []
    assert rig.timers.next_at() is None


def test_a_hole_is_asked_for_until_it_is_filled() -> None:
    rig = Rig()
    rig.receive(1, 3)
    rig.run(PATIENCE * 1.5)

    rig.receive(2)
    rig.run(10)

    assert rig.asked == [PATIENCE]
    assert rig.timers.next_at() is None


def test_a_hole_that_nobody_fills_is_asked_for_a_few_times_only() -> None:
    rig = Rig()

    rig.receive(1, 3)
    rig.run(100)

    assert rig.asked == pytest.approx([PATIENCE * turn for turn in range(1, MAX_REQUESTS + 1)])
    assert rig.timers.next_at() is None


def test_a_hole_given_up_is_not_asked_for_again() -> None:
    rig = Rig()
    rig.receive(1, 3)
    rig.run(100)
    rig.asked.clear()

    rig.receive(4, 5)
    rig.run(200)

    assert rig.asked == []


def test_a_second_hole_that_opens_meanwhile_is_asked_for_too() -> None:
    rig = Rig()
    rig.receive(1, 3)
    rig.run(PATIENCE * 1.5)
    rig.receive(5)

    rig.run(100)

    assert len(rig.asked) == 2 * MAX_REQUESTS


@pytest.mark.parametrize(
    ("meta", "patience"),
    [(encode_own_tags({}), PATIENCE), (encode_tags({}), PATIENCE_TICKS * 0.2)],
    ids=["ours", "genuine"],
)
def test_where_genuine_agents_pass_events_on_at_ticks_they_get_the_time(
    meta: bytes, patience: float
) -> None:
    rig = NodeRig(push_pull_interval=0)
    rig.learn("ann", meta=encode_own_tags({}))
    rig.learn("bob", meta=meta)
    rig.quiet()
    start = rig.now

    for ltime in (1, 3):
        rig.hear_serf(UserEvent(ltime, "x", b"", True))
    while not rig.node.take_dials():
        due = rig.node.next_timeout()
        assert due is not None
        assert due < start + 5
        rig.now = due
        rig.node.handle_timeout(due)

    assert rig.now - start == pytest.approx(patience)


def test_one_answer_fills_several_holes() -> None:
    rig = Rig()
    rig.receive(1, 3, 6, 9)
    rig.run(PATIENCE)

    rig.receive(2, 4, 5, 7, 8)
    rig.run(100)

    assert rig.asked == [PATIENCE]


def test_r37_events_from_before_a_join_are_not_missed() -> None:
    rig = Rig()
    rig.clock.witness(99)
    rig.ring.min_time = 100
    rig.repair.forget_before(100)

    rig.receive(100, 101)
    rig.run(100)

    assert rig.asked == []


def test_an_event_far_ahead_is_a_hole_no_larger_than_the_ring() -> None:
    rig = Rig()

    rig.receive(2**31)
    rig.run(100)
    looked = rig.ring.first_hole(1, 2**31, rig.clock.time)

    assert len(rig.asked) == MAX_REQUESTS
    assert looked == 2**31 + 1 - 16


@pytest.mark.parametrize(
    ("start", "end", "hole"), [(1, 3, None), (1, 5, 4), (4, 4, 4), (5, 6, None), (7, 6, None)]
)
def test_the_ring_knows_its_holes(start: int, end: int, hole: int | None) -> None:
    rig = Rig()
    rig.receive(1, 2, 3, 5, 6)

    assert rig.ring.first_hole(start, end, rig.clock.time) == hole


def test_a_slot_taken_by_an_older_time_is_a_hole() -> None:
    rig = Rig(8)
    rig.receive(1, 2, 3)
    rig.clock.witness(10)

    assert rig.ring.first_hole(9, 10, 11) == 9


def test_odd_clocks_make_a_node_ask_so_often_and_no_more() -> None:
    rig = Rig(512)

    for number in range(1, 100):
        rig.receive(3 * number)  # every time skips two
        rig.run(rig.now + 0.5)

    assert len([at for at in rig.asked if at < 49]) == REQUESTS_PER_MINUTE


# Members


class MemberRig:
    def __init__(self) -> None:
        self.timers = Timers()
        self.missing: set[str] = set()
        self.asked: list[float] = []
        self.repair = MemberRepair(
            self.missing.__contains__, self.timers, Requests(self.asked.append), lambda: PATIENCE
        )

    def announce(self, name: str, now: float) -> None:
        self.missing.add(name)
        self.repair.announced(name, now)


def test_a_member_whose_intent_alone_arrived_is_asked_for_once() -> None:
    rig = MemberRig()
    rig.announce("ann", 1.0)
    rig.announce("bob", 1.1)

    rig.timers.run_due(1.0 + PATIENCE)

    assert rig.asked == [1.0 + PATIENCE]
    assert rig.timers.next_at() is None


def test_a_member_that_arrives_in_time_is_not_asked_for() -> None:
    rig = MemberRig()
    rig.announce("ann", 1.0)

    rig.missing.clear()
    rig.timers.run_due(5.0)

    assert rig.asked == []


def test_s13_intents_about_nobody_are_remembered_and_asked_about_within_bounds() -> None:
    rig = MemberRig()

    for number in range(100_000):
        rig.announce(f"nobody-{number}", number / 1000)
        rig.timers.run_due(number / 1000)

    assert len(rig.repair._names) <= 256
    assert len([at for at in rig.asked if at < 60]) == REQUESTS_PER_MINUTE
