"""R-56, S14: no message sets off an endless chain of others, and none much larger than itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gossip.swim.awareness import Awareness
from gossip.wire.address import parse_ip
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Nack,
    Ping,
    Suspect,
    UserMessage,
)
from gossip.wire.serf import JoinIntent, LeaveIntent, Query, QueryResponse, Relay, UserEvent
from simulations.chains import depths_of
from simulations.checkers import CHECKERS
from simulations.watch import Watch
from simulations.world import World
from tests.helpers import Host, Pool
from tests.rigs import VSN

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address
    from gossip.wire.messages import Message
    from gossip.wire.serf import SerfMessage
    from simulations.chains import Depths

DEEPEST = 8


def user(message: SerfMessage) -> UserMessage:
    return UserMessage(message.encode())


def place(host: Host) -> tuple[bytes, int, str]:
    return parse_ip(host.address[0]), host.address[1], host.name


def query(host: Host) -> Query:
    """A query whose answers go to another member."""
    addr, port, name = place(host)
    return Query(50, 7, addr, port, name, [], 1, 3, 10**9, "_serf_conflict", b"somebody")


def nested_relay(hosts: list[Host]) -> Relay:
    """A relay in a relay in a relay ..., each to the next member."""
    inner: bytes = UserEvent(60, "x", b"", coalesce=True).encode()
    for turn in range(20):
        addr, port, name = place(hosts[turn % len(hosts)])
        inner = Relay(addr, port, name, inner).encode()
    addr, port, name = place(hosts[0])
    return Relay(addr, port, name, inner)


HOSTILE: dict[str, Callable[[list[Host]], Message]] = {
    "ping whose ack goes to another": lambda h: Ping(1, h[0].name, *place(h[1])),
    "ping whose ack comes back to us": lambda h: Ping(1, h[0].name, *place(h[0])),
    "ping for anybody": lambda h: Ping(1, "", *place(h[1])),
    "ack": lambda _h: Ack(1),
    "nack": lambda _h: Nack(1),
    "indirect ping of ourselves": lambda h: IndirectPing(1, *place(h[0]), True, *place(h[0])),
    "indirect ping for another": lambda h: IndirectPing(1, *place(h[1]), True, *place(h[2])),
    "indirect ping of nobody": lambda h: IndirectPing(
        1, b"\x0a\x63\0\1", 7946, "x", True, *place(h[1])
    ),
    "suspect": lambda h: Suspect(1, h[1].name, h[2].name),
    "suspect about the receiver": lambda h: Suspect(1, h[0].name, h[1].name),
    "stale suspect": lambda h: Suspect(0, h[0].name, h[1].name),
    "dead": lambda h: Dead(1, h[1].name, h[2].name),
    "farewell": lambda h: Dead(1, h[1].name, h[1].name),
    "alive of a stranger": lambda _h: Alive(1, "new", b"\x0a\x63\0\1", 7946, b"", VSN),
    "alive of the receiver": lambda h: Alive(9, h[0].name, *place(h[0])[:2], b"", VSN),
    "alive elsewhere": lambda h: Alive(9, h[1].name, b"\x0a\x63\0\1", 7946, b"", VSN),
    "event": lambda _h: user(UserEvent(50, "x", b"", coalesce=True)),
    "join intent": lambda h: user(JoinIntent(50, h[1].name)),
    "leave intent": lambda h: user(LeaveIntent(50, h[1].name)),
    "leave intent about the receiver": lambda h: user(LeaveIntent(50, h[0].name)),
    "prune": lambda h: user(LeaveIntent(50, h[1].name, prune=True)),
    "query": lambda h: user(query(h[1])),
    "query answered to the receiver": lambda h: user(query(h[0])),
    "query response": lambda h: user(QueryResponse(1, 1, h[1].name, 0, b"")),
    "relay": lambda h: user(Relay(*place(h[1]), b"\x05")),
    "relay to the receiver": lambda h: user(Relay(*place(h[0]), b"\x05")),
    "nested relays": lambda h: user(nested_relay(h)),
}


class Sounding(Watch):
    """Notes for each packet that is sent how long the chain is that it ends."""

    def __init__(self) -> None:
        super().__init__([])
        self.depths: list[int] = []

    def packet_sent(self, host: Host, data: bytes, address: Address) -> Depths:
        depths = super().packet_sent(host, data, address)
        self.depths.append(max(depths.values()))
        return depths


@pytest.fixture(scope="module")
def chains() -> dict[str, tuple[int, int, int]]:
    """For each message: the longest chain it set off, the packets of it, and those still queued."""
    results = {}
    for name, make in HOSTILE.items():
        sounding = Sounding()
        pool = Pool(seed=1, watch=sounding)
        hosts = pool.joined(8)
        pool.run(6)  # everything of the start has been told
        before = len(sounding.depths)
        for source in (hosts[3].address, ("192.0.2.1", 7946)):
            pool.inject(hosts[0], make(hosts).encode(), source)
        pool.run(6)
        depths = sounding.depths[before:]
        for _ in range(40):  # a member that does not exist is found out, and that is news in turn
            queued = sum(len(host.node.membership.dissemination) for host in hosts)
            if queued:
                pool.run(0.5)
        results[name] = (max(depths), len(depths), queued)
    return results


@pytest.mark.parametrize("name", HOSTILE)
def test_r56_no_message_sets_off_an_endless_chain(
    name: str, chains: dict[str, tuple[int, int, int]]
) -> None:
    deepest, packets, queued = chains[name]

    assert deepest <= DEEPEST
    assert (
        packets <= 8 * 6 * 4 + 3 * 8 * 8 * 2
    )  # six seconds of probes, and the news of both copies
    assert queued == 0


def test_a_chain_is_one_of_messages_and_what_had_waited_begins_anew() -> None:
    """Seed 1296 of the campaign of 15 minutes: in turmoil one piece of news after the other took a ride."""
    pool = Pool(seed=1)
    host, other, _ = pool.joined(3)
    pool.run(6)
    passed_on, waiting, made_now = (Ack(number).encode() for number in range(3))
    host.node.membership.dissemination.events.push(waiting, pool.now, source=other.address)
    (packet,) = host.node.membership.packet_codec.encode([passed_on, waiting, made_now])

    host.heard = (pool.now, {passed_on: 5, b"something else": 7})
    at_once = depths_of(host, packet, pool.now)
    later = depths_of(host, packet, pool.now + 0.1)

    assert at_once == {passed_on: 6, waiting: 1, made_now: 8}
    assert later == {passed_on: 1, waiting: 1, made_now: 1}


ANSWERED = [
    "ping whose ack goes to another", "ping for anybody", "indirect ping for another", "relay",
    "nested relays", "ack", "nack", "stale suspect", "query response", "alive elsewhere",
]  # fmt: skip


@pytest.mark.parametrize("name", ANSWERED)
def test_s14_answers_to_a_stranger_are_not_much_larger_than_its_question(name: str) -> None:
    pool = Pool(seed=2)
    hosts = pool.joined(8)
    pool.run(6)
    pool.fire(hosts[0], "x", bytes(300))  # news that could ride along
    question = HOSTILE[name](hosts).encode()
    pool.run(0.001)

    hosts[0].node.receive_packet(question, ("192.0.2.1", 7946), pool.now)
    answers = hosts[0].node.take_packets()

    assert sum(len(data) for data, _ in answers) <= 3 * len(question)


def test_s14_probes_that_begin_when_a_late_ack_comes_are_no_chain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seed 3 of the campaign of 15 minutes: a node in doubt of itself waits longer than an interval."""
    monkeypatch.setattr(Awareness, "apply", lambda _self, _delta: None)
    watch = Watch(CHECKERS)
    world = World(3, watch=watch)
    hosts = [world.add("one"), world.add("two")]
    world.join(*hosts)
    world.run(3)
    for host in hosts:
        host.node.membership.awareness.score = 3
    world.network.weather.latency = 0.7
    before = world.packets_sent

    world.run(120)

    assert watch.violations == []
    assert world.packets_sent - before > 200
