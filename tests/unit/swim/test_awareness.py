"""Lifeguard's doubt about ourselves."""

from __future__ import annotations

import pytest

from gossip.swim.awareness import Awareness


def test_the_score_stays_between_zero_and_one_less_than_the_maximum() -> None:
    awareness = Awareness(8)

    scores = []
    for delta in (-1, 1, 3, 10, -1, -20):
        awareness.apply(delta)
        scores.append(awareness.score)

    assert scores == [0, 1, 4, 7, 6, 0]


@pytest.mark.parametrize(("score", "stretched"), [(0, 1.5), (1, 3.0), (7, 12.0)])
def test_an_interval_is_stretched_by_our_doubt(score: int, stretched: float) -> None:
    awareness = Awareness(8)
    awareness.apply(score)

    assert awareness.scale(1.5) == stretched


def test_a_maximum_of_one_switches_it_off() -> None:
    awareness = Awareness(1)
    awareness.apply(5)

    assert awareness.score == 0
