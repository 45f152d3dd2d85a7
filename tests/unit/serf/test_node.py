"""The node: user events, intents, force-leave, reaping, reconnecting, and what push/pull carries."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from gossip.errors import ConfigError, LimitError
from gossip.events import MemberStatus, UserEvent
from gossip.serf.node import Node
from gossip.swim.members import NodeInfo, Status
from gossip.wire.messages import Dead, UserMessage
from gossip.wire.serf import (
    ConflictResponse,
    JoinIntent,
    LeaveIntent,
    QueryResponse,
    SerfMessage,
    StateSync,
    decode_serf,
    decode_tags,
    encode_tags,
)
from tests.rigs import PORT, VSN, NodeRig, address_of, alive, answer, ip_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.events import Member

ALIVE, LEAVING, LEFT, FAILED = (
    MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.LEFT, MemberStatus.FAILED,
)  # fmt: skip


def rig_with(*names: str, **settings: Any) -> NodeRig:
    rig = NodeRig(**settings)
    rig.learn(*names)
    return rig


def rig_at(status: MemberStatus, **settings: Any) -> NodeRig:
    """A rig in which ann has this status, and bob is alive."""
    rig = rig_with("ann", "bob", **settings)
    if status is LEAVING:
        rig.hear_serf(LeaveIntent(5, "ann"))
    elif status is FAILED:
        rig.hear(Dead(1, "ann", "bob"))
    elif status is LEFT:
        rig.hear(Dead(1, "ann", "ann"))
    rig.quiet()
    assert rig.status("ann") is status
    return rig


def user_events(rig: NodeRig) -> list[UserEvent]:
    return [event for event in rig.events() if isinstance(event, UserEvent)]


def state(**fields: Any) -> StateSync:
    given: dict[str, Any] = {
        "ltime": 1, "status_ltimes": {}, "left_members": [], "event_ltime": 1, "events": [],
        "query_ltime": 1,
    }  # fmt: skip
    return StateSync(**(given | fields))


# User events of our own


def test_firing_tells_ourselves_and_queues_the_event_with_the_clocks_time() -> None:
    rig = rig_with("ann")
    rig.node.event_clock.time = 7

    ltime = rig.node.user_event("deploy", b"v1", rig.now)

    event = UserEvent(7, "deploy", b"v1", coalesce=True)
    assert ltime == 7
    assert rig.node.event_clock.time == 8
    assert user_events(rig) == [event]
    assert rig.queued("events") == [event]


def test_s11_events_of_one_node_have_rising_times() -> None:
    rig = rig_with("ann")

    assert [rig.node.user_event("x", b"", rig.now) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "payload"),
    [("n" * 200, bytes(313)), ("", bytes(513)), ("n" * 513, b""), ("é" * 257, b"")],
)
def test_r30_name_and_payload_over_the_limit_are_refused(name: str, payload: bytes) -> None:
    rig = rig_with("ann")
    size = len(name.encode()) + len(payload)

    with pytest.raises(LimitError, match=f"user event of {size} bytes exceeds the limit of 512"):
        rig.node.user_event(name, payload, rig.now)

    assert rig.node.event_clock.time == 1
    assert user_events(rig) == []
    assert rig.queued("events") == []


@pytest.mark.parametrize("limit", [512, 1000, 9216])
def test_r30_the_encoded_event_may_have_exactly_the_limit(limit: int) -> None:
    rig = rig_with("ann", user_event_size_limit=limit)
    fits = limit
    while len(UserEvent(1, "deploy", bytes(fits), coalesce=True).encode()) > limit:
        fits -= 1

    with pytest.raises(LimitError, match=f"user event of {limit + 1} bytes, encoded, exceeds the"):
        rig.node.user_event("deploy", bytes(fits + 1), rig.now)
    rig.node.user_event("deploy", bytes(fits), rig.now)

    assert [len(event.encode()) for event in user_events(rig)] == [limit]


def test_r30_the_limit_itself_has_a_limit() -> None:
    with pytest.raises(ConfigError, match="user_event_size_limit 9217"):
        NodeRig(user_event_size_limit=9217)


def test_an_event_too_large_for_a_packet_is_counted_and_left_to_push_pull() -> None:
    rig = rig_with("ann", user_event_size_limit=9216)

    rig.node.user_event("deploy", bytes(2000), rig.now)

    assert rig.stats["broadcasts_too_large"] == 1
    assert rig.queued("events") == []
    assert rig.node.ring.snapshot() == [(1, [("deploy", bytes(2000))])]


def test_a_pause_is_asked_for_when_the_pool_fires_faster_than_its_ring_turns() -> None:
    rig = rig_with("ann", "bob")

    fired = 0
    while not rig.node.event_pause(rig.now):
        rig.node.user_event("x", b"", rig.now)
        fired += 1

    assert fired == 102
    assert 0 < rig.node.event_pause(rig.now) <= 0.125


def test_a_node_of_no_pool_fires_as_fast_as_it_likes() -> None:
    rig = rig_with()

    for _ in range(2_000):
        assert rig.node.event_pause(rig.now) == 0
        rig.node.user_event("x", b"", rig.now)

    rig.hear(alive("ann"))
    assert rig.node.event_pause(rig.now) == 0, "the ring has not turned while ann was here"
    for _ in range(102):
        rig.node.user_event("x", b"", rig.now)
    assert rig.node.event_pause(rig.now) > 0


# User events of others


def test_a_new_event_is_told_and_passed_on_byte_for_byte() -> None:
    rig = rig_with("ann", "bob")
    odd = UserMessage(b"\x03" + bytes.fromhex("85") + b"".join([
        b"\xa5LTime\x04", b"\xa4Name\xa1x", b"\xa7Payload\xa0", b"\xa2CC\xc2", b"\xa3New\xc3",
    ]))  # fmt: skip

    rig.hear(odd, source=address_of("ann"))

    assert user_events(rig) == [UserEvent(4, "x", b"", coalesce=False)]
    assert [b.message for tier in rig.m.dissemination.events._tiers for b in tier] == [odd.encode()]
    assert rig.node.event_clock.time == 5


def test_s10_an_event_is_told_and_passed_on_once() -> None:
    rig = rig_with("ann", "bob")
    event = UserEvent(4, "x", b"", coalesce=True)
    rig.hear_serf(event)
    rig.quiet()

    rig.hear_serf(event)
    rig.hear_serf(UserEvent(4, "x", b"", coalesce=False))  # the same to Serf, not the same bytes

    assert user_events(rig) == []
    assert rig.queued("events") == []
    assert rig.stats["messages_heard_again"] == 1
    assert rig.stats["events_duplicate"] == 1


def test_an_event_that_still_waits_to_be_passed_on_is_not_even_decoded_again() -> None:
    rig = rig_with("ann", "bob", "cat")
    event = UserEvent(4, "x", b"", coalesce=True)
    rig.hear_serf(event, source=address_of("ann"))

    rig.hear_serf(event, source=address_of("bob"))

    assert rig.stats["messages_heard_again"] == 1
    assert rig.stats["events_duplicate"] == 0


def test_an_event_too_old_is_counted_and_not_told() -> None:
    rig = rig_with("ann", "bob")
    rig.node.event_clock.time = 1000

    rig.hear_serf(UserEvent(487, "x", b"", coalesce=True), UserEvent(488, "y", b"", coalesce=True))

    assert [event.name for event in user_events(rig)] == ["y"]
    assert rig.stats["events_too_old"] == 1


def test_r43_a_poisoned_time_is_refused_reported_and_changes_nothing() -> None:
    rig = rig_with("ann", "bob")
    for bad in (2**32 + 2, 2**63, 2**64 - 1):
        rig.hear_serf(
            UserEvent(bad, "x", b"", coalesce=True), JoinIntent(bad, "ann"), LeaveIntent(bad, "ann")
        )
    rig.hear_serf(UserEvent(1, "y", b"", coalesce=True))

    assert [event.name for event in user_events(rig)] == ["y"]
    assert rig.node.event_clock.time == 2
    assert rig.node.member_clock.time == 1
    assert rig.status("ann") is ALIVE
    assert rig.stats["ltimes_refused"] == 9
    assert (
        rig.node.take_notices()[0] == "Lamport time 4294967298 is more than 4294967296 ahead of 1"
    )


def test_coalescing_delivers_same_named_events_once() -> None:
    rig = rig_with("ann", coalesce_period=3.0, quiescent_period=1.0)

    for payload in (b"1", b"2"):
        rig.node.user_event("deploy", payload, rig.now)
    at_once = rig.events()
    rig.advance(1.01)

    assert at_once == []
    assert user_events(rig) == [UserEvent(2, "deploy", b"2", coalesce=True)]


# Intents


@pytest.mark.parametrize("intent", [JoinIntent(5, "ann"), LeaveIntent(5, "ann")])
def test_an_intent_newer_than_what_is_held_is_passed_on_once(intent: SerfMessage) -> None:
    rig = rig_with("ann", "bob")

    rig.hear_serf(intent)
    passed_on = rig.queued("intents")
    rig.quiet()
    rig.hear_serf(intent)

    assert passed_on == [intent]
    assert rig.queued("intents") == []
    assert rig.node.member_clock.time == 6


def test_an_older_intent_only_moves_the_clock() -> None:
    rig = rig_with("ann", "bob")
    rig.hear_serf(JoinIntent(5, "ann"))
    rig.quiet()

    rig.hear_serf(LeaveIntent(5, "ann"), LeaveIntent(4, "ann"))

    assert rig.status("ann") is ALIVE
    assert rig.queued("intents") == []
    assert rig.node.member_clock.time == 6


def test_r21_intents_about_the_unknown_are_passed_on_and_apply_when_they_come() -> None:
    rig = rig_with("bob")

    rig.hear_serf(LeaveIntent(5, "ann"), LeaveIntent(4, "ann"), JoinIntent(7, "cat"))
    passed_on = rig.queued("intents")
    rig.hear(alive("ann"), alive("cat"))

    assert passed_on == [LeaveIntent(5, "ann"), JoinIntent(7, "cat")]
    assert (rig.status("ann"), rig.status("cat")) == (LEAVING, ALIVE)


def test_r21_intents_about_the_unknown_expire() -> None:
    rig = rig_with("bob", recent_intent_timeout=60.0, reap_interval=15.0)
    rig.hear_serf(LeaveIntent(5, "ann"))

    rig.advance(76)

    assert len(rig.node.intents.early) == 0


@pytest.mark.parametrize("order", list(permutations([5, 6, 9])))
def test_r20_leave_intents_of_several_times_are_each_passed_on_at_most_once(
    order: tuple[int, ...],
) -> None:
    rig = rig_with("ann", "bob", "cat")
    passed_on: list[SerfMessage] = []
    for _ in range(3):
        for ltime in order:
            rig.hear_serf(LeaveIntent(ltime, "ann"))
            passed_on += rig.queued("intents")
            rig.quiet()

    times = [intent.ltime for intent in passed_on if isinstance(intent, LeaveIntent)]
    assert times == sorted(set(times))  # each newer than all before
    assert times[-1] == 9


def test_r20_a_leave_intent_about_us_is_refuted_with_a_newer_join_and_not_passed_on() -> None:
    rig = rig_with("ann", "bob")

    rig.hear_serf(LeaveIntent(5, "me"))

    assert rig.status("me") is ALIVE
    assert rig.queued("intents") == [JoinIntent(6, "me")]
    assert rig.stats["leave_intents_refuted"] == 1


def test_r20_copies_of_a_refuted_leave_intent_are_not_refuted_again() -> None:
    rig = rig_with("ann", "bob")
    rig.hear_serf(LeaveIntent(5, "me"))
    rig.quiet()

    rig.hear_serf(LeaveIntent(5, "me"), LeaveIntent(6, "me"), LeaveIntent(4, "me"))

    assert rig.queued("intents") == []
    assert rig.stats["leave_intents_refuted"] == 1


# Force-leave


def test_r19_force_leave_makes_left_of_failed_and_is_told_to_all() -> None:
    rig = rig_at(FAILED)
    rig.node.member_clock.time = 9
    told: list[float] = []

    assert rig.node.force_leave("ann", rig.now, on_told=told.append)

    assert rig.status("ann") is LEFT
    assert rig.told() == [("left", "ann")]
    assert rig.queued("intents") == [LeaveIntent(9, "ann", prune=False)]
    assert rig.node.member_clock.time == 10
    rig.advance(2)
    assert len(told) == 1


def test_r19_force_leave_of_a_running_member_makes_it_leaving_until_it_refutes() -> None:
    rig = rig_with("ann", "bob")

    rig.node.force_leave("ann", rig.now)
    forced = rig.status("ann")
    rig.hear_serf(JoinIntent(2, "ann"), source=address_of("ann"))

    assert forced is LEAVING
    assert rig.status("ann") is ALIVE


def test_force_leave_of_nobody_is_false_and_does_nothing() -> None:
    rig = rig_with("ann")

    assert not rig.node.force_leave("somebody", rig.now)
    assert rig.queued("intents") == []
    assert rig.node.member_clock.time == 1


def test_force_leave_with_nobody_to_tell_is_told_at_once() -> None:
    rig = rig_with("ann")
    rig.hear(Dead(1, "ann", "bob"))
    told: list[float] = []

    rig.node.force_leave("ann", rig.now, on_told=told.append)

    assert told == [rig.now]
    assert rig.status("ann") is LEFT


@pytest.mark.parametrize("status", [FAILED, LEFT])
def test_r19_pruning_the_gone_forgets_them_at_once_and_an_old_alive_does_not_restore_them(
    status: MemberStatus,
) -> None:
    rig = rig_at(status)

    rig.node.force_leave("ann", rig.now, prune=True)
    told = rig.told()
    rig.hear(alive("ann", 1), alive("ann", 0))

    assert told == ([("left", "ann")] if status is FAILED else []) + [("reaped", "ann")]
    assert rig.status("ann") is None


def test_a_prune_that_another_node_asked_for_forgets_too() -> None:
    rig = rig_at(FAILED)

    rig.hear_serf(LeaveIntent(9, "ann", prune=True))

    assert rig.told() == [("left", "ann"), ("reaped", "ann")]
    assert rig.queued("intents") == [LeaveIntent(9, "ann", prune=True)]


@pytest.mark.parametrize("before", [ALIVE, LEAVING])
def test_pruning_somebody_who_is_still_leaving_waits_for_the_leave(before: MemberStatus) -> None:
    rig = rig_at(before)
    rig.m.prober.stop()

    rig.node.force_leave("ann", rig.now, prune=True)
    rig.advance(3)
    rig.hear(Dead(1, "ann", "ann"))
    rig.advance(2.9)  # broadcast timeout and propagation delay
    early = rig.told()
    rig.advance(0.2)

    assert early == [("left", "ann")]
    assert rig.told() == [("reaped", "ann")]


@pytest.mark.parametrize("before", [ALIVE, LEAVING])
def test_pruning_spares_somebody_who_goes_on_answering_unlike_in_serf(before: MemberStatus) -> None:
    rig = rig_at(before)
    rig.m.prober.stop()

    rig.node.force_leave("ann", rig.now, prune=True)
    rig.advance(7)
    soon = rig.status("ann")
    rig.advance(90)

    assert soon is LEAVING
    assert rig.status("ann") is ALIVE, "the leave that never came is over"


def test_pruning_spares_somebody_who_refuted_unlike_in_serf() -> None:
    rig = rig_with("ann", "bob")
    rig.m.prober.stop()

    rig.node.force_leave("ann", rig.now, prune=True)
    rig.hear_serf(JoinIntent(2, "ann"))
    rig.advance(7)

    assert rig.status("ann") is ALIVE


def test_nobody_prunes_us_while_we_leave() -> None:
    rig = rig_with("ann", "bob", broadcast_timeout=0.0, leave_propagate_delay=10.0)
    rig.node.leave(rig.now)

    rig.hear_serf(LeaveIntent(50, "me", prune=True))
    rig.advance(60)

    assert rig.status("me") is LEFT


# Forgetting and finding again


def test_the_gone_are_reaped_on_the_interval() -> None:
    rig = rig_at(FAILED, reconnect_timeout=20.0, reap_interval=15.0)

    rig.advance(45.1)

    assert ("reaped", "ann") in rig.told()
    assert rig.status("ann") is None


def test_reaping_shrinks_the_budget_of_events() -> None:
    rig = rig_with(*[f"node-{n}" for n in range(9)], tombstone_timeout=1.0, reap_interval=5.0)
    grown = rig.m.dissemination.events.limit
    for number in range(9):
        rig.hear(Dead(1, f"node-{number}", f"node-{number}"))

    rig.advance(6)

    assert (grown, rig.m.dissemination.events.limit) == (8, 4)


def test_r16_a_failed_member_is_dialed_again_about_once_per_interval() -> None:
    rig = rig_at(FAILED, reconnect_interval=30.0)  # one failed, two others: every second time
    rig.m.prober.stop()
    dialed = 0
    for _ in range(400):
        rig.advance(30)
        dials = rig.node.take_dials()
        assert all(dial.address == address_of("ann") for dial in dials)
        dialed += len(dials)
        for dial in dials:
            dial.fail("refused", rig.now)

    assert 160 <= dialed <= 240
    assert rig.status("ann") is FAILED


@pytest.mark.parametrize("status", [ALIVE, LEAVING, LEFT])
def test_only_the_failed_are_dialed_again(status: MemberStatus) -> None:
    rig = rig_at(status)
    rig.m.prober.stop()

    rig.advance(300)

    assert rig.node.take_dials() == []


def test_a_leaving_node_dials_nobody() -> None:
    rig = rig_at(FAILED, leave_propagate_delay=600.0)
    rig.node.leave(rig.now)

    rig.advance(500)

    assert rig.node.take_dials() == []


# Joining


def test_the_first_success_of_a_join_announces_us_once() -> None:
    rig = NodeRig()
    rig.quiet()
    exchanges = rig.node.join([address_of("ann"), address_of("bob")], rig.now)
    for exchange, name in zip(exchanges, ("ann", "bob"), strict=True):
        answer(exchange, rig.m.stream_codec, [], rig.now)
        assert exchange.error is None, name

    assert rig.queued("intents") == [JoinIntent(1, "me")]
    assert rig.node.member_clock.time == 2


def test_a_join_that_fails_announces_nothing() -> None:
    rig = NodeRig()
    (exchange,) = rig.node.join([address_of("ann")], rig.now)

    exchange.fail("refused", rig.now)

    assert rig.queued("intents") == []


def test_a_join_that_ends_after_we_began_to_leave_announces_nothing() -> None:
    rig = rig_with("bob")
    (exchange,) = rig.node.join([address_of("ann")], rig.now)
    rig.node.leave(rig.now)

    answer(exchange, rig.m.stream_codec, [], rig.now)

    assert rig.queued("intents") == [LeaveIntent(1, "me", prune=False)]
    assert rig.status("me") is LEAVING


# Push/pull


def test_our_state_tells_clocks_status_times_the_left_and_recent_events() -> None:
    rig = rig_at(LEFT)
    rig.hear_serf(JoinIntent(5, "bob"), UserEvent(8, "x", b"1", coalesce=True))
    rig.node.query_clock.time = 4

    sync = decode_serf(rig.m.delegate.local_state(join=False))

    assert sync == StateSync(
        ltime=6,
        status_ltimes={"me": 0, "ann": 0, "bob": 5},
        left_members=["ann"],
        event_ltime=9,
        events=[(8, [("x", b"1")])],
        query_ltime=4,
    )


def test_clocks_follow_a_peers_clocks() -> None:
    rig = rig_with("ann")

    rig.merge(state(ltime=7, event_ltime=8, query_ltime=9))

    clocks = (rig.node.member_clock, rig.node.event_clock, rig.node.query_clock)
    assert [clock.time for clock in clocks] == [7, 8, 9]


def test_clocks_of_zero_are_of_a_peer_without_any() -> None:
    rig = rig_with("ann")

    rig.merge(state(ltime=0, event_ltime=0, query_ltime=0))

    assert rig.node.member_clock.time == 1
    assert rig.stats["ltimes_refused"] == 0


def test_those_who_left_leave_and_the_others_join_as_of_their_times() -> None:
    rig = rig_with("ann", "bob")
    rig.hear(Dead(1, "ann", "bob"))
    rig.quiet()

    rig.merge(
        state(ltime=20, status_ltimes={"ann": 7, "bob": 9, "cat": 3}, left_members=["ann", "dan"])
    )

    ann, bob = rig.node.members.get("ann"), rig.node.members.get("bob")
    assert ann is not None
    assert bob is not None
    assert (rig.status("ann"), ann.status_ltime) == (LEFT, 8)
    assert (rig.status("bob"), bob.status_ltime) == (ALIVE, 9)
    assert rig.node.intents.early.get("cat") == JoinIntent(3, "cat")
    assert rig.node.intents.early.get("dan") == LeaveIntent(1, "dan", prune=False)
    assert rig.told() == [("left", "ann")]


def test_nothing_learned_from_a_push_pull_is_passed_on() -> None:
    rig = rig_with("ann", "bob")

    rig.merge(
        state(ltime=9, status_ltimes={"ann": 7}, left_members=["bob"], events=[(5, [("x", b"")])])
    )

    assert rig.queued("intents") == []
    assert rig.queued("events") == []


def test_a_peer_that_thinks_we_left_is_told_otherwise() -> None:
    rig = rig_with("ann")

    rig.merge(state(ltime=20, status_ltimes={"me": 7}, left_members=["me"]))

    assert rig.status("me") is ALIVE
    assert rig.queued("intents") == [JoinIntent(20, "me")]


def test_events_missed_by_gossip_arrive_with_a_push_pull_once() -> None:
    rig = rig_with("ann")
    rig.hear_serf(UserEvent(4, "x", b"", coalesce=True))
    rig.quiet()

    rig.merge(state(event_ltime=6, events=[(4, [("x", b""), ("y", b"1")]), (5, [("z", b"")])]))

    assert [(e.ltime, e.name, e.coalesce) for e in user_events(rig)] == [
        (4, "y", False),
        (5, "z", False),
    ]


def test_r37_a_join_may_ask_not_to_see_events_from_before_it() -> None:
    rig = NodeRig()
    old = state(event_ltime=6, events=[(4, [("x", b"")]), (5, [("y", b"")])])

    rig.merge(old, join=True, ignore_old=True)
    rig.merge(old)  # and so does every later exchange
    rig.hear_serf(UserEvent(5, "y", b"", coalesce=True), UserEvent(6, "z", b"", coalesce=True))

    assert [event.name for event in user_events(rig)] == ["z"]
    assert rig.stats["events_before_start"] == 5


def test_r37_only_our_own_join_hides_events() -> None:
    rig = NodeRig()
    old = state(event_ltime=6, events=[(4, [("x", b"")])])

    rig.merge(old, join=True)  # somebody joined us

    assert [event.name for event in user_events(rig)] == ["x"]


@pytest.mark.parametrize("clock", ["ltime", "event_ltime", "query_ltime"])
def test_r43_a_state_with_a_poisoned_clock_is_not_merged(clock: str) -> None:
    rig = rig_with("ann")

    rig.merge(state(**{clock: 2**40}, events=[(1, [("x", b"")])], left_members=["ann"]))

    clocks = (rig.node.member_clock, rig.node.event_clock, rig.node.query_clock)
    assert all(c.time <= 2 for c in clocks)
    assert user_events(rig) == []
    assert rig.status("ann") is ALIVE
    assert rig.stats["ltimes_refused"] == 1


def test_r43_one_poisoned_event_does_not_keep_the_others_out() -> None:
    rig = rig_with("ann")

    rig.merge(state(event_ltime=6, events=[(2**40, [("x", b"")]), (5, [("y", b"")])]))

    assert [event.name for event in user_events(rig)] == ["y"]
    assert rig.node.event_clock.time == 6


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"\x02\xc1", "messages_refused_pushPull"),
        (b"\x63", "messages_refused_serf"),
        (JoinIntent(1, "ann").encode(), "messages_unexpected_serf"),
    ],
)
def test_a_state_that_is_none_is_counted(data: bytes, counter: str) -> None:
    rig = NodeRig()

    rig.m.delegate.merge_remote_state(data, rig.now, join=False, ignore_old=False)

    assert rig.stats[counter] == 1


# Other messages


@pytest.mark.parametrize(
    ("payload", "counter"),
    [
        (b"", "messages_refused_serf"),
        (b"\x63abc", "messages_refused_serf"),
        (b"\x03\xc1", "messages_refused_userEvent"),
        (QueryResponse(1, 1, "ann", 0, b"").encode(), "query_responses_unexpected"),
        (ConflictResponse(None).encode(), "messages_unexpected_serf"),
        (StateSync(1, {}, [], 1, [], 1).encode(), "messages_unexpected_serf"),
    ],
)
def test_messages_that_do_not_belong_in_gossip_are_counted(payload: bytes, counter: str) -> None:
    rig = rig_with("ann")

    rig.hear(UserMessage(payload))

    assert rig.stats[counter] == 1
    assert rig.m.dissemination.events.fewest_transmits() is None


# Tags and admission


def test_r25_new_tags_are_told_and_shown() -> None:
    rig = rig_with("ann")

    rig.node.set_tags({"role": "db"}, rig.now)

    assert rig.told() == [("updated", "me")]
    assert decode_tags(rig.m.own.info.meta) == {"role": "db"}
    assert rig.m.own.incarnation == 2


def test_r30_tags_too_large_change_nothing() -> None:
    rig = rig_with("ann")

    with pytest.raises(ConfigError, match="exceed the limit of 512"):
        rig.node.set_tags({"role": "x" * 512}, rig.now)

    assert rig.m.own.incarnation == 1
    with pytest.raises(ConfigError, match="exceed the limit of 512"):
        NodeRig(tags={"role": "x" * 512})


def test_the_application_decides_who_may_be_a_member() -> None:
    def admit(members: Sequence[Member]) -> str | None:
        (m,) = members
        return f"{m.name} is of {m.tags['dc']}" if m.tags["dc"] != "east" else None

    rig = NodeRig(admit=admit)

    rig.hear(
        alive("ann", meta=encode_tags({"dc": "east"})),
        alive("bob", meta=encode_tags({"dc": "west"})),
    )

    assert rig.status("ann") is ALIVE
    assert rig.status("bob") is None
    assert rig.node.take_notices() == ["bob is of west"]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (Status.ALIVE, MemberStatus.ALIVE),
        (Status.SUSPECT, MemberStatus.ALIVE),
        (Status.DEAD, MemberStatus.FAILED),
        (Status.LEFT, MemberStatus.LEFT),
        (9, MemberStatus.ALIVE),
    ],
)
def test_the_application_is_told_what_newcomers_are_said_to_be(
    state: int, status: MemberStatus
) -> None:
    asked: list[Member] = []
    rig = NodeRig(admit=asked.extend)

    rig.node.membership.delegate.admit([(NodeInfo("ann", ip_of("ann"), PORT, b"", VSN), state)])

    assert [(member.name, member.status) for member in asked] == [("ann", status)]


def test_a_name_conflict_is_told_to_the_operator() -> None:
    rig = rig_with("ann")

    rig.hear(alive("ann", 2, addr=ip_of("elsewhere")))

    (notice,) = rig.node.take_notices()
    assert notice.startswith(f"name conflict: ann is at {address_of('ann')[0]}:7946, ")


# Bounds


def test_s13_a_queue_over_its_depth_drops_what_was_told_most() -> None:
    rig = rig_with("ann", "bob", max_queue_depth=10)

    for number in range(15):
        rig.hear_serf(UserEvent(number + 1, "x", b"", coalesce=True))

    assert len(rig.m.dissemination.events) == 10
    assert rig.stats["broadcasts_dropped"] == 5


def test_r21_the_depth_may_follow_the_members() -> None:
    rig = rig_with("ann", "bob", min_queue_depth=2)  # three members: six

    for number in range(15):
        rig.hear_serf(UserEvent(number + 1, "x", b"", coalesce=True))

    assert len(rig.m.dissemination.events) == 6


def test_our_address_may_be_ipv6() -> None:
    rig = NodeRig()
    node = Node(
        rig.node.config, bytes(15) + b"\1", 7946,
        rng=rig.m.rng, new_nonce=lambda: bytes(12), now=rig.now,
    )  # fmt: skip

    assert node.members.views()[0].addr == "::1"


# Leaves that are never undone


def test_r22_a_member_that_answers_long_after_its_leave_intent_is_alive_again() -> None:
    rig = NodeRig()
    rig.learn("ann")
    rig.m.prober.stop()
    # As a push/pull makes it of somebody's list of left members; the join that refutes it ties.
    rig.hear_serf(LeaveIntent(7, "ann"), JoinIntent(7, "ann"))
    stuck = rig.status("ann")

    rig.advance(59)
    before = rig.status("ann")
    rig.advance(20)

    assert (stuck, before, rig.status("ann")) == (LEAVING, LEAVING, ALIVE)


def test_r22_a_member_that_is_suspect_stays_leaving() -> None:
    rig = NodeRig()
    rig.learn("ann")
    rig.m.prober.stop()
    rig.hear_serf(LeaveIntent(7, "ann"))
    record = rig.m.table.get("ann")
    assert record is not None
    rig.m.table.set_status(record, Status.SUSPECT, rig.now)

    rig.advance(80)

    assert rig.status("ann") is LEAVING
