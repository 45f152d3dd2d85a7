"""The plans by which agents are stopped."""

from __future__ import annotations

from itertools import islice

from simulations.bench.figures import pause


def test_stops_keep_to_the_plan_and_are_the_same_for_every_system() -> None:
    mild, harsh = pause.PLANS.values()

    assert [plan.victims(30) for plan in (mild, harsh)] == [4, 9]
    assert mild.victims(3) == 1
    assert list(islice(mild.stops(), 3)) == [10, 10, 10]
    stops = list(islice(harsh.stops(), 100))
    assert 2 <= min(stops) < 4
    assert 14 < max(stops) <= 16
    assert stops == list(islice(harsh.stops(), 100))
    assert str(harsh) == "30% stopped 2-16 s, running 0.2 s"
