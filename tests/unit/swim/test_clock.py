"""Local time: stalls do not count (H8, R-09)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.swim.clock import STALL_THRESHOLD, WAKE_GRACE, LocalClock


def test_time_passes_as_usual_while_wake_ups_are_punctual() -> None:
    clock = LocalClock(100.0)

    assert clock.enter(100.5, due=None) == (100.5, 0.0)
    assert clock.enter(101.0, due=101.0) == (101.0, 0.0)
    assert clock.enter(101.0 + STALL_THRESHOLD, due=101.0) == (101.0 + STALL_THRESHOLD, 0.0)


def test_idle_time_without_a_deadline_is_no_stall() -> None:
    clock = LocalClock(100.0)

    assert clock.enter(5000.0, due=None) == (5000.0, 0.0)
    assert clock.enter(9000.0, due=9000.0) == (9000.0, 0.0)


def test_a_late_wake_up_is_a_stall_and_time_stands_just_before_the_deadline() -> None:
    clock = LocalClock(100.0)

    local, late = clock.enter(110.0, due=101.0)

    assert local < 101.0
    assert local == pytest.approx(101.0)
    assert late == pytest.approx(9.0)


def test_after_a_stall_time_stands_still_for_a_moment_and_then_goes_on() -> None:
    clock = LocalClock(100.0)
    held, _ = clock.enter(110.0, due=101.0)

    during = clock.enter(110.0 + WAKE_GRACE / 2, due=101.0)
    after, late = clock.enter(110.0 + WAKE_GRACE + 0.25, due=101.5)

    assert during == (held, 0.0)
    assert after == pytest.approx(held + 0.25)
    assert late == 0.0


def test_a_second_stall_during_the_grace_is_noticed_as_well() -> None:
    clock = LocalClock(100.0)
    clock.enter(110.0, due=101.0)

    local, late = clock.enter(120.0, due=101.0)

    assert local < 101.0
    assert late == pytest.approx(120.0 - 110.0 - WAKE_GRACE)


def test_time_lost_adds_up_over_stalls() -> None:
    clock = LocalClock(0.0)
    now = local = 0.0
    for _ in range(10):
        now += 60.0  # each time it should have been woken after a second
        local, late = clock.enter(now, due=local + 1.0)
        assert late == pytest.approx(59.0)
        now += WAKE_GRACE

    assert local == pytest.approx(10.0)


def test_the_drivers_time_never_going_back_is_not_relied_upon() -> None:
    clock = LocalClock(100.0)
    clock.enter(105.0, due=None)

    assert clock.enter(104.0, due=None) == (105.0, 0.0)


@pytest.mark.parametrize("wait", [0.0, 0.5, 30.0])
def test_a_deadline_is_reached_at_the_drivers_time_that_is_foretold(wait: float) -> None:
    clock = LocalClock(100.0)
    clock.enter(110.0, due=101.0)
    due = 101.0 + wait

    while_held = clock.driver_time(due)
    clock.enter(110.0 + WAKE_GRACE, due=due)
    afterwards = clock.driver_time(due)

    assert while_held == pytest.approx(110.0 + WAKE_GRACE + wait)
    assert afterwards == pytest.approx(while_held)
    local, late = clock.enter(afterwards + 1e-6, due=due)
    assert local == pytest.approx(due, abs=1e-5)
    assert late == 0.0


@given(st.floats(0, 1e7), st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1))
def test_waking_when_a_deadline_is_due_always_reaches_it(
    start: float, steps: list[tuple[float, float]]
) -> None:
    clock = LocalClock(start)
    now = local = start
    for wait, late in steps:
        due = local + wait
        now = clock.driver_time(due) + (late if late > STALL_THRESHOLD else 0.0)
        local, stalled = clock.enter(now, due)
        if stalled:
            now = clock.driver_time(due)
            local, stalled = clock.enter(now, due)

        assert local >= due
        assert not stalled


def test_without_stalls_both_times_are_the_same() -> None:
    clock = LocalClock(100.0)
    clock.enter(101.0, due=101.0)

    assert clock.driver_time(123.0) == 123.0
