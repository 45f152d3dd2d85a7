"""The ring of user events."""

from __future__ import annotations

import pytest

from gossip.serf.ring import MAX_BUFFERED_EVENTS, EventRing, Verdict
from gossip.wire.serf import UserEvent

NEW, DUPLICATE, TOO_OLD = Verdict.NEW, Verdict.DUPLICATE, Verdict.TOO_OLD


def event(ltime: int, name: str = "deploy", payload: bytes = b"", *, cc: bool = True) -> UserEvent:
    return UserEvent(ltime, name, payload, cc)


def offer(ring: EventRing, *events: UserEvent, clock: int | None = None) -> list[Verdict]:
    """Verdicts, with the clock where witnessing these events has brought it."""
    at = clock or max(e.ltime for e in events) + 1
    return [ring.offer(e, at) for e in events]


def test_s10_the_same_event_is_new_once() -> None:
    ring = EventRing(8)

    assert offer(ring, event(3), event(3), event(3)) == [NEW, DUPLICATE, DUPLICATE]


@pytest.mark.parametrize(
    "other", [event(3, "restart"), event(3, payload=b"2"), event(4), event(3, "", b"deploy")]
)
def test_another_name_payload_or_time_is_another_event(other: UserEvent) -> None:
    ring = EventRing(8)

    assert offer(ring, event(3), other) == [NEW, NEW]


def test_whether_it_may_be_coalesced_is_no_part_of_what_an_event_is() -> None:
    ring = EventRing(8)

    assert offer(ring, event(3, cc=True), event(3, cc=False)) == [NEW, DUPLICATE]


def test_r44_the_same_name_payload_and_time_from_two_members_is_one_event_as_in_serf() -> None:
    ring = EventRing(8)

    assert offer(ring, event(3, payload=b"x"), event(3, payload=b"x")) == [NEW, DUPLICATE]


@pytest.mark.parametrize(("ltime", "verdict"), [(91, TOO_OLD), (92, NEW), (93, NEW), (100, NEW)])
def test_events_a_ring_behind_the_clock_are_too_old(ltime: int, verdict: Verdict) -> None:
    assert offer(EventRing(8), event(ltime), clock=100) == [verdict]


def test_nothing_is_too_old_before_the_clock_has_passed_the_rings_size() -> None:
    assert offer(EventRing(8), event(0), event(1), clock=8) == [NEW, NEW]
    assert offer(EventRing(8), event(0), event(1), clock=9) == [TOO_OLD, NEW]


def test_r37_events_from_before_our_start_are_not_ours_to_see() -> None:
    ring = EventRing(8)
    ring.min_time = 5

    assert offer(ring, event(4), event(5)) == [Verdict.BEFORE_START, NEW]


def test_a_newer_time_takes_the_slot() -> None:
    ring = EventRing(8)
    offer(ring, event(3))

    offer(ring, event(11, "restart"))

    assert ring.snapshot() == [(11, [("restart", b"")])]


def test_the_snapshot_holds_what_was_seen_and_another_ring_takes_it_whole() -> None:
    ring, other = EventRing(8), EventRing(8)
    offer(ring, event(9, "b"), event(6), event(7), event(7, "a", b"\0"))

    snapshot = ring.snapshot()

    assert snapshot == [
        (9, [("b", b"")]),
        (6, [("deploy", b"")]),
        (7, [("deploy", b""), ("a", b"\0")]),
    ]
    for ltime, events in snapshot:
        for name, payload in events:
            assert other.offer(event(ltime, name, payload), 10) is NEW
    assert other.snapshot() == snapshot


def test_s13_events_of_one_time_are_bounded_and_newer_times_make_room() -> None:
    ring = EventRing(8)
    verdicts = [ring.offer(event(1, str(n)), 2) for n in range(MAX_BUFFERED_EVENTS + 5)]

    later = offer(ring, event(9))  # takes the crowded slot

    assert verdicts.count(NEW) == MAX_BUFFERED_EVENTS
    assert verdicts[-5:] == [Verdict.OVER_LIMIT] * 5
    assert later == [NEW]
    assert ring._count == 1
