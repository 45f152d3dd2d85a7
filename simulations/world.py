"""World: a pool in virtual time. Nodes are the production core; clock, network and faults are played.

The earliest thing due is taken from one heap: a packet or a segment that arrives, a node's timeout, a
fault that somebody booked. A node is fed, then drained, and what came out is booked in turn. Nothing
here looks at a real clock or draws from anything but the seed, so one seed is one history.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from gossip.config import Config
from gossip.events import QueryAck, QueryAnswer, QueryReceived, QueryReply
from gossip.serf.asking import Question
from gossip.serf.leave import Lifecycle
from gossip.serf.node import Node
from gossip.wire.address import parse_ip
from simulations.chains import NOTHING
from simulations.host import Host
from simulations.network import Network, Weather
from simulations.streams import dial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gossip.serf.asking import Collector
    from gossip.serf.snapshot import Snapshot
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address
    from gossip.wire.keyring import Keyring
    from simulations.chains import Depths
    from simulations.disk import Disk
    from simulations.trace import Trace
    from simulations.watch import Watch

__all__ = ["Asked", "NotReachedError", "World"]

START = 1000.0
MAX_BACKLOG = 256
"""Packets that a kernel keeps for a process that does not read; further ones are lost."""


class NotReachedError(AssertionError):
    """A condition did not become true in time."""


class Asked:
    """A query of one node, and what came back when."""

    def __init__(self) -> None:
        self.collector: Collector | None = None
        self.replies: list[tuple[float, QueryReply]] = []
        self.closed_at: list[float] = []

    def acks(self) -> list[str]:
        """Who acknowledged it."""
        return sorted(reply.node for _, reply in self.replies if isinstance(reply, QueryAck))

    def answers(self) -> dict[str, bytes]:
        """Who answered what."""
        return {r.node: r.payload for _, r in self.replies if isinstance(r, QueryAnswer)}


class World:
    """Simulated machines, the network between them, and their time.

    Args:
        seed: every choice of the network and of the nodes.
        profile: makes a node's configuration from its name and `settings`.
        weather: how the network is at first.
        trace: gets every packet, event and fault.
        watch: sees every transition of every node; without one, errors of the core are raised.
        start: virtual time at the beginning, seconds.
        settings: of all nodes.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        profile: Callable[..., Config] = Config.lan,
        weather: Weather | None = None,
        trace: Trace | None = None,
        watch: Watch | None = None,
        start: float = START,
        **settings: Any,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(f"faults {seed}")
        """For those who make up faults; the network and the nodes have dice of their own."""
        self.now = start
        self.profile = profile
        self.settings = settings
        self.covered: Counter[str] = Counter()
        """How often each fault really happened."""
        self.network = Network(random.Random(f"network {seed}"), weather or Weather(), self.covered)
        self.hosts: dict[str, Host] = {}
        """The newest process of every name."""
        self.by_address: dict[Address, Host] = {}
        self.known_addresses: set[Address] = set()
        """Where somebody lives or has lived; packets from elsewhere come from strangers."""
        self.trace = trace
        self.watch = watch
        self.max_backlog = MAX_BACKLOG
        self.packets_sent = 0
        self.bytes_sent = 0
        self.streams_opened = 0
        self._lives: Counter[str] = Counter()
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._sequence = 0
        self._addresses = 0
        if watch is not None:
            watch.attach(self)

    # Machines

    def add(
        self,
        name: str,
        *,
        ip: str | None = None,
        port: int = 7946,
        pool: str = "",
        keyring: Keyring | None = None,
        admit: Callable[..., str | None] | None = None,
        disk: Disk | None = None,
        snapshot: Snapshot | None = None,
        **settings: Any,
    ) -> Host:
        """Start a node on a machine of its own.

        Args:
            name: its name; a process of that name must not run.
            ip: its address; None chooses the next free one.
            port: its port.
            pool: members of different pools must never see each other.
            keyring: its keys; each node needs a keyring of its own.
            admit: who may be a member.
            disk: keeps its snapshot, and has that of an earlier process.
            snapshot: of an earlier process, where the caller plays the disk.
            settings: on top of the world's.
        """
        ip = ip or self.new_address()
        self._lives[name] += 1
        life = self._lives[name]
        rng = random.Random(f"{self.seed} {name} {life}")
        if disk is not None:
            snapshot = disk.open()
        node = Node(
            self.profile(name, **(self.settings | settings)),
            parse_ip(ip),
            port,
            rng=rng,
            new_nonce=lambda: rng.randbytes(12),
            now=self.now,
            keyring=keyring,
            admit=admit,
            snapshot=snapshot,
        )
        host = Host(node, (ip, port), life, pool)
        host.disk = disk
        if snapshot is not None:
            host.resumed = (snapshot.clock, snapshot.event_clock, snapshot.query_clock)
        self.hosts[name] = host
        self.by_address[host.address] = host
        self.known_addresses.add(host.address)
        self.note("start", name, text=f"{ip}:{port} life {life}")
        if self.watch is not None:
            self.watch.started(host)
        self.drain(host)
        return host

    def new_address(self) -> str:
        """An address that nobody had before."""
        number = self._addresses
        self._addresses += 1
        return f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"

    def running(self) -> list[Host]:
        """Everybody whose process runs, in the order of their first start."""
        return [host for host in self.hosts.values() if host.running]

    def kill(self, host: Host, *, machine: bool = False) -> None:
        """End a process without a word; with `machine` nothing refuses connections there either."""
        if not host.running:
            return
        host.running = False
        if host.disk is not None:
            left = host.node.lifecycle is Lifecycle.LEFT
            host.disk.close(clean=left, rng=self.rng)
        host.powered = not machine
        host.backlog.clear()
        for connection in list(host.connections):
            connection.broken(host)
        self.note("stop", host.name, text=host.node.lifecycle.value)
        if self.watch is not None:
            self.watch.stopped(host)

    def restart(
        self, host: Host, *, ip: str | None = None, with_memory: bool = False, **options: Any
    ) -> Host:
        """Start a new process of the same name, at the same address or another.

        Args:
            host: the old process, killed if it still runs.
            ip: the new address, or None for the old one.
            with_memory: it finds the snapshot of the old one, if that had a disk.
            options: as for `add`.
        """
        self.kill(host)
        if self.by_address.get(host.address) is host:
            del self.by_address[host.address]
        disk = host.disk
        if disk is not None and not with_memory:
            disk = type(disk)()
        new = self.add(
            host.name, ip=ip or host.address[0], port=host.address[1], pool=host.pool,
            disk=disk, **options,
        )  # fmt: skip
        new.skew = host.skew
        new.keep_events = host.keep_events
        return new

    def pause(self, host: Host, seconds: float) -> None:
        """Stop a process for a while; what arrives meanwhile waits in its kernel."""
        host.paused_until = max(host.paused_until, self.now + seconds)
        self.note("pause", host.name, text=f"{seconds:.3f} s")

    def jump(self, host: Host, seconds: float) -> None:
        """Have a machine's monotonic clock jump ahead, as after a suspend."""
        host.skew += seconds
        self.note("jump", host.name, text=f"{seconds:.3f} s")
        if host.running:
            self.at(self.now, self._check_timeout, host)

    # What nodes are asked to do

    def join(self, host: Host, *others: Host, **options: Any) -> list[Exchange]:
        """Have a node join through others."""
        addresses = [other.address for other in others]
        exchanges = host.node.join(addresses, self.time_of(host), **options)
        self.drain(host)
        return exchanges

    def fire(self, host: Host, name: str, payload: bytes = b"", **options: Any) -> int:
        """Have a node fire a user event; returns its Lamport time."""
        ltime = host.node.user_event(name, payload, self.time_of(host), **options)
        self.note("fire", host.name, text=f"{name} at {ltime}")
        if self.watch is not None:
            self.watch.fired(host, ltime, name, payload)
        self.drain(host)
        return ltime

    def ask(self, host: Host, name: str, payload: bytes = b"", **question: Any) -> Asked:
        """Have a node ask a query; returns what comes back."""
        asked = Asked()
        asked.collector = host.node.query(
            Question(name, payload, **question),
            self.time_of(host),
            on_reply=lambda reply, _now: asked.replies.append((self.now, reply)),
            on_closed=lambda _now: asked.closed_at.append(self.now),
        )
        self.drain(host)
        return asked

    def leave(self, host: Host) -> None:
        """Have a node leave; its process ends when it is done."""
        self.note("leave", host.name)
        if self.watch is not None:
            self.watch.leaving(host.name)
        host.node.leave(self.time_of(host))
        self.drain(host)

    def force_leave(self, host: Host, name: str, *, prune: bool = False) -> bool:
        """Have a node declare that somebody left; False when nobody has that name."""
        self.note("force", host.name, name)
        if self.watch is not None:
            self.watch.leaving(name)
        known = host.node.force_leave(name, self.time_of(host), prune=prune)
        self.drain(host)
        return known

    def set_tags(self, host: Host, tags: dict[str, str]) -> None:
        """Have a node change its tags."""
        host.node.set_tags(tags, self.time_of(host))
        self.drain(host)

    def inject(self, host: Host, data: bytes, source: Address = ("192.0.2.9", 7946)) -> None:
        """Deliver a packet that no node sent, now."""
        self._receive(host, data, source, NOTHING)

    # Time

    def time_of(self, host: Host) -> float:
        """What a machine's monotonic clock shows."""
        return self.now + host.skew

    def at(self, when: float, action: Callable[..., object], *args: Any) -> None:
        """Have ``action(*args)`` happen then."""
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, action, args))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.run_to(self.now + seconds)

    def run_to(self, end: float) -> None:
        """Let time pass until then."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            at, _, action, args = heappop(heap)
            if at > self.now:  # noqa: PLR1730 - the loop that everything passes through
                self.now = at
            action(*args)
        self.now = max(self.now, end)

    def step(self) -> None:
        """Let the next thing happen."""
        at, _, action, args = heappop(self._heap)
        self.now = max(self.now, at)
        action(*args)

    def run_until(
        self, condition: Callable[[], bool], limit: float, *, every: float = 0.0
    ) -> float:
        """Run until a condition holds; returns how long that took.

        Args:
            condition: looked at after every step, or `every` so many seconds.
            limit: seconds until it has to hold.
            every: for conditions that cost more than a step.

        Raises:
            NotReachedError: it does not hold in time, or nothing is left to happen.
        """
        start = self.now
        while not condition():
            if not self._heap:
                raise NotReachedError("nothing is left to happen")
            if self._heap[0][0] > start + limit or self.now > start + limit:
                raise NotReachedError(f"not true after {limit} s")
            if every:
                self.run(every)
            else:
                self.step()
        return self.now - start

    # Feeding and draining

    def give(self, host: Host, action: Callable[..., object], *args: Any) -> None:
        """Let a process do something with its input as soon as it runs, then drain it."""
        if not host.running:
            return
        if host.backlog or host.paused_until > self.now or host.busy_until > self.now:
            host.backlog.append((action, args))
            self._serve_later(host)
            return
        if host.slowness:
            host.busy_until = self.now + host.slowness
        self._feed(host, action, *args)

    def drain(self, host: Host) -> None:
        """Take everything a node put out, and book its next timeout."""
        node = host.node
        membership = node.membership
        for data, address in membership.take_packets():
            self._send(host, data, address)
        for exchange in membership.take_dials():
            self.streams_opened += 1
            dial(self, host, exchange)
        events = node.take_events()
        if events:
            self._told(host, events)
        notices = membership.take_notices()
        if notices and host.keep_events:
            host.notices += notices
        if self.watch is not None:
            self.watch.drained(host)
        if host.disk is not None:
            host.disk.look(self)
        lifecycle = node.lifecycle
        if lifecycle is Lifecycle.LEFT or lifecycle is Lifecycle.LOST_NAME:
            self.kill(host)
            return
        due = node.next_timeout()
        if due is not None:
            due -= host.skew
            if due != host.wake_at:  # a wake-up that was booked before it finds that it is not it
                host.wake_at = due
                self._sequence += 1
                heappush(self._heap, (due, self._sequence, self._wake, (host, due)))

    def note(self, kind: str, source: str, target: str = "", *, text: str = "") -> None:
        """Put something into the trace."""
        if self.trace is not None:
            self.trace.add(self.now, kind, source, target, text.encode("utf-8", "surrogateescape"))

    def opened(self, exchange: Exchange) -> None:
        """A connection got its exchange; for worlds that prepare them."""

    def stream_sent(self, host: Host, data: bytes) -> None:
        """A node wrote to a stream."""
        self.bytes_sent += len(data)
        if self.trace is not None:
            self.trace.add(self.now, "stream", host.name, "", data)
        if self.watch is not None:
            self.watch.stream_sent(host, data)

    def _told(self, host: Host, events: Iterable[Any]) -> None:
        if host.keep_events:
            host.events += events
        if self.trace is not None:
            for event in events:
                self.note("event", host.name, text=repr(event))
        for event in events:
            if self.watch is not None:
                self.watch.told(host, event)
            if isinstance(event, QueryReceived) and host.answers is not None:
                answer = host.answers(event)
                if answer is not None:
                    host.node.respond(event, answer, self.time_of(host))
                self.drain(host)

    def _feed(self, host: Host, action: Callable[..., object], *args: Any) -> bool:
        """Give a process its input; tells whether it still runs."""
        if self.watch is None:
            action(*args)
        else:
            self._watched(host, action, *args)
        if host.running:
            self.drain(host)
        return host.running

    def _watched(self, host: Host, action: Callable[..., object], *args: Any) -> None:
        assert self.watch is not None  # noqa: S101 - asked by the caller
        try:
            action(*args)
        except Exception:  # noqa: BLE001 - whatever the core raises is what is looked for
            self.watch.crashed(host, traceback.format_exc())
            self.kill(host)

    def _wake(self, host: Host, due: float) -> None:
        if host.wake_at != due or not host.running:
            return
        host.wake_at = None
        self._check_timeout(host)

    def _check_timeout(self, host: Host) -> None:
        if host.backlog or host.slowness or host.paused_until > self.now:
            self.give(host, self._timeout, host)
        elif self.watch is None:  # as for packets, see `_arrive`
            host.node.handle_timeout(self.now + host.skew)
            self.drain(host)
        else:
            self._feed(host, self._timeout, host)

    def _timeout(self, host: Host) -> None:
        host.node.handle_timeout(self.now + host.skew)

    def _serve_later(self, host: Host) -> None:
        if not host.serving:
            host.serving = True
            self.at(max(host.paused_until, host.busy_until), self._serve, host)

    def _serve(self, host: Host) -> None:
        """A process that did not run gets its backlog: all of it, or one by one if it is slow."""
        host.serving = False
        if not host.running:
            return
        while host.backlog:
            if host.paused_until > self.now or host.busy_until > self.now:
                self._serve_later(host)
                return
            action, args = host.backlog.popleft()
            if host.slowness:
                host.busy_until = self.now + host.slowness
            if not self._feed(host, action, *args):
                return

    # Packets

    def _send(self, source: Host, data: bytes, address: Address) -> None:
        self.packets_sent += 1
        self.bytes_sent += len(data)
        depths = NOTHING if self.watch is None else self.watch.packet_sent(source, data, address)
        target = self.by_address.get(address)
        if target is None:
            return
        if self.trace is not None:
            self.trace.add(self.now, "packet", source.name, target.name, data)
        for delay in self.network.arrivals(source, target):
            self._sequence += 1
            heappush(
                self._heap,
                (self.now + delay, self._sequence, self._arrive, (address, data, source, depths)),
            )

    def _arrive(self, address: Address, data: bytes, source: Host, depths: Depths) -> None:
        target = self.by_address.get(address)
        if target is None or not target.running:
            return
        if target.backlog or target.slowness or target.paused_until > self.now:
            if len(target.backlog) >= self.max_backlog:
                self.covered["packets_overflowed"] += 1
                return
            self.give(target, self._read, target, data, source.address, depths)
            return
        if self.watch is None:  # what most of a large world's time goes into
            target.node.receive_packet(data, source.address, self.now + target.skew)
            self.drain(target)
        else:
            self._receive(target, data, source.address, depths)

    def _receive(self, host: Host, data: bytes, source: Address, depths: Depths) -> None:
        self._feed(host, self._read, host, data, source, depths)

    def _read(self, host: Host, data: bytes, source: Address, depths: Depths) -> None:
        host.heard = (self.now, depths)
        if self.watch is not None:
            self.watch.packet_read(host, data, source)
        host.node.receive_packet(data, source, self.now + host.skew)
