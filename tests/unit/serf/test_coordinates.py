"""Vivaldi: distances, and how the answers to our probes move our coordinate."""

from __future__ import annotations

import random
from itertools import pairwise
from math import inf, nan, sqrt
from typing import Any

import pytest

from gossip.serf.coordinates import (
    FAR,
    ORIGIN,
    RECENT,
    RTT_MAX,
    Coordinate,
    CoordinateClient,
    distance,
    is_usable,
)
from tests.wire_helpers import vectors


def at(*vec: float, **fields: float) -> Coordinate:
    """A settled coordinate whose first numbers are these."""
    given: dict[str, float] = {"error": 0.1, "adjustment": 0.0, "height": 1e-5}
    return Coordinate(vec + (0.0,) * (8 - len(vec)), **(given | fields))


def client(own: Coordinate = ORIGIN, seed: int = 1) -> CoordinateClient:
    made = CoordinateClient(random.Random(seed))
    made.own = own
    return made


def of_go(recorded: dict[str, Any]) -> Coordinate:
    numbers = [float(recorded[key]) for key in ("Error", "Adjustment", "Height")]
    return Coordinate(tuple(map(float, recorded["Vec"])), *numbers)


def numbers_of(coordinate: Coordinate) -> list[float]:
    return [*coordinate.vec, coordinate.error, coordinate.adjustment, coordinate.height]


def test_thirty_updates_of_serfs_library_are_reproduced() -> None:
    (recorded,) = vectors("coordinate")
    steps = recorded["decoded"]["steps"]
    ours = client(of_go(recorded["decoded"]["initial"]))
    recent: dict[str, list[float]] = {}

    for step in steps:
        other = of_go(step["Other"])
        assert ours.update(other, step["RTT"], recent.setdefault(step["Node"], []))
        assert numbers_of(ours.own) == pytest.approx(numbers_of(of_go(step["After"])), abs=1e-12)

    assert len(steps) == 30
    assert round(distance(ours.own, other) * 1e9) == recorded["decoded"]["distance_last_other_ns"]
    assert ours.resets == 0


# Distance


def test_the_distance_is_between_the_points_and_up_both_heights() -> None:
    a, b = at(0.003, height=0.001), at(0.0, 0.004, height=0.002)

    assert distance(a, b) == distance(b, a) == 0.008


def test_adjustments_count_unless_they_would_make_the_distance_negative() -> None:
    a, b = at(height=0.001, adjustment=0.0005), at(height=0.001, adjustment=-0.0015)

    assert distance(a, b) == 0.001
    assert distance(b, b) == 0.002, "0.002 - 0.003 is no round trip"


def test_the_distance_to_oneself_is_twice_the_height() -> None:
    assert distance(ORIGIN, ORIGIN) == 2e-5


def test_a_distance_is_in_whole_nanoseconds() -> None:
    assert distance(at(1.9e-9, height=0), at(height=0)) == 1e-9


def test_coordinates_of_different_dimensions_have_no_distance() -> None:
    with pytest.raises(ValueError, match="dimension"):
        distance(ORIGIN, ORIGIN._replace(vec=(0.0,) * 7))


def test_r33_a_distance_that_is_no_number_is_infinite() -> None:
    assert distance(at(1e308), at(-1e308, 1e308)) == inf
    assert distance(at(nan), at()) == inf


# What moves us


def test_nodes_at_one_point_part_in_a_random_direction_and_keep_their_height() -> None:
    one, two = client(seed=1), client(seed=2)

    for each in (one, two):
        each.update(ORIGIN, 0.1, [])

    assert distance(one.own, ORIGIN) > 0.01
    assert one.own.vec != two.own.vec
    assert one.own.height == ORIGIN.height
    # The force is cc * w * (rtt - d), with both errors alike; gravity takes a little of it back.
    assert sqrt(sum(n * n for n in one.own.vec)) == pytest.approx(0.25 * 0.5 * 0.1, rel=1e-3)


def test_one_slow_answer_of_three_does_not_count() -> None:
    with_spike, without = client(), client()
    for ours, rtts in ((with_spike, (0.01, 0.01, 5.0)), (without, (0.01, 0.01, 0.01))):
        recent: list[float] = []
        for rtt in rtts:
            ours.update(at(0.01), rtt, recent)

    assert with_spike.own == without.own


def test_only_the_latest_round_trips_are_kept() -> None:
    ours = client()
    recent: list[float] = []

    for number in range(10):
        ours.update(at(0.01), number / 1000, recent)

    assert recent == [0.007, 0.008, 0.009]
    assert len(recent) == RECENT


def test_the_error_falls_while_answers_take_as_long_as_expected() -> None:
    ours, other = client(at(0.005, error=1.5)), at(-0.005)
    errors = [ours.own.error]
    for _ in range(20):
        ours.update(other, distance(ours.own, other), [])
        errors.append(ours.own.error)

    assert all(later < earlier for earlier, later in pairwise(errors))
    assert ours.own.error < 0.1


def test_the_error_never_exceeds_what_a_newcomer_has() -> None:
    ours = client()

    ours.update(at(5.0), 1e-6, [])

    assert ours.own.error == ORIGIN.error


def test_gravity_pulls_back_to_the_origin() -> None:
    ours, other = client(at(5.0)), at(5.5)
    for _ in range(100):
        ours.update(other, distance(ours.own, other), [])

    assert 4.8 < ours.own.vec[0] < 4.99


# what cannot be true


def test_r33_round_trips_up_to_ten_seconds_are_believed() -> None:
    ours = client()

    assert ours.update(at(0.01), 0.0, [])
    assert ours.update(at(0.01), RTT_MAX, [])


@pytest.mark.parametrize("rtt", [-1e-9, -inf, nan, RTT_MAX + 0.001, 1e308, inf])
def test_r33_another_round_trip_changes_nothing(rtt: float) -> None:
    ours, recent = client(at(0.02)), [0.01]

    assert not ours.update(at(0.01), rtt, recent)

    assert (ours.own, recent, ours.resets) == (at(0.02), [0.01], 0)


@pytest.mark.parametrize(
    "other",
    [
        *(at(number) for number in (nan, inf, -inf, 1e308, -1e308, FAR * 1.01)),
        *(at(error=number) for number in (nan, inf, 1e308, -0.1)),
        *(at(adjustment=number) for number in (nan, inf, 1e308, -1e308)),
        *(at(height=number) for number in (nan, inf, 1e308, -1e-5)),
        ORIGIN._replace(vec=()),
        ORIGIN._replace(vec=(0.0,) * 7),
        ORIGIN._replace(vec=(0.0,) * 9),
    ],
    ids=str,
)
def test_r33_a_coordinate_that_no_node_has_changes_nothing(other: Coordinate) -> None:
    ours, recent = client(at(0.02)), [0.01]

    assert not is_usable(other)
    assert not ours.update(other, 0.01, recent)

    assert (ours.own, recent, ours.resets) == (at(0.02), [0.01], 0)


def test_r33_what_still_throws_us_off_makes_us_begin_anew_and_is_counted() -> None:
    # Nearly the same point and a long way: the height grows by both heights times force by distance.
    ours = client(at(height=1.0, error=1.5))

    assert ours.update(at(2e-6, height=1.0, error=0.0), 10.0, [])

    assert (ours.own, ours.resets) == (ORIGIN, 1)
