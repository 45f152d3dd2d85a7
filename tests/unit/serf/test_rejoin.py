"""Rejoin: a node with a snapshot goes on where it was, and looks for its pool."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from gossip.events import UserEvent
from gossip.serf.rejoin import LOOK_INTERVAL, MAX_PER_ROUND, MISSING_ROUNDS, MISSING_TOGETHER
from gossip.serf.snapshot import CLOCK_GAP, Snapshot
from gossip.wire.address import join_host_port
from gossip.wire.serf import Query, StateSync
from tests.rigs import PORT, NodeRig, address_of

if TYPE_CHECKING:
    from gossip.swim.exchange import Exchange


def remembering(*alive: str, failed: tuple[str, ...] = (), clocks: bytes = b"") -> Snapshot:
    lines = [f"alive: {name} {join_host_port(*address_of(name))}" for name in alive]
    lines += [f"#failed: {name} {join_host_port(*address_of(name))}" for name in failed]
    return Snapshot.replay("".join(f"{line}\n" for line in lines).encode() + clocks)


def wake(rig: NodeRig) -> list[Exchange]:
    """What it dials now."""
    rig.node.handle_timeout(rig.now)
    return rig.node.take_dials()


def refuse(rig: NodeRig, exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        exchange.refuse(rig.now)


def whole_round(rig: NodeRig) -> list[list[str]]:
    """Who is tried together until the round is over, nobody answering."""
    groups = []
    while dialled := wake(rig):
        groups.append([exchange.address[0] for exchange in dialled])
        refuse(rig, dialled)
    return groups


# Clocks and minimal times


def test_r37_all_clocks_stand_where_they_were_before_anything_is_received() -> None:
    clocks = b"clock: 10\nevent-clock: 20\nquery-clock: 30\n"
    rig = NodeRig(snapshot=remembering(clocks=clocks))

    times = rig.node.member_clock.time, rig.node.event_clock.time, rig.node.query_clock.time
    assert times == (11, 21, 31)


def test_r37_events_up_to_the_last_one_written_are_not_delivered_again() -> None:
    rig = NodeRig(snapshot=remembering(clocks=b"event-clock: 20\n"))
    rig.quiet()

    events = [(19, [("a", b"")]), (20, [("b", b"")]), (21, [("c", b"")])]
    rig.merge(StateSync(5, {}, [], 22, events, 5), join=True, ignore_old=False)
    rig.hear_serf(UserEvent(18, "d", b"", False), UserEvent(22, "e", b"", False))

    assert [event.name for event in rig.events() if isinstance(event, UserEvent)] == ["c", "e"]


def test_r37_queries_up_to_the_last_one_written_are_not_answered_again() -> None:
    rig = NodeRig(snapshot=remembering(clocks=b"query-clock: 30\n"))
    rig.learn("other")

    rig.hear_serf(
        Query(30, 1, address_of("other")[0].encode()[:4], PORT, "other", [], 0, 0, 10**9, "q", b"")
    )

    assert rig.stats["queries_too_old"] == 1


def test_s8_an_event_fired_before_the_pool_is_found_leaves_a_gap() -> None:
    rig = NodeRig(snapshot=remembering(clocks=b"event-clock: 20\n"))

    assert rig.node.user_event("x", b"", rig.now) == 21 + CLOCK_GAP
    assert rig.node.user_event("y", b"", rig.now) == 22 + CLOCK_GAP


def test_s8_an_event_fired_after_the_pool_was_found_leaves_none() -> None:
    rig = NodeRig(snapshot=remembering(clocks=b"event-clock: 20\n"))

    rig.merge(StateSync(5, {}, [], 25, [], 5))
    rig.learn("other")
    rig.advance(LOOK_INTERVAL)

    assert rig.node.user_event("x", b"", rig.now) == 25


def test_lines_without_a_meaning_and_absurd_clocks_are_counted() -> None:
    rig = NodeRig(snapshot=Snapshot.replay(b"what\nclock: 9223372036854775806\n"))

    assert rig.stats["snapshot_lines_skipped"] == 1
    assert rig.stats["snapshot_clocks_refused"] == 1
    assert rig.node.member_clock.time == 1


def test_what_happens_is_taken_down_before_it_is_coalesced() -> None:
    snapshot = Snapshot()
    rig = NodeRig(snapshot=snapshot, coalesce_period=3.0, quiescent_period=1.0)

    rig.learn("other")
    rig.node.user_event("x", b"", rig.now)

    assert snapshot.alive == {"me": address_of("me"), "other": address_of("other")}
    assert snapshot.event_clock == 1


def test_a_member_whose_name_cannot_be_written_is_counted() -> None:
    rig = NodeRig(snapshot=Snapshot())

    rig.learn("bad\nleave")

    assert rig.stats["snapshot_members_refused"] == 1


def test_a_leave_is_taken_down_at_once() -> None:
    snapshot = Snapshot()
    rig = NodeRig(snapshot=snapshot)
    rig.learn("other")

    rig.node.leave(rig.now)

    assert snapshot.left
    rig.advance(10)
    assert not Snapshot.replay(snapshot.image()).alive


# Looking for the pool


def test_without_a_snapshot_or_peers_in_it_nothing_is_tried() -> None:
    for rig in (NodeRig(), NodeRig(snapshot=remembering("me"))):
        rig.advance(60)

        assert wake(rig) == []
        assert not rig.node.rejoining


def test_one_peer_is_tried_first_then_more_at_a_time_the_alive_ones_before_the_failed() -> None:
    alive, failed = [f"a{i}" for i in range(5)], tuple(f"f{i}" for i in range(20))
    rig = NodeRig(snapshot=remembering("me", *alive, failed=failed))

    groups = whole_round(rig)

    assert [len(group) for group in groups] == [1, 2, 4, 8, 8, 2]
    tried = [ip for group in groups for ip in group]
    assert sorted(tried[:5]) == sorted(address_of(name)[0] for name in alive)
    assert sorted(tried[5:]) == sorted(address_of(name)[0] for name in failed)
    assert rig.node.rejoining


def test_the_order_is_random_and_we_are_left_out_under_whatever_name() -> None:
    old_name = remembering("me", *(f"a{i}" for i in range(9)))
    old_name.alive["old-name"] = address_of("me")
    orders = set()
    for seed in range(5):
        rig = NodeRig(seed=seed, snapshot=remembering(*(f"a{i}" for i in range(9))))
        orders.add(tuple(ip for group in whole_round(rig) for ip in group))
    assert len(orders) == 5

    rig = NodeRig(snapshot=old_name)
    assert address_of("me")[0] not in [ip for group in whole_round(rig) for ip in group]


def test_a_round_has_a_bound() -> None:
    rig = NodeRig(snapshot=remembering(*(f"a{i}" for i in range(300))))

    assert sum(map(len, whole_round(rig))) == MAX_PER_ROUND


def test_r15_somebody_alone_goes_on_looking_with_pauses_that_grow_to_a_bound() -> None:
    rig = NodeRig(snapshot=remembering("a"))
    tried_at = []
    for _ in range(9):
        refuse(rig, wake(rig))
        tried_at.append(rig.now)
        while not rig.node._rejoin or not (dialled := wake(rig)):
            rig.advance(0.25)
        refuse(rig, dialled)

    pauses = [round(b - a) for a, b in itertools.pairwise(tried_at)]
    assert pauses[0] <= 3
    assert all(15 <= pause <= 26 for pause in pauses[-3:])


def test_r17_a_node_that_lost_everybody_looks_for_them_within_ten_seconds() -> None:
    snapshot = Snapshot()
    rig = NodeRig(snapshot=snapshot, tcp_ping=False, reconnect_interval=3600.0)
    rig.learn("other")
    for _ in range(600):
        if rig.node.rejoining:
            break
        assert rig.node.take_dials() == []
        rig.advance(0.1)
    assert rig.node.rejoining
    lost_at = rig.now
    while not (dialled := rig.node.take_dials()):
        rig.advance(0.1)

    assert rig.now - lost_at <= LOOK_INTERVAL + 0.2
    assert [exchange.address for exchange in dialled] == [address_of("other")]
    assert snapshot.failed == {"other": address_of("other")}


def test_those_still_missing_are_tried_a_few_times_in_company_and_then_count_as_failed() -> None:
    snapshot = remembering("other", "lost", failed=("long-lost",))
    rig = NodeRig(snapshot=snapshot, reconnect_interval=3600.0)
    rig.learn("other")

    rounds = []
    for _ in range(1200):
        if dialled := wake(rig):
            rounds.append({exchange.address for exchange in dialled})
            refuse(rig, dialled)
        rig.advance(0.25)
        for record in rig.m.table:  # "other" answers every probe, so to say
            if record.info.name == "other" and record.status:
                rig.learn("other", incarnation=record.incarnation + 1)

    lost = {address_of("lost"), address_of("long-lost")}
    searches = [tried & lost for tried in rounds if tried & lost]
    assert searches == [lost] * (MISSING_ROUNDS - 1)
    assert list(snapshot.failed) == ["long-lost", "lost"]


def test_in_company_few_are_tried_at_a_time() -> None:
    rig = NodeRig(snapshot=remembering("other", *(f"a{i}" for i in range(50))))
    rig.learn("other")

    assert len(wake(rig)) == MISSING_TOGETHER


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_who_leaves_no_longer_looks(seconds: float) -> None:
    rig = NodeRig(snapshot=remembering("a"))
    rig.advance(seconds)
    dialled = wake(rig)
    rig.node.leave(rig.now)
    refuse(rig, dialled)

    rig.advance(60)

    assert wake(rig) == []
