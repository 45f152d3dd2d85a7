"""Members that answer over TCP only: told once, listed as long as they are there."""

from __future__ import annotations

import pytest

from gossip.swim.tcp_only import NAMES_IN_NOTICE, NOTICE_INTERVAL
from gossip.wire.messages import Dead
from tests.rigs import SwimRig


@pytest.fixture
def rig() -> SwimRig:
    rig = SwimRig(start=False)
    rig.learn("ann", "bob", "cid")
    return rig


def lines(rig: SwimRig) -> list[str]:
    return [notice for notice in rig.m.take_notices() if "TCP" in notice]


def test_the_first_is_told_at_once_and_those_soon_after_it_in_one_line(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    for name in ("ann", "cid", "bob", "bob"):
        tcp_only.add(name, rig.now)
    first = lines(rig)
    rig.advance(NOTICE_INTERVAL - 0.1)
    between = lines(rig)
    rig.advance(0.1)

    assert first == ["ann answers over TCP but not over UDP"]
    assert between == []
    assert lines(rig) == ["bob, cid answer over TCP but not over UDP"]
    assert tcp_only.names() == ["ann", "bob", "cid"]
    assert rig.stats["udp_unreachable"] == 3


def test_going_to_and_fro_is_a_line_per_interval_at_most(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    for _ in range(300):
        tcp_only.add("ann", rig.now)
        rig.advance(0.5)
        tcp_only.discard("ann")
        rig.advance(0.5)

    assert len(lines(rig)) <= 300 / NOTICE_INTERVAL
    assert rig.stats["udp_unreachable"] == 300


def test_who_recovers_before_being_told_is_not_told(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    tcp_only.add("ann", rig.now)
    tcp_only.add("bob", rig.now)
    tcp_only.discard("bob")
    rig.advance(NOTICE_INTERVAL)

    assert lines(rig) == ["ann answers over TCP but not over UDP"]


def test_after_a_quiet_interval_the_next_is_told_at_once(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    tcp_only.add("ann", rig.now)
    rig.advance(NOTICE_INTERVAL)
    lines(rig)

    tcp_only.add("bob", rig.now)

    assert lines(rig) == ["bob answers over TCP but not over UDP"]


def test_many_names_are_counted(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    tcp_only.add("ann", rig.now)
    lines(rig)
    for number in range(NAMES_IN_NOTICE + 5):
        tcp_only.add(f"n{number:02}", rig.now)
    rig.advance(NOTICE_INTERVAL)

    (line,) = lines(rig)
    assert line.startswith("n00, n01, ")
    assert line.endswith("n07 and 5 more answer over TCP but not over UDP")


def test_who_is_dead_or_forgotten_is_not_listed(rig: SwimRig) -> None:
    tcp_only = rig.m.prober.tcp_only
    for name in ("ann", "bob", "stranger"):
        tcp_only.add(name, rig.now)
    rig.hear(Dead(1, "ann", "bob"))

    assert tcp_only.names() == ["bob"]
    tcp_only.forget_unknown()
    tcp_only.add("stranger", rig.now)
    assert rig.stats["udp_unreachable"] == 4  # it was forgotten, so it is new
