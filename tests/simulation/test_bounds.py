"""R-51, R-52, R-54: what a node holds and does is bounded, whatever the cluster's size and the peers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gossip
from gossip.wire.messages import Ack, Alive, IndirectPing, Nack, Ping, Suspect, UserMessage
from gossip.wire.serf import JoinIntent, LeaveIntent, Query, UserEvent
from tests.rigs import PORT, STRANGER, VSN, NodeRig, address_of, ip_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gossip.swim.exchange import Exchange
    from gossip.wire.messages import Message

PACKAGE = str(Path(gossip.__file__).parent)


# connections


def test_r51_pings_over_tcp_that_nobody_answers_do_not_pile_up() -> None:
    rig = NodeRig(tcp_timeout=10.0)
    rig.learn(*[f"node-{number}" for number in range(300)])
    open_dials: list[Exchange] = []
    most = opened = 0

    for _ in range(1_200):  # four minutes in which every peer accepts and then says nothing
        rig.advance(0.2)
        for dial in rig.node.take_dials():
            dial.connected(rig.now)
            open_dials.append(dial)
            opened += 1
        for dial in open_dials:
            if dial.deadline <= rig.now:
                dial.handle_timeout(rig.now)
        open_dials = [dial for dial in open_dials if not dial.done]
        most = max(most, len(open_dials))

    assert opened > 20
    assert most <= 3


def test_r52_a_thousand_connections_that_say_nothing_leave_128_and_those_end_in_time() -> None:
    rig = NodeRig(tcp_timeout=10.0)

    accepted = [rig.node.accept(STRANGER, rig.now) for _ in range(1_000)]
    held = [exchange for exchange in accepted if exchange is not None]
    deadlines = {exchange.deadline for exchange in held}
    for exchange in held:
        exchange.handle_timeout(rig.now + 10)

    assert len(held) == 128
    assert deadlines == {rig.now + 10}
    assert rig.stats["streams_over_limit"] == 872
    assert rig.node.accept(STRANGER, rig.now) is not None


# work per packet


def lines_executed(action: Callable[[], object]) -> int:
    """Lines of this package that an action executes: a measure that no other load disturbs."""
    executed = 0

    def count(frame: FrameType, _event: str, _arg: object) -> object:
        nonlocal executed
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        executed += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]  # the stub wants a narrower return type
    try:
        action()
    finally:
        sys.settrace(before)
    return executed


def rig_of(size: int) -> NodeRig:
    rig = NodeRig()
    rig.learn(*[f"node-{number}" for number in range(size)])
    return rig


def event(number: int) -> Message:
    return UserMessage(UserEvent(number, "x", b"", coalesce=True).encode())


PACKETS: dict[str, Callable[[int], Message]] = {
    "ping": lambda n: Ping(n, "me", ip_of("node-1"), PORT, "node-1"),
    "indirect ping": lambda n: IndirectPing(n, ip_of("node-1"), PORT, "node-1", nack=True),
    "ack": Ack,
    "nack": Nack,
    "alive": lambda n: Alive(n, "node-1", ip_of("node-1"), PORT, b"", VSN),
    "suspect": lambda n: Suspect(n, "node-2", "node-1"),
    "suspect about ourselves": lambda n: Suspect(n, "me", "node-1"),
    "event": event,
    "join intent": lambda n: UserMessage(JoinIntent(n, "node-1").encode()),
    "leave intent": lambda n: UserMessage(LeaveIntent(n, f"unknown-{n}").encode()),
    "query": lambda n: UserMessage(
        Query(n, n, ip_of("node-1"), PORT, "node-1", [], 1, 0, 0, "_serf_ping", b"").encode()
    ),
}


@pytest.mark.parametrize("name", PACKETS)
def test_r54_the_work_of_a_packet_does_not_grow_with_the_cluster(name: str) -> None:
    def work(size: int) -> int:
        rig = rig_of(size)

        def twenty_packets() -> None:
            for number in range(2, 22):
                rig.hear(PACKETS[name](number), source=address_of("node-1"))

        return lines_executed(twenty_packets)

    assert work(1_500) <= work(30) * 1.2


def test_r54_the_work_of_a_timeout_does_not_grow_with_the_cluster() -> None:
    def work(size: int) -> float:
        rig = rig_of(size)
        for number in range(20):
            rig.hear(event(number + 1))

        return lines_executed(lambda: rig.advance(0.9))

    # More members mean more copies: 8 of each event, or 16.
    assert work(1_500) <= work(30) * 2.4
