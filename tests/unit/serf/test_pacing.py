"""Pacing of user events by the event clock of the whole pool."""

from __future__ import annotations

import pytest

from gossip.serf.lamport import LamportClock
from gossip.serf.pacing import WINDOW, EventPacer


def pacer_at(time: int, size: int = 512) -> tuple[EventPacer, LamportClock]:
    clock = LamportClock(2**32)
    clock.time = time
    return EventPacer(clock, size), clock


def test_a_window_has_room_for_a_fifth_of_the_ring() -> None:
    pacer, clock = pacer_at(1)

    fired = 0
    while not pacer.pause(10.0):
        clock.increment()
        fired += 1

    assert fired == 102
    assert pacer.pause(10.0) == pytest.approx(WINDOW)
    assert pacer.pause(10.1) == pytest.approx(WINDOW - 0.1)


def test_the_next_window_has_room_again() -> None:
    pacer, clock = pacer_at(1)
    pacer.pause(10.0)
    clock.time += 102

    assert pacer.pause(10.0 + WINDOW) == 0.0


def test_events_of_others_take_room_too() -> None:
    pacer, clock = pacer_at(1)
    pacer.pause(10.0)

    clock.witness(500)

    assert pacer.pause(10.0) > 0


def test_what_happened_long_ago_does_not_count() -> None:
    pacer, clock = pacer_at(1)
    pacer.pause(10.0)
    clock.witness(5_000)

    assert pacer.pause(100.0) == 0.0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_rings_let_one_event_per_window_through(size: int) -> None:
    pacer, clock = pacer_at(1, size)

    first = pacer.pause(10.0)
    clock.increment()

    assert first == 0.0
    assert pacer.pause(10.0) > 0
