"""The formulas that experiments are compared with, against values from the papers and by hand."""

from __future__ import annotations

import random
from math import e, log

import pytest

from simulations.theory import (
    FIRST_DETECTION_PERIODS,
    earliest_of,
    first_ping_periods,
    probe_failure,
    push_pull_bytes,
    rumor_rounds,
)


def test_the_first_ping_comes_after_e_over_e_minus_1_periods_in_large_pools() -> None:
    assert pytest.approx(1.582, abs=0.001) == FIRST_DETECTION_PERIODS
    assert first_ping_periods(100_000) == pytest.approx(FIRST_DETECTION_PERIODS, abs=1e-4)


@pytest.mark.parametrize(("nodes", "periods"), [(1, 1.0), (2, 1.0), (3, 4 / 3), (4, 27 / 19)])
def test_the_first_ping_in_small_pools(nodes: int, periods: float) -> None:
    assert first_ping_periods(nodes) == pytest.approx(periods)


def test_a_rumor_told_to_one_other_per_round_takes_pittels_rounds() -> None:
    assert rumor_rounds(1024, 1) == pytest.approx(10 + log(1024))
    assert rumor_rounds(1, 3) == 0


def test_rumor_rounds_are_those_of_a_played_rumor() -> None:
    rng = random.Random(1)

    def rounds(nodes: int, fanout: int) -> int:
        knows, count = {0}, 0
        while len(knows) < nodes:
            knows |= {rng.randrange(nodes) for _ in range(len(knows) * fanout)}
            count += 1
        return count

    played = sum(rounds(500, 3) for _ in range(40)) / 40

    assert rumor_rounds(500, 3) == pytest.approx(played, abs=1.2)


@pytest.mark.parametrize(
    ("loss", "helpers", "expected"),
    [(0.0, 3, 0.0), (1.0, 3, 1.0), (0.2, 0, 0.36), (0.2, 3, 0.36 * (1 - 0.8**4) ** 3)],
)
def test_probe_failure(loss: float, helpers: int, expected: float) -> None:
    assert probe_failure(loss, helpers) == pytest.approx(expected)
    assert probe_failure(loss, helpers, tcp=True) == 0


def test_probe_failure_is_that_of_thrown_dice() -> None:
    rng = random.Random(1)

    def passes(packets: int) -> bool:
        return all(rng.random() >= 0.3 for _ in range(packets))

    failed = sum(not passes(2) and not any(passes(4) for _ in range(3)) for _ in range(20_000))

    assert probe_failure(0.3, 3) == pytest.approx(failed / 20_000, abs=0.01)


def test_the_first_of_many_timers() -> None:
    assert earliest_of(1, 30.0) == 15.0
    assert earliest_of(29, 30.0) == 1.0


def test_push_pull_costs_two_states_per_interval_until_memberlist_stretches_it() -> None:
    assert push_pull_bytes(32, 100, 30) == pytest.approx(2 * 32 * 100 / 30)
    assert push_pull_bytes(33, 100, 30) == pytest.approx(2 * 33 * 100 / 60)
    assert push_pull_bytes(1024, 100, 30) == pytest.approx(2 * 1024 * 100 / 180)


def test_growth_by_fanout_plus_one() -> None:
    assert rumor_rounds(4**5, 3) - 5 == pytest.approx(log(4**5) / 3)
    assert e / (e - 1) == FIRST_DETECTION_PERIODS
