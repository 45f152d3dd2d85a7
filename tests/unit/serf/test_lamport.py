"""Lamport clocks, and the bound of what they believe (R-43)."""

from __future__ import annotations

import pytest

from gossip.serf.lamport import HIGHEST_TIME, LamportClock


def test_a_clock_starts_at_one_and_increments_after_use() -> None:
    clock = LamportClock(100)

    assert [clock.increment() for _ in range(3)] == [1, 2, 3]
    assert clock.time == 4


@pytest.mark.parametrize(("seen", "after"), [(0, 10), (9, 10), (10, 11), (11, 12), (50, 51)])
def test_witnessing_moves_past_what_was_seen_and_never_back(seen: int, after: int) -> None:
    clock = LamportClock(100)
    clock.time = 10

    assert clock.witness(seen)
    assert clock.time == after


@pytest.mark.parametrize(("ahead", "believed"), [(99, True), (100, True), (101, False)])
def test_r43_a_jump_beyond_the_limit_is_refused_and_moves_nothing(
    ahead: int, *, believed: bool
) -> None:
    clock = LamportClock(100)
    clock.time = 10

    assert clock.witness(10 + ahead) is believed
    assert clock.time == (11 + ahead if believed else 10)


@pytest.mark.parametrize("seen", [2**63, 2**64 - 1])
def test_r43_times_that_would_wrap_are_refused_however_near(seen: int) -> None:
    clock = LamportClock(2**63 - 1)
    clock.time = HIGHEST_TIME

    assert not clock.witness(seen)
    assert clock.time == HIGHEST_TIME
