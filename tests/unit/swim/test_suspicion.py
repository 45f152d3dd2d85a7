"""Suspicion timers: Lifeguard's table of timeouts, and the timers of all suspects."""

from __future__ import annotations

import pytest

from gossip.config import Config
from gossip.swim.suspicion import Suspicion, Suspicions, suspicion_bounds
from gossip.swim.timers import Timers


class Rig:
    """Suspicions over real timers; `warned` and `dead` hold who was warned and died, and when."""

    def __init__(self, **settings: float) -> None:
        self.timers = Timers()
        self.warned: list[tuple[str, float]] = []
        self.dead: list[tuple[str, float]] = []
        self.suspicions = Suspicions(
            Config(name="me", **settings),  # type: ignore[arg-type]  # test data
            self.timers,
            warn=lambda name, now: self.warned.append((name, now)),
            declare_dead=lambda name, now: self.dead.append((name, now)),
        )

    def run(self, until: float) -> None:
        while (due := self.timers.next_at()) is not None and due <= until:
            self.timers.run_due(due)


# The table: cluster sizes at LAN settings


@pytest.mark.parametrize(
    ("members", "wanted", "shortest", "longest", "after_one"),
    [
        (1, 0, 4, 24, None),
        (3, 0, 4, 24, None),
        (4, 2, 4, 24, 11.381),
        (10, 2, 4, 24, 11.381),
        (100, 2, 8, 48, 22.762),
        (1_000, 2, 12, 72, 34.144),
        (10_000, 2, 16, 96, 45.525),
    ],
)
def test_timeouts_follow_the_clusters_size(
    members: int, wanted: int, shortest: float, longest: float, after_one: float | None
) -> None:
    bounds = suspicion_bounds(Config.lan("me"), members)

    assert bounds == (wanted, shortest, longest)
    if after_one is not None:
        suspicion = Suspicion("ann", *bounds, 100.0)
        suspicion.confirm("bob")
        assert suspicion.deadline == pytest.approx(100 + after_one)


def test_the_log_of_the_size_is_cut_to_a_thousandth() -> None:
    _, shortest, _ = suspicion_bounds(Config.lan("me"), 50)  # log10(50) = 1.69897

    assert shortest == pytest.approx(4 * 1.698)


def test_wan_suspicions_are_longer_and_want_more_confirmations() -> None:
    assert suspicion_bounds(Config.wan("me"), 10) == (4, 30.0, 180.0)
    assert suspicion_bounds(Config.wan("me"), 5) == (0, 30.0, 180.0)


def test_a_small_multiplier_wants_no_confirmations() -> None:
    assert suspicion_bounds(Config.lan("me", suspicion_mult=1), 10) == (0, 1.0, 6.0)


# One suspect


def test_without_others_to_confirm_the_shortest_timeout_holds() -> None:
    suspicion = Suspicion("ann", 0, 4.0, 24.0, 100.0)

    assert suspicion.deadline == 104.0
    assert not suspicion.confirm("bob")
    assert suspicion.deadline == 104.0


def test_each_confirmation_shortens_the_timeout_down_to_the_shortest() -> None:
    suspicion = Suspicion("ann", 2, 4.0, 24.0, 100.0)
    deadlines = [suspicion.deadline]

    for accuser in ("bob", "cat"):
        assert suspicion.confirm(accuser)
        deadlines.append(suspicion.deadline)

    assert deadlines == [124.0, pytest.approx(111.381), 104.0]


def test_the_first_accuser_confirms_nothing_and_others_count_once() -> None:
    suspicion = Suspicion("ann", 2, 4.0, 24.0, 100.0)
    suspicion.confirm("bob")

    assert not suspicion.confirm("ann")
    assert not suspicion.confirm("bob")
    assert suspicion.deadline == pytest.approx(111.381)


def test_no_more_confirmations_count_than_are_wanted() -> None:
    suspicion = Suspicion("ann", 1, 4.0, 24.0, 100.0)
    suspicion.confirm("bob")

    assert not suspicion.confirm("cat")
    assert suspicion.deadline == 104.0


def test_a_postponed_deadline_is_not_shortened_below_by_a_confirmation() -> None:
    suspicion = Suspicion("ann", 1, 4.0, 24.0, 100.0)
    suspicion.postpone(110.0)

    suspicion.confirm("bob")

    assert suspicion.deadline == 110.0


# All suspects


def test_a_suspect_that_does_not_refute_is_declared_dead_once() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 3, 100.0)

    rig.run(103.9)
    early = list(rig.dead)
    rig.run(200.0)

    assert early == []
    assert rig.dead == [("ann", 104.0)]


def test_a_suspect_that_refutes_is_not_declared_dead() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 3, 100.0)

    rig.suspicions.end("ann")
    rig.run(200.0)

    assert rig.dead == []
    assert "ann" not in rig.suspicions


def test_ending_a_suspicion_that_does_not_exist_does_nothing() -> None:
    rig = Rig()

    rig.suspicions.end("ann")

    assert len(rig.suspicions) == 0


def test_a_confirmation_moves_the_timer() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 10, 100.0)

    assert rig.suspicions.confirm("ann", "cat", 101.0)
    assert rig.suspicions.confirm("ann", "dan", 102.0)
    assert not rig.suspicions.confirm("ann", "dan", 102.0)
    rig.run(200.0)

    assert rig.dead == [("ann", 104.0)]


def test_r02_a_suspect_is_warned_before_it_is_declared_dead() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 10, 100.0)

    rig.run(123.9)

    assert rig.warned == [("ann", 123.5)]
    assert rig.dead == []


def test_a_warned_suspect_that_refutes_is_not_declared_dead() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 10, 100.0)
    rig.run(123.9)

    rig.suspicions.end("ann")
    rig.run(200.0)

    assert rig.dead == []


def test_h8_a_late_confirmation_warns_now_and_declares_dead_soon_but_not_in_the_past() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 10, 100.0)

    rig.suspicions.confirm("ann", "cat", 120.0)  # its timeout was over at 111.381

    assert rig.timers.next_at() == 120.0  # earlier, it would look like a stall of ours
    rig.run(200.0)
    assert rig.warned == [("ann", 120.0)]
    assert rig.dead == [("ann", 120.5)]


def test_a_confirmation_after_the_warning_does_not_shorten_the_time_to_answer_it() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 10, 100.0)
    rig.run(123.6)

    rig.suspicions.confirm("ann", "cat", 123.6)
    rig.run(200.0)

    assert rig.warned == [("ann", 123.5)]
    assert rig.dead == [("ann", 124.0)]


def test_h8_nobody_is_declared_dead_before_the_time_that_a_stall_gives() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 3, 100.0)
    rig.suspicions.begin("cat", "bob", 3, 103.0)

    rig.suspicions.postpone(105.0, 104.0)
    rig.run(200.0)

    assert rig.dead == [("ann", 105.0), ("cat", 107.0)]


def test_h8_after_a_stall_a_suspect_is_warned_again() -> None:
    rig = Rig()
    rig.suspicions.begin("ann", "bob", 3, 100.0)
    rig.run(103.6)

    rig.suspicions.postpone(105.0, 104.0)
    rig.run(200.0)

    assert rig.warned == [("ann", 103.5), ("ann", 104.5)]
    assert rig.dead == [("ann", 105.0)]
