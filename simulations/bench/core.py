"""What the core costs: the broadcast queue, probes, received packets, merges, and an idle pool.

Run ``python -m simulations.bench.core``; ``--help`` lists the options. Nothing is sent: nodes hand
their packets to one another under virtual time.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.serf.node import Node
from gossip.swim.broadcast import Broadcast, TransmitQueue
from gossip.wire.messages import Ack, Alive, Ping, PushPull, PushPullNode, UserMessage
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import StateSync, UserEvent
from gossip.wire.stream import StreamCodec
from simulations.bench.timing import Case, main
from simulations.bench.wire import COORDINATE, META, VERSIONS
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossip.wire.address import Address

START = 1000.0
PORT = 7946
LATENCY = 0.0005
NEVER = 3e7
"""The longest interval that can be configured, about a year."""
EVENTS_PER_PACKET = 18
FIRST_EVENT = 2**32
"""Lamport times that are all of the same length on the wire, so one packet can be filled in."""
PEER: Address = ("10.0.0.2", PORT)


def packed_ip(number: int) -> bytes:
    """The address of a numbered member."""
    return bytes((10, number >> 16, number >> 8 & 255, number & 255))


def new_node(number: int, **settings: float) -> Node:
    """A node, alone in its pool."""
    config = Config.lan(f"node-{number}", **settings)
    addr, rng = packed_ip(number), Random(number)
    return Node(config, addr, PORT, rng=rng, new_nonce=lambda: bytes(12), now=START)


def alive_message(number: int, incarnation: int = 1) -> bytes:
    """A numbered member says that it is alive."""
    node = f"node-{number}"
    return Alive(incarnation, node, packed_ip(number), PORT, META, VERSIONS).encode()


class Lone:
    """One node whose peers exist on paper only: it probes none, and news for them is lost."""

    def __init__(self, members: int) -> None:
        self.node = new_node(1, push_pull_interval=0, reconnect_interval=NEVER)
        self.node.membership.prober.stop()
        self.now = START
        for number in range(2, members + 1):
            self.node.receive_packet(alive_message(number), PEER, self.now)
        self.calm()

    def calm(self) -> None:
        """Let time pass until nothing is queued any more."""
        while len(self.node.membership.dissemination):
            self.advance(1.0)
        self.node.take_events()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (due := self.node.next_timeout()) is not None and due <= end:
            self.now = max(due, self.now)
            self.node.handle_timeout(self.now)
        self.now = end
        self.node.take_packets()

    def receive(self, data: bytes) -> None:
        """Take a packet in, and throw the answers away."""
        self.node.receive_packet(data, PEER, self.now)
        self.node.take_packets()


class Events:
    """Full packets of user events that nobody has seen, filled in so that making them costs little."""

    def __init__(self) -> None:
        packet = self._encoded(FIRST_EVENT)
        times = [(FIRST_EVENT + index).to_bytes(8) for index in range(EVENTS_PER_PACKET)]
        ends = [packet.index(time) for time in times]
        starts = [0, *(end + 8 for end in ends)]
        self._pieces = [packet[start:end] for start, end in zip(starts, ends, strict=False)]
        self._rest = packet[starts[-1] :]
        self._times = count(FIRST_EVENT)

    def next(self) -> bytes:
        """One more packet."""
        pieces = [piece + next(self._times).to_bytes(8) for piece in self._pieces]
        return b"".join([*pieces, self._rest])

    @staticmethod
    def _encoded(first: int) -> bytes:
        events = [
            UserEvent(ltime, "deploy", b"x" * 30, coalesce=False)
            for ltime in range(first, first + EVENTS_PER_PACKET)
        ]
        parts = [UserMessage(event.encode()).encode() for event in events]
        return PacketCodec(new_nonce=bytes).encode(parts)[0]


def joined(nodes: int) -> World:
    """A pool in which everybody has joined the first at once, and all see all."""
    world = World()
    hosts = [world.add(f"node-{number}") for number in range(nodes)]
    for host in hosts:
        host.keep_events = False
    for host in hosts[1:]:
        world.join(host, hosts[0])
    world.run_until(lambda: all(len(host.node.members) == nodes for host in hosts), 20, every=0.001)
    return world


def queue_cases() -> Iterator[Case]:
    """Pushing and taking while so many messages are queued."""
    for queued in (10, 1000, 100_000):
        index: dict[bytes, Broadcast] = {}
        queue = TransmitQueue(index, lambda _addresses: False)
        queue.limit = 4
        numbers = count()

        def push(queue: TransmitQueue = queue, numbers: Iterator[int] = numbers) -> None:
            queue.push(next(numbers).to_bytes(70), START)

        for _ in range(queued):
            push()

        def push_and_take(
            queue: TransmitQueue = queue, push: Callable[[], None] = push, most: int = queued
        ) -> None:
            push()
            # Four copies leave for one message that comes, so the queue keeps its length.
            while len(queue) > most:
                queue.take([], 72 * EVENTS_PER_PACKET, PEER, START)

        yield Case(f"queue of {queued}: push, and its share of packets", push_and_take)


def probe_cases() -> Iterator[Case]:
    """A probe round: tick, ping, ack; and the other side of it."""
    pair = Lone(2)
    prober, sequence = pair.node, count(1)
    prober.membership.prober.start(pair.now)

    def probe() -> None:
        sent: list[tuple[bytes, Address]] = []
        while not sent:
            now = prober.next_timeout() or START
            prober.handle_timeout(now)
            sent = prober.take_packets()
        prober.receive_packet(Ack(next(sequence), COORDINATE).encode(), PEER, now + LATENCY)
        if prober.stats["probes_failed"]:
            raise RuntimeError("a probe was not answered")

    probe()
    yield Case("probe round", probe)

    probed = Lone(30)
    ping = Ping(7, "node-1", packed_ip(2), PORT, "node-2").encode()
    yield Case("receive a ping and answer", partial(probed.receive, ping), len(ping))


def packet_cases() -> Iterator[Case]:
    """Packets of news for a member of a pool of 30."""
    knowing, events = Lone(30), Events()

    def pass_on() -> None:
        knowing.receive(events.next())
        knowing.advance(0.1)

    size = len(Events().next())
    yield Case("receive 18 new events, and pass them on", pass_on, size)

    waiting = Lone(30)
    packet = Events().next()
    waiting.receive(packet)
    yield Case("receive 18 events that wait here", partial(waiting.receive, packet), size)
    told = Lone(30)
    packet = Events().next()
    told.receive(packet)
    told.calm()
    yield Case("receive 18 events that were told", partial(told.receive, packet), size)

    known = Lone(30)
    alive = alive_message(2)
    yield Case("receive an alive that was told", partial(known.receive, alive), len(alive))
    older = alive_message(2, 0)
    yield Case("receive an alive of a known member", partial(known.receive, older), len(older))


def state(members: int) -> PushPull:
    """A push/pull of the pool that `Lone` is in."""
    nodes = [
        PushPullNode(f"node-{number}", packed_ip(number), PORT, META, 1, 0, VERSIONS)
        for number in range(2, members + 1)
    ]
    serf = StateSync(9, dict.fromkeys((node.name for node in nodes), 5), [], 9, [], 9)
    return PushPull(join=False, nodes=nodes, user_state=serf.encode())


def merge_cases() -> Iterator[Case]:
    """Push/pull exchanges with a peer that knows nothing new, accepted and answered."""
    codec = StreamCodec(new_nonce=lambda: bytes(12))
    for members in (60, 1000):
        lone = Lone(members)
        data = codec.encode(state(members).encode(), dialer=True)

        def exchange(lone: Lone = lone, data: bytes = data) -> None:
            inbound = lone.node.accept(PEER, lone.now)
            if inbound is None:
                raise RuntimeError("too many streams for a benchmark")
            inbound.receive_data(data, lone.now)
            while inbound.busy:
                inbound.work(lone.now)
            inbound.data_to_send()

        yield Case(f"accept a push/pull of {members} members", exchange, len(data))


def pool_cases() -> Iterator[Case]:
    """Whole pools."""
    idle = joined(10)
    idle.run(30)
    yield Case("a second of an idle node, in a pool of 10", partial(idle.run, 0.1))
    yield Case("16 nodes join at once", lambda: joined(16))


def cases() -> Iterator[Case]:
    """All that is measured."""
    yield from queue_cases()
    yield from probe_cases()
    yield from packet_cases()
    yield from merge_cases()
    yield from pool_cases()


if __name__ == "__main__":
    sys.exit(main("Measure what the core costs, in ns per operation.", cases))
