"""The graceful leave: the intent first, the farewell second, answers until both are believed."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.events import MemberStatus
from gossip.serf.leave import INTENT_LEAD, Lifecycle
from gossip.serf.tags import encode_own_tags
from gossip.wire.messages import Ack, Dead, Ping, UserMessage
from gossip.wire.serf import LeaveIntent, decode_serf, encode_tags
from tests.rigs import NodeRig, address_of

OURS, GENUINE = encode_own_tags({}), encode_tags({})
FAREWELL = Dead(1, "me", "me")


def rig_with(*names: str, meta: bytes = OURS, **settings: Any) -> NodeRig:
    rig = NodeRig(**settings)
    rig.learn(*names, meta=meta)
    return rig


def story(rig: NodeRig, seconds: float = 20.0) -> dict[str, Any]:
    """When intents and farewells went out, and when the node was done, counted from now.

    ``before`` is how many intents went out before the first farewell, in the order of sending.
    """
    start = rig.now
    told: dict[str, Any] = {"intent": [], "farewell": [], "left": [], "before": None}
    while rig.now < start + seconds:
        for message, _ in rig.sent():
            if message == FAREWELL:
                if told["before"] is None:
                    told["before"] = len(told["intent"])
                told["farewell"].append(rig.now - start)
            elif isinstance(message, UserMessage):
                assert isinstance(decode_serf(message.payload), LeaveIntent)
                told["intent"].append(rig.now - start)
        if rig.node.lifecycle is Lifecycle.LEFT:
            told["left"].append(rig.now - start)
            break
        due = rig.node.next_timeout()
        assert due is not None
        rig.now = max(due, rig.now)
        rig.node.handle_timeout(rig.now)
    return told


def test_among_our_own_kind_the_farewell_follows_in_a_moment() -> None:
    rig = rig_with("ann", "bob", "cat")

    rig.node.leave(rig.now)
    told = story(rig)

    assert told["intent"][:3] == [0.0] * 3  # everybody is told directly
    assert told["farewell"][:3] == pytest.approx([INTENT_LEAD] * 3, abs=1e-9)
    assert told["left"][0] == pytest.approx(1.2, abs=0.2)  # one tick and the propagation delay


def test_with_a_genuine_agent_in_the_pool_the_farewell_waits_for_all_copies_of_the_intent() -> None:
    rig = rig_with("ann", "bob", "cat")
    rig.learn("serf", meta=GENUINE)

    rig.node.leave(rig.now)
    told = story(rig)

    assert told["before"] == 4 + 4  # direct ones, and the retransmit limit of five members
    assert 0 < told["farewell"][0] < 1.0


def test_a_genuine_agent_that_is_gone_is_not_waited_for() -> None:
    rig = rig_with("ann", "bob")
    rig.learn("serf", meta=GENUINE)
    rig.hear(Dead(1, "serf", "ann"))
    rig.quiet()

    rig.node.leave(rig.now)

    assert story(rig)["farewell"][0] == pytest.approx(INTENT_LEAD)


def test_a_pool_too_large_to_be_told_directly_is_waited_for() -> None:
    rig = rig_with(*[f"node-{number}" for number in range(70)])

    rig.node.leave(rig.now)
    told = story(rig)

    assert told["intent"].count(0.0) >= 64
    assert told["before"] == 64 + 8


def test_alone_a_leave_is_done_at_once() -> None:
    rig = NodeRig()

    rig.node.leave(rig.now)
    rig.node.handle_timeout(rig.now)

    assert rig.node.lifecycle is Lifecycle.LEFT


def test_the_last_of_a_pool_whose_others_are_gone_is_done_at_once() -> None:
    rig = rig_with("ann")
    rig.hear(Dead(1, "ann", "ann"))
    rig.quiet()

    rig.node.leave(rig.now)
    rig.node.handle_timeout(rig.now)

    assert rig.node.lifecycle is Lifecycle.LEFT


@pytest.mark.parametrize("meta", [OURS, GENUINE])
@pytest.mark.parametrize("members", [1, 3, 80])
def test_r22_with_nobody_answering_a_leave_is_over_in_time(meta: bytes, members: int) -> None:
    rig = rig_with(*[f"node-{number}" for number in range(members)], meta=meta)

    rig.node.leave(rig.now)
    told = story(rig)

    assert told["left"][0] <= 5.0 + 1.0 + 1.0


@pytest.mark.parametrize("meta", [OURS, GENUINE])
def test_r22_with_a_backlog_that_never_ends_a_leave_is_over_in_time(meta: bytes) -> None:
    rig = rig_with("ann", "bob", meta=meta, broadcast_timeout=2.0, leave_propagate_delay=1.0)
    rig.m.dissemination.ring._ring.clear()  # nobody takes anything: nothing is ever told

    rig.node.leave(rig.now)

    assert story(rig)["left"][0] <= 2.0 + 1.0 + 2.0


def test_after_the_farewell_pings_are_still_answered() -> None:
    rig = rig_with("ann", leave_propagate_delay=1.0)
    rig.node.leave(rig.now)
    rig.advance(0.5)
    rig.sent()

    rig.hear(Ping(7, "me"), source=address_of("ann"))

    assert (Ack(7, rig.node.membership.delegate.ack_payload()), address_of("ann")) in rig.sent()
    assert rig.status("me") is MemberStatus.LEFT


def test_our_own_table_shows_us_leaving_and_then_left() -> None:
    rig = rig_with("ann")

    rig.node.leave(rig.now)
    first = rig.status("me")
    rig.advance(0.1)

    assert first is MemberStatus.LEAVING
    assert rig.status("me") is MemberStatus.LEFT
    assert ("left", "me") in rig.told()


def test_leaving_twice_is_leaving_once() -> None:
    rig = rig_with("ann")
    rig.node.leave(rig.now)
    rig.sent()

    rig.node.leave(rig.now)

    assert rig.sent() == []
    assert rig.node.member_clock.time == 2


def test_r20_a_leave_intent_about_a_leaving_node_is_not_refuted() -> None:
    rig = rig_with("ann")
    rig.node.leave(rig.now)

    rig.hear_serf(LeaveIntent(9, "me"))

    assert rig.stats["leave_intents_refuted"] == 0
    assert rig.status("me") is MemberStatus.LEAVING


def test_the_intent_is_newer_than_everything_heard_about_us() -> None:
    rig = rig_with("ann")
    rig.node.member_clock.time = 41
    rig.node.intents.announce_join(rig.now)
    rig.quiet()

    rig.node.leave(rig.now)

    sent = [decode_serf(m.payload) for m, _ in rig.sent() if isinstance(m, UserMessage)]
    assert sent[0] == LeaveIntent(42, "me", prune=False)


def test_h8_a_stall_during_the_leave_does_not_stop_it() -> None:
    rig = rig_with("ann", "bob")
    rig.node.leave(rig.now)
    rig.advance(0.05)

    rig.now += 60.0

    assert story(rig)["left"][0] <= 2.0
