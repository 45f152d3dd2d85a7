"""Reminders: the recently dead hear of their death, as often as the pool is told to, and no longer."""

from __future__ import annotations

import pytest

from gossip.swim.reminders import MAX_AT_ONCE, PER_INTERVAL
from gossip.wire.messages import Dead
from tests.rigs import SwimRig, address_of

MEMBERS = [f"m{number}" for number in range(9)]


@pytest.fixture
def rig() -> SwimRig:
    rig = SwimRig(start=False, probe_interval=1.0, gossip_to_the_dead_time=30.0)
    rig.learn("ann", *MEMBERS)
    rig.quiet()
    return rig


def reminders(rig: SwimRig) -> list[Dead]:
    """What was told to the very member that it is about."""
    return [
        message
        for message, address in rig.sent()
        if isinstance(message, Dead) and address == address_of(message.node)
    ]


def test_the_dead_are_told_at_the_incarnation_at_which_they_died(rig: SwimRig) -> None:
    rig.hear(Dead(1, "ann", "m1"))
    rig.quiet()
    rig.advance(20)

    assert set(map(repr, reminders(rig))) == {repr(Dead(1, "ann", "me"))}


def test_the_whole_pool_together_tells_one_of_them_about_twice_per_probe_interval() -> None:
    counts = []
    for seed in range(60):
        rig = SwimRig(seed=seed, start=False, probe_interval=1.0)
        rig.learn("ann", *MEMBERS)
        rig.quiet()
        rig.hear(Dead(1, "ann", "m1"))
        rig.quiet()
        rig.advance(20)
        counts.append(len(reminders(rig)))

    alive = len(MEMBERS) + 1
    assert sum(counts) / len(counts) * alive / 20 == pytest.approx(PER_INTERVAL, rel=0.25)


def test_it_ends_when_the_memory_of_gossip_does(rig: SwimRig) -> None:
    rig.hear(Dead(1, "ann", "m1"))
    rig.advance(31)
    rig.sent()
    rig.advance(60)

    assert reminders(rig) == []


def test_who_is_alive_again_is_told_no_more(rig: SwimRig) -> None:
    rig.hear(Dead(1, "ann", "m1"))
    rig.learn("ann", incarnation=2)
    rig.quiet()
    rig.advance(20)

    assert reminders(rig) == []


def test_who_left_is_not_called_back(rig: SwimRig) -> None:
    rig.hear(Dead(1, "ann", "ann"))
    rig.quiet()
    rig.advance(20)

    assert reminders(rig) == []


def test_a_node_that_lost_all_others_sends_a_few_at_a_time(rig: SwimRig) -> None:
    for name in ("ann", *MEMBERS):
        rig.hear(Dead(1, name, "x"))
    rig.quiet()
    rig.advance(10)

    told = reminders(rig)
    assert 8 * MAX_AT_ONCE <= len(told) <= 11 * MAX_AT_ONCE
    assert {message.node for message in told} == {"ann", *MEMBERS}


def test_who_leaves_reminds_nobody(rig: SwimRig) -> None:
    rig.hear(Dead(1, "ann", "m1"))
    rig.m.leave(rig.now)
    rig.quiet()
    rig.advance(20)

    assert reminders(rig) == []
