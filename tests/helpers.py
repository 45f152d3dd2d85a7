"""Pools of nodes under virtual time: a fake network with a clock, for tests of the core."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from gossip.config import Config
from gossip.events import Event, MemberStatus, QueryAck, QueryAnswer, QueryReceived, QueryReply
from gossip.serf.asking import Question
from gossip.serf.leave import Lifecycle
from gossip.serf.node import Node
from gossip.wire.address import parse_ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.serf.asking import Collector
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address

__all__ = ["Asked", "Host", "Pool"]


class Host:
    """One machine of a pool: a node, what it told its application, and whether it runs."""

    def __init__(self, node: Node, address: Address) -> None:
        self.node = node
        self.address = address
        self.events: list[Event] = []
        self.notices: list[str] = []
        self.running = True
        self.answers: Callable[[QueryReceived], bytes | None] | None = None
        """What its application answers to queries."""
        self.paused_until = 0.0
        self.wake_at: float | None = None
        self.heard: tuple[float, int] = (
            0.0,
            0,
        )  # when it got its last packet, and how deep that was

    @property
    def name(self) -> str:
        return self.node.config.name

    def statuses(self) -> dict[str, MemberStatus]:
        return {member.name: member.status for member in self.node.members.views()}

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Asked:
    """A query of one of a pool's nodes, and what came back when."""

    def __init__(self) -> None:
        self.collector: Collector | None = None
        self.replies: list[tuple[float, QueryReply]] = []
        self.closed_at: list[float] = []

    def acks(self) -> list[str]:
        return sorted(reply.node for _, reply in self.replies if isinstance(reply, QueryAck))

    def answers(self) -> dict[str, bytes]:
        return {r.node: r.payload for _, r in self.replies if isinstance(r, QueryAnswer)}


