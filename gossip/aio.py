"""Cluster: a gossip node under asyncio. It moves bytes and time, and decides nothing.

    datagrams --> inbox --.
    streams --------------+--> Node --> datagrams, streams, subscriptions
    timeouts -------------'

Whatever feeds the node is followed by a *turn*, which does what is due and puts out what there is. One
task receives datagrams and takes a turn for all that came together; each TCP exchange is a short task
of its own. Everything runs on one event loop and touches the node from nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from gossip.datagrams import Datagrams, Inbox, outbound_ip
from gossip.errors import ConfigError, GossipError, JoinError
from gossip.events import Member, MemberStatus
from gossip.serf.leave import Lifecycle
from gossip.serf.node import Node
from gossip.snapshot_file import SnapshotWriter
from gossip.streams import Streams
from gossip.subscriptions import Subscription
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port, parse_ip, parse_seed
from gossip.wire.keyring import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gossip.config import Config
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address

__all__ = ["Cluster", "Subscription"]

logger = logging.getLogger(__name__)

BATCH = 64
"""Packets fed to the node before others get the loop."""
TIMER_SLACK = 0.001
"""Added to every wait, seconds: uvloop counts in milliseconds from when it last looked at the clock,
and who wakes early finds nothing due and has to wait again."""
NOTICES_PER_MINUTE = 30
"""Lines in the log about what members do; further ones are counted."""
PORT_ATTEMPTS = 16
"""How often a common free port for UDP and TCP is looked for when none is given."""
MAX_RESOLVED = 256
"""Addresses tried in one join, all names together."""


class Cluster:
    """One member of a gossip pool.

    ::

        async with Cluster(Config.lan("web-1")) as cluster:
            await cluster.join(["10.0.0.1"])
            async for event in cluster.subscribe():
                print(event)

    Leaving the block closes the sockets without a farewell: the others see a failure. Call `leave`
    first to go gracefully.

    Args:
        config: the pool's settings.
        admit: tells why a member may not be in the pool, or None when it may.
        snapshot: file that remembers members and clocks, in Serf's format. A node started with it
            does not deliver again what it has seen, and joins its pool again by itself.
        rng: random choices; None seeds one from the system.
    """

    def __init__(
        self,
        config: Config,
        *,
        admit: Callable[[Member], str | None] | None = None,
        snapshot: Path | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self._admit = admit
        self._rng = rng or random.Random()
        self._clock = time.monotonic
        self._stats: Counter[str] = Counter()
        self._datagrams = Datagrams(self._stats)
        self._inbox = Inbox(self._stats)
        self._streams = Streams(self._clock, self._accept, self._wake)
        self._snapshot_path = snapshot
        self._snapshot: SnapshotWriter | None = None
        self._node: Node | None = None
        self._next_turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks = Tasks(logger)
        self._subscriptions: list[Subscription] = []
        self._changed: list[asyncio.Future[None]] = []
        self._published_version = 0
        self._log_minute_ends = 0.0
        self._logged = 0
        self._left: asyncio.Future[None] | None = None
        self._firing = asyncio.Lock()
        self._closed = False

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Bind and become a pool of one.

        Raises:
            OSError: the address cannot be bound.
            ConfigError: an address, a tag or the snapshot is not usable.
        """
        keyring = self._keyring()
        try:
            if (path := self._snapshot_path) is not None:  # before anything is sent or received
                rejoin = self.config.rejoin_after_leave
                self._snapshot = await SnapshotWriter.open(
                    path, self._stats, rejoin_after_leave=rejoin
                )
            port = await self._bind()
            advertise = self.config.advertise or self._own_ip()
            self._node = Node(
                self.config,
                parse_ip(advertise),
                self.config.advertise_port or port,
                rng=self._rng,
                new_nonce=lambda: os.urandom(12),
                now=self._clock(),
                keyring=keyring,
                admit=self._admit,
                snapshot=self._snapshot.snapshot if self._snapshot else None,
            )
        except BaseException:
            await self.close()
            raise
        self._tasks.spawn(self._receive())
        self._wake()

    async def close(self) -> None:
        """Stop at once; every task has ended when this returns. Idempotent."""
        self._closed = True
        for handle in (self._next_turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._datagrams.close()
        await self._streams.close()
        await self._tasks.cancel()
        for subscription in list(self._subscriptions):
            subscription.close()
        self._notify_changed()
        if self._snapshot is not None:
            await self._snapshot.close()

    @property
    def local_address(self) -> Address:
        """The address that others are told, IP as text and port."""
        return self.node.membership.own.info.address

    @property
    def node(self) -> Node:
        """The state machine inside; read it freely, change it only through this class."""
        if self._node is None:
            raise GossipError("the cluster has not been started")
        return self._node

    # What members do

    async def join(self, addresses: Sequence[str], *, ignore_old_events: bool = True) -> int:
        """Join the pool of any of these nodes.

        Args:
            addresses: ``host``, ``host:port``, ``[v6]:port`` or ``name/host:port``; every address
                that a name resolves to is tried.
            ignore_old_events: do not deliver the events from before the join.

        Returns:
            How many nodes were reached.

        Raises:
            JoinError: none was; the text has a line per address.
        """
        errors: list[str] = []
        targets = await self._resolve(addresses, errors)
        exchanges = self.node.join(targets, self._clock(), ignore_old=ignore_old_events)
        self._wake()
        await asyncio.gather(*(self._done(exchange) for exchange in exchanges))
        joined = 0
        for exchange in exchanges:
            if exchange.error is None:
                joined += 1
            else:
                errors.append(
                    f"Failed to join {join_host_port(*exchange.address)}: {exchange.error}"
                )
        if not joined:
            count = f"{len(errors)} error{'s' if len(errors) != 1 else ''} occurred:"
            raise JoinError("\n".join([count, *(f"\t* {error}" for error in errors)]))
        return joined

    async def leave(self) -> None:
        """Leave gracefully: the others see us as left. Takes the propagate delay; then close.

        Cancelling the call does not stop the leave.
        """
        self.node.leave(self._clock())
        if self._snapshot is not None:
            self._snapshot.sync()
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
        self._wake()
        await asyncio.shield(self._left)

    async def force_leave(self, name: str, *, prune: bool = False) -> MemberStatus:
        """Declare that a failed member left; with `prune` it is forgotten.

        A running member refutes it. Waits until the news has been told, at most the broadcast
        timeout.

        Returns:
            The member's status afterwards: LEFT for a failed one, NONE when it is forgotten or was
            unknown, ALIVE or LEAVING for one that runs.

        Raises:
            TimeoutError: the news could not be told in time; it still may be.
        """
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_told(_now: float) -> None:
            if not told.done():
                told.set_result(None)

        if self.node.force_leave(name, self._clock(), prune=prune, on_told=on_told):
            self._wake()
            async with asyncio.timeout(self.config.broadcast_timeout):
                await told
        member = self.node.members.get(name)
        return MemberStatus.NONE if member is None else member.status

    async def fire(self, name: str, payload: bytes = b"", *, coalesce: bool = True) -> int:
        """Fire a user event to every member, ourselves included; returns its Lamport time.

        Where more events come than the pool's ring can hold, callers wait for their turn.

        Raises:
            LimitError: name and payload exceed the limit; nothing was sent.
        """
        async with self._firing:
            # The wait is for time to pass, not for a condition that somebody could set.
            while pause := self.node.event_pause(self._clock()):  # noqa: ASYNC110
                await asyncio.sleep(pause)
            if self._snapshot is not None:
                await self._snapshot.reserve()
            ltime = self.node.user_event(name, payload, self._clock(), coalesce=coalesce)
        self._wake()
        return ltime

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change our tags.

        Raises:
            ConfigError: encoded they exceed 512 bytes; nothing was changed.
        """
        self.node.set_tags(tags, self._clock())
        self._wake()

    # What members see

    def members(self) -> list[Member]:
        """Everybody we know, failed and left members included."""
        return self.node.members.views()

    def local_member(self) -> Member:
        """Ourselves."""
        members = self.node.members
        own = members.get(self.config.name)
        assert own is not None  # noqa: S101 - it is added at the start and never reaped
        return members.view(own)

    @property
    def rejoining(self) -> bool:
        """Nobody else is alive, and the snapshot knows of members that should be."""
        return self.node.rejoining

    @property
    def members_version(self) -> int:
        """A number that grows with every change of `members`."""
        return self.node.members.version

    async def members_changed(self, version: int) -> int:
        """Wait until `members_version` is not `version`, or the cluster is closed; returns it."""
        while self.members_version == version and not self._closed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._changed:
                    self._changed.remove(waiter)
        return self.members_version

    def subscribe(self, *, limit: int = 1024) -> Subscription:
        """Membership changes and user events from now on.

        Args:
            limit: events kept for a slow consumer; beyond, a `Gap` tells how many were lost.
        """
        subscription = Subscription(limit, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    def stats(self) -> dict[str, str]:
        """Serf's statistics and every counter that is not zero."""
        node = self.node
        membership, counts = node.membership, node.members.counts
        values = {
            "members": len(node.members),
            "failed": counts[MemberStatus.FAILED],
            "left": counts[MemberStatus.LEFT],
            "health_score": membership.awareness.score,
            "member_time": node.member_clock.time,
            "event_time": node.event_clock.time,
            "query_time": node.query_clock.time,
            "intent_queue": len(membership.dissemination.intents),
            "event_queue": len(membership.dissemination.events),
            "query_queue": len(membership.dissemination.queries),
            "encrypted": "true" if self.config.keys else "false",
        }
        counters = sorted((self._stats + node.stats).items())
        return {name: str(value) for name, value in [*values.items(), *counters]}

    # The driver

    def _keyring(self) -> Keyring | None:
        if not self.config.keys:
            return None
        return Keyring(self.config.keys)

    def _own_ip(self) -> str:
        bind = self.config.bind
        if bind not in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            return bind
        return outbound_ip(socket.AF_INET6 if bind == "::" else socket.AF_INET)

    async def _bind(self) -> int:
        """Take one port number for both TCP and UDP."""
        config = self.config
        for attempt in range(PORT_ATTEMPTS):
            port = await self._streams.listen(config.bind, config.port)
            try:
                await self._datagrams.open(config.bind, port)
            except OSError:
                await self._streams.stop_listening()
                if config.port or attempt == PORT_ATTEMPTS - 1:
                    raise
            else:
                break
        return port

    def _accept(self, address: Address) -> Exchange | None:
        if self._node is None or self._closed:
            return None
        return self._node.accept(address, self._clock())

    async def _resolve(self, addresses: Sequence[str], errors: list[str]) -> list[Address]:
        loop = asyncio.get_running_loop()
        targets: dict[Address, None] = {}
        for text in addresses:
            try:
                _, host, port = parse_seed(text, self.config.port or self.local_address[1])
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (ConfigError, OSError) as error:
                errors.append(f"Failed to resolve {text}: {error}")
            else:
                targets.update(dict.fromkeys((str(info[4][0]), port) for info in found))
        return list(targets)[:MAX_RESOLVED]

    async def _done(self, exchange: Exchange) -> None:
        done = asyncio.get_running_loop().create_future()

        def finished(_exchange: Exchange, _now: float) -> None:
            if not done.done():
                done.set_result(None)

        if not exchange.done:
            exchange.on_done(finished)
            await done

    async def _receive(self) -> None:
        try:
            while packets := await self._datagrams.receive():
                for data, address in packets:
                    self._inbox.put(data, address)
                self._turn()
        finally:
            # Also when the loop ends without our being closed: asyncio-dgram's destructor would
            # use a loop that is gone.
            self._datagrams.close()

    def _wake(self) -> None:
        """Have a turn soon, because something was fed, or is due.

        Not at once: several may feed, and packets that came meanwhile are fed before timers judge
        their senders.
        """
        if self._next_turn is None and not self._closed:
            self._next_turn = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Feed packets to the node, do what is due, and put out what there is."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        node, now = self.node, self._clock()
        try:
            for data, address in self._inbox.take(BATCH):
                node.receive_packet(data, address, now)
            node.handle_timeout(self._clock())
            if packets := node.take_packets():
                self._datagrams.send(packets)
            for exchange in node.take_dials():
                self._streams.dial(exchange)
            self._publish(node)
            if self._snapshot is not None:
                self._snapshot.look()
        except Exception:  # a bug; neither the task that receives nor the timers may end with it
            logger.critical("a turn of the gossip driver failed", exc_info=True)
        if self._inbox:
            self._wake()
        else:
            self._set_timer()

    def _set_timer(self) -> None:
        due = self.node.next_timeout()
        assert due is not None  # noqa: S101 - a node always has something to do
        if self._timer is not None:
            if due == self._timer_due:
                return
            self._timer.cancel()
        delay = max(due - self._clock(), 0) + TIMER_SLACK
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
        self._timer_due = due

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()

    def _publish(self, node: Node) -> None:
        """Tell everybody who waits what the node put out."""
        for event in node.take_events():
            for subscription in self._subscriptions:
                subscription.publish(event)
        if notices := node.take_notices():
            self._log(notices)
        if node.members.version != self._published_version:
            self._published_version = node.members.version
            self._notify_changed()
        if node.lifecycle is Lifecycle.LEFT and self._left and not self._left.done():
            self._left.set_result(None)

    def _log(self, notices: list[str]) -> None:
        """Write notices, but not as many as somebody may provoke."""
        now = self._clock()
        if now >= self._log_minute_ends:
            self._log_minute_ends, self._logged = now + 60.0, 0
        for notice in notices:
            self._logged += 1
            if self._logged <= NOTICES_PER_MINUTE:
                logger.warning("%s", notice)
            else:
                self._stats["notices_dropped"] += 1

    def _notify_changed(self) -> None:
        waiters, self._changed = self._changed, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
