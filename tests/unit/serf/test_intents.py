"""Intents about members that are not known yet."""

from __future__ import annotations

import pytest

from gossip.serf.intents import MAX_RECENT_INTENTS, Intent, RecentIntents
from gossip.wire.serf import JoinIntent, LeaveIntent


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        (LeaveIntent(6, "ann"), True),
        (JoinIntent(6, "ann"), True),
        (LeaveIntent(5, "ann"), False),
        (JoinIntent(4, "ann"), False),
    ],
)
def test_only_the_newest_intent_about_somebody_is_kept(second: Intent, *, kept: bool) -> None:
    intents = RecentIntents(300.0)
    first = JoinIntent(5, "ann")

    assert intents.offer(first, 0.0)
    assert intents.offer(second, 1.0) is kept
    assert intents.get("ann") == (second if kept else first)
    assert len(intents) == 1


def test_nothing_is_known_about_others() -> None:
    assert RecentIntents(300.0).get("ann") is None


def test_intents_are_forgotten_after_their_time_and_a_newer_one_starts_anew() -> None:
    intents = RecentIntents(300.0)
    intents.offer(JoinIntent(1, "ann"), 0.0)
    intents.offer(JoinIntent(1, "bob"), 0.0)
    intents.offer(JoinIntent(2, "bob"), 100.0)

    intents.expire(300.0)
    on_time = len(intents)
    intents.expire(300.1)

    assert on_time == 2
    assert intents.get("ann") is None
    assert intents.get("bob") == JoinIntent(2, "bob")


def test_an_intent_that_is_not_newer_does_not_live_longer() -> None:
    intents = RecentIntents(300.0)
    intents.offer(JoinIntent(5, "ann"), 0.0)
    intents.offer(JoinIntent(5, "ann"), 200.0)

    intents.expire(301.0)

    assert intents.get("ann") is None


def test_r21_five_thousand_joins_are_all_kept() -> None:
    intents = RecentIntents(300.0)

    for number in range(5_000):
        intents.offer(JoinIntent(number + 1, f"node-{number}"), number / 500)

    assert all(intents.get(f"node-{number}") for number in range(5_000))


def test_r21_s13_beyond_the_bound_the_oldest_goes() -> None:
    intents = RecentIntents(300.0)
    for number in range(MAX_RECENT_INTENTS):
        intents.offer(JoinIntent(1, f"node-{number}"), 0.0)
    intents.offer(JoinIntent(2, "node-0"), 1.0)  # now node-1 is the oldest

    intents.offer(JoinIntent(1, "one more"), 2.0)

    assert len(intents) == MAX_RECENT_INTENTS
    assert intents.get("node-0") is not None
    assert intents.get("node-1") is None
    assert intents.get("one more") is not None


def test_r21_s13_a_newer_intent_about_somebody_held_costs_nobody_its_place() -> None:
    intents = RecentIntents(300.0)
    for number in range(MAX_RECENT_INTENTS):
        intents.offer(JoinIntent(1, f"node-{number}"), 0.0)

    intents.offer(JoinIntent(2, "node-5"), 1.0)
    intents.offer(JoinIntent(1, "node-6"), 1.0)

    assert len(intents) == MAX_RECENT_INTENTS