class Pool:
    """Nodes joined by a network with latency, and optionally loss and cuts, in virtual time."""

    def __init__(self, seed: int = 1, *, latency: float = 0.0005, **settings: Any) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        self.latency = latency
        self.loss = 0.0
        self.settings = settings
        self.hosts: dict[str, Host] = {}
        self.by_address: dict[Address, Host] = {}
        self.cut: Callable[[Host, Host], bool] = lambda _a, _b: False
        """Tells whether nothing from the one reaches the other."""
        self.udp_cut: Callable[[Host, Host], bool] = lambda _a, _b: False
        """Tells the same about packets only."""
        self.buffers = True
        """Whether packets to somebody who is paused wait for it, or are lost."""
        self.packets_sent = 0
        self.bytes_sent = 0
        self.trace: list[tuple[float, str, str, bytes]] = []
        self.depths: list[int] = []
        """For each packet of the trace, how long the chain is of packets that led to it: it follows
        from the one that its sender got at the very same moment."""
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._added = 0

    def add(self, name: str, *, ip: str | None = None, port: int = 7946, **settings: Any) -> Host:
        ip = ip or f"10.0.{self._added // 250}.{self._added % 250 + 1}"
        self._added += 1
        options: dict[str, Any] = {"admit": settings.pop("admit", None)}
        options["keyring"] = settings.pop("keyring", None)
        options["snapshot"] = settings.pop("snapshot", None)
        config = Config.lan(name, **(self.settings | settings))
        rng = random.Random(self.rng.random())
        node = Node(
            config,
            parse_ip(ip),
            port,
            rng=rng,
            new_nonce=lambda: rng.randbytes(12),
            now=self.now,
            **options,
        )
        host = Host(node, (ip, port))
        self.hosts[name] = host
        self.by_address[host.address] = host
        self.drain(host)
        return host

    def add_many(self, count: int, **settings: Any) -> list[Host]:
        return [self.add(f"node-{index:03}", **settings) for index in range(count)]

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    # Doing things

    def join(self, host: Host, other: Host, **options: Any) -> Exchange:
        exchange = host.node.join([other.address], self.now, **options)[0]
        self.drain(host)
        return exchange

    def joined(self, count: int, **settings: Any) -> list[Host]:
        """`count` nodes that have joined the first one and see each other."""
        hosts = self.add_many(count, **settings)
        for host in hosts[1:]:
            self.join(host, hosts[0])
        self.run_until(lambda: all(map(self.sees_all_alive, hosts)), 20, every=0.02)
        return hosts

    def fire(self, host: Host, name: str, payload: bytes = b"", **options: Any) -> int:
        ltime = host.node.user_event(name, payload, self.now, **options)
        self.drain(host)
        return ltime

    def ask(self, host: Host, name: str, payload: bytes = b"", **question: Any) -> Asked:
        asked = Asked()
        asked.collector = host.node.query(
            Question(name, payload, **question),
            self.now,
            on_reply=lambda reply, _now: asked.replies.append((self.now, reply)),
            on_closed=lambda _now: asked.closed_at.append(self.now),
        )
        self.drain(host)
        return asked

    def leave(self, host: Host) -> None:
        host.node.leave(self.now)
        self.drain(host)

    def kill(self, host: Host) -> None:
        host.running = False
        self.by_address.pop(host.address, None)

    def restart(self, host: Host, *, ip: str | None = None, **settings: Any) -> Host:
        """A new process of the same name, at the same address or another.

        It remembers nothing, unless given a `snapshot`.
        """
        if host.running:
            self.kill(host)
        return self.add(host.name, ip=ip or host.address[0], port=host.address[1], **settings)

    def pause(self, host: Host, seconds: float) -> None:
        host.paused_until = self.now + seconds

    # Time

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.step()
        self.now = end

    def run_until(
        self, condition: Callable[[], bool], limit: float, *, every: float = 0.0
    ) -> float:
        """Step until the condition holds; returns the time that took, fails after `limit`.

        `every` says how often to look, for conditions that cost more than a step.
        """
        start = self.now
        while not condition():
            assert self._heap, "nothing is left to happen"
            assert self._heap[0][0] <= start + limit, f"not true after {limit} s"
            if every:
                self.run(every)
            else:
                self.step()
        return self.now - start

    def step(self) -> None:
        at, _, action = heappop(self._heap)
        self.now = max(self.now, at)
        action()

    def at(self, when: float, action: Callable[[], object]) -> None:
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, action))

    # What holds

    def sees_all_alive(self, host: Host) -> bool:
        running = {h.name for h in self.hosts.values() if h.running}
        statuses = host.statuses()
        return all(statuses.get(name) is MemberStatus.ALIVE for name in running)

    def running(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.running]

    # The network

    def drain(self, host: Host) -> None:
        """Take everything a node put out, and book its next timeout."""
        node = host.node
        for data, address in node.take_packets():
            self._send(host, data, address)
        for exchange in node.take_dials():
            self._dial(host, exchange)
        for event in node.take_events():
            host.events.append(event)
            if isinstance(event, QueryReceived) and host.answers is not None:
                if (answer := host.answers(event)) is not None:
                    node.respond(event, answer, self.now)
                self.drain(host)
        host.notices += node.take_notices()
        if node.lifecycle in {Lifecycle.LEFT, Lifecycle.LOST_NAME}:
            self.kill(host)
        due = node.next_timeout()
        if due is not None and host.running and due != host.wake_at:
            host.wake_at = due
            self.at(due, lambda: self._wake(host, due))

    def inject(self, host: Host, data: bytes, source: Address = ("10.9.9.9", 7946)) -> None:
        """Deliver a packet from nowhere, now."""
        host.heard = (self.now, 0)
        host.node.receive_packet(data, source, self.now)
        self.drain(host)

    def _wake(self, host: Host, due: float) -> None:
        if not host.running or host.wake_at != due:
            return
        if host.paused_until > self.now:
            self.at(host.paused_until, lambda: self._wake(host, due))
            return
        host.wake_at = None
        host.node.handle_timeout(self.now)
        self.drain(host)

    def _lost(self, source: Host, target: Host) -> bool:
        dice = self.rng.random()
        return dice < self.loss or self.cut(source, target) or self.udp_cut(source, target)

    def delay(self, source: Host, target: Host, dice: float) -> float:
        """How long a packet is on its way; `dice` is below 1."""
        return self.latency * (0.5 + dice)

    def _send(self, source: Host, data: bytes, address: Address) -> None:
        self.packets_sent += 1
        self.bytes_sent += len(data)
        dice = self.rng.random()
        target = self.by_address.get(address)
        if target is None or self._lost(source, target):
            return
        delay = self.delay(source, target, dice)
        heard_at, depth = source.heard
        depth = depth + 1 if heard_at == self.now else 1
        self.trace.append((self.now, source.name, target.name, data))
        self.depths.append(depth)
        self.at(self.now + delay, lambda: self._deliver(source, target, data, depth))

    def _deliver(self, source: Host, target: Host, data: bytes, depth: int) -> None:
        if not target.running:
            return
        if target.paused_until > self.now:
            if self.buffers:  # they are read right after waking
                self.at(target.paused_until, lambda: self._deliver(source, target, data, depth))
            return
        target.heard = (self.now, depth)
        target.node.receive_packet(data, source.address, self.now)
        self.drain(target)

    def _dial(self, host: Host, exchange: Exchange) -> None:
        target = self.by_address.get(exchange.address)
        if target is None:
            self.at(self.now + self.latency, lambda: self._refuse(host, exchange))
        elif self.cut(host, target) or target.paused_until > self.now:
            self.at(exchange.deadline, lambda: self._fail(host, exchange, "timed out"))
        else:
            self.at(self.now + self.latency, lambda: self._connect(host, target, exchange))

    def _fail(self, host: Host, exchange: Exchange, error: str) -> None:
        if host.paused_until > self.now:
            self.at(host.paused_until, lambda: self._fail(host, exchange, error))
        elif host.running:
            exchange.fail(error, self.now)
            self.drain(host)

    def _refuse(self, host: Host, exchange: Exchange) -> None:
        if host.running:
            exchange.refuse(self.now)
            self.drain(host)

    def _connect(self, host: Host, target: Host, exchange: Exchange) -> None:
        if not host.running:
            return
        if host.paused_until > self.now:
            self.at(host.paused_until, lambda: self._connect(host, target, exchange))
            return
        inbound = target.node.accept(host.address, self.now) if target.running else None
        if inbound is None:
            self._fail(host, exchange, "refused")
            return
        exchange.connected(self.now)
        for _ in range(4):  # request, answer, and room for what should not happen
            for sender, receiver in ((exchange, inbound), (inbound, exchange)):
                if data := sender.data_to_send():
                    receiver.receive_data(data, self.now)
                while receiver.busy:
                    receiver.work(self.now)
        for end in (exchange, inbound):
            if not end.done:
                end.receive_eof(self.now)
        self.drain(host)
        self.drain(target)
