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
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from gossip.changes import Changes
from gossip.datagrams import Datagrams, Inbox, outbound_ip
from gossip.errors import ConfigError, GossipError, JoinError
from gossip.events import Event, Member, MemberStatus, QueryReceived
from gossip.keyring_file import KeyringFile
from gossip.keys import KeyManager
from gossip.queries import QueryHandlers, QueryReplies
from gossip.resolve import resolve
from gossip.serf.asking import Question
from gossip.serf.leave import Lifecycle
from gossip.serf.node import Node
from gossip.snapshot_file import SnapshotWriter
from gossip.streams import Streams
from gossip.subscriptions import Subscription
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port, normal_ip, parse_ip
from gossip.wire.keyring import Keyring
from gossip.zones import Zones

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gossip.config import Config
    from gossip.events import Admit
    from gossip.queries import QueryHandler
    from gossip.serf.coordinates import Coordinate
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address

__all__ = ["UDP_UNREACHABLE", "Cluster", "Subscription"]

logger = logging.getLogger(__name__)

BATCH = 64
"""Packets fed to the node before others get the loop."""
TIMER_SLACK = 0.001
"""Added to every wait, seconds: uvloop counts in milliseconds from when it last looked at the clock,
and who wakes early finds nothing due and has to wait again."""
NOTICES_PER_MINUTE = 30
"""Lines in the log about what members do; further ones are counted."""
UDP_UNREACHABLE = "UDP unreachable"
"""What `Cluster.stats` calls degraded when members answer over TCP only."""
NAMES_IN_STATS = 32
"""Names of members in one value of the statistics; the others are counted."""
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
        admit: tells why members may not be in the pool, or None when they may; see `gossip.events.Admit`.
        snapshot: file that remembers members and clocks, in Serf's format. A node started with it
            does not deliver again what it has seen, and joins its pool again by itself.
        keyring_file: keeps the keys over a restart, as Serf's and Consul's do; one that exists wins
            over the configured keys, else it is made from them. None keeps them in memory only.
        rng: random choices; None seeds one from the system.
    """

    def __init__(
        self,
        config: Config,
        *,
        admit: Admit | None = None,
        snapshot: Path | None = None,
        keyring_file: Path | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config
        self._admit = admit
        self._rng = rng or random.Random()
        self._clock = time.monotonic
        self._stats: Counter[str] = Counter()
        zones = Zones()
        self._datagrams = Datagrams(self._stats, zones)
        self._inbox = Inbox(self._stats)
        self._streams = Streams(self._clock, self._accept, self._wake, zones)
        self._snapshot_path = snapshot
        self._snapshot: SnapshotWriter | None = None
        self._node: Node | None = None
        self._next_turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks = Tasks(logger)
        self._subscriptions: list[Subscription[Event]] = []
        self._keyring_file = (
            KeyringFile(keyring_file, self._clock, self._wake) if keyring_file else None
        )
        self.keys = KeyManager(self)
        """Changes the keys of the whole pool."""
        self._handlers = QueryHandlers(self.respond, self._clock, self._stats)
        self._members_changes = Changes(lambda: self.members_version)
        self._coordinates_changes = Changes(lambda: self.coordinates_version)
        self._log_minute_ends = 0.0
        self._logged = 0
        self._left: asyncio.Future[None] | None = None
        self._firing = asyncio.Lock()
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[None] | None = None

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
            ConfigError: an address, a tag, the snapshot or the keyring file is not usable.
        """
        self._ended = asyncio.get_running_loop().create_future()
        keyring = await self._keyring()
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
                save_keys=self._keyring_file.save if self._keyring_file else None,
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
        await self._handlers.close()
        if self._keyring_file is not None:
            await self._keyring_file.close()
        if self._node is not None:
            self._node.close_queries(self._clock())
        for subscription in list(self._subscriptions):
            subscription.close()
        self._members_changes.close()
        self._coordinates_changes.close()
        if self._snapshot is not None:
            await self._snapshot.close()
        for future in (self._left, self._ended):
            if future is not None and not future.done():
                future.set_result(None)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done once the cluster has ended: by `close`, or of itself when it lost its name.

        The latter is told by a `NameConflictLost`. Shield it before cancelling what waits for it.
        """
        if self._ended is None:
            raise GossipError("the cluster has not been started")
        return self._ended

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
                that a name resolves to is tried. A link-local one needs its zone: ``fe80::1%eth0``.
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
        if self._closed:
            return
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

    def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        request_ack: bool = False,
        relay_factor: int = 0,
        timeout: float | None = None,
    ) -> QueryReplies:
        """Ask the members; their replies can be iterated until the deadline. We are asked too.

        Args:
            name: tells the members which handler is meant; ``_serf_...`` are the protocol's own.
            payload: for that handler.
            nodes: names of the members that are asked; empty for all.
            tags: expressions (RE2, not anchored) that the tags of those asked have to match.
            request_ack: everybody asked also says at once that the query has arrived.
            relay_factor: each reply comes through so many other members too.
            timeout: seconds to wait for replies; None for Serf's default, 3.2 for up to 9 members.

        Raises:
            LimitError: encoded it is too large, or 256 queries are open; nothing was sent.
            GossipError: the cluster is closed.
        """
        if self._closed:
            raise GossipError("the cluster is closed")
        question = Question(name, payload, nodes, tags, request_ack, relay_factor, timeout)
        replies = QueryReplies(self._stats)
        node = self.node
        collector = node.query(
            question, self._clock(), on_reply=replies.receive, on_closed=replies.ended
        )

        def close() -> None:
            node.close_query(collector, self._clock())

        replies.opened(node.driver_time(collector.deadline), close)
        self._wake()
        return replies

    async def respond(self, query: QueryReceived, payload: bytes) -> None:
        """Answer a query that a subscription gave.

        Raises:
            LimitError: encoded the answer exceeds the limit; a smaller one may be tried.
            QueryError: the deadline has passed, or it has been answered.
        """
        self.node.respond(query, payload, self._clock())
        self._wake()

    def on_query(self, name: str, handler: QueryHandler) -> None:
        """Answer queries of that name with what a function returns, or not when that is None.

        Args:
            name: of the queries; a second handler for it replaces the first.
            handler: a coroutine function, or a plain one, which may block: it runs in a thread, and
                must not touch the cluster from there. What it raises is logged.

        Raises:
            GossipError: the name belongs to the protocol.
        """
        self._handlers.register(name, handler)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change our tags.

        Raises:
            ConfigError: encoded they exceed 512 bytes; nothing was changed.
        """
        self.node.set_tags(tags, self._clock())
        self._wake()

    def set_reconnect_timeout(self, seconds: float) -> None:
        """Forget failed members after another time from now on.

        Raises:
            ConfigError: it is out of range; nothing was changed.
        """
        self.config = self.config.replace(reconnect_timeout=seconds)
        self.node.members.reconnect_timeout = seconds

    # What members see

    def members(self) -> list[Member]:
        """Everybody we know, failed and left members included."""
        return self.node.members.views()

    def member(self, name: str) -> Member | None:
        """Who is known by a name."""
        members = self.node.members
        held = members.get(name)
        return None if held is None else members.view(held)

    def local_member(self) -> Member:
        """Ourselves."""
        own = self.member(self.config.name)
        assert own is not None  # noqa: S101 - it is added at the start and never reaped
        return own

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
        return await self._members_changes.wait(version)

    @property
    def coordinate(self) -> Coordinate | None:
        """Our network coordinate; None when `Config.coordinates` is off."""
        return self.coordinate_of(self.config.name)

    def coordinate_of(self, name: str) -> Coordinate | None:
        """The coordinate that a member told when we probed it last, or our own.

        `gossip.distance` estimates the round trip between any two. None: coordinates are off, here or
        there, or the member is unknown or has not answered a probe yet.
        """
        coordinates = self.node.coordinates
        return coordinates.of(name) if coordinates else None

    def coordinates(self) -> dict[str, Coordinate]:
        """Every coordinate that is known, by the member's name, our own included."""
        coordinates = self.node.coordinates
        return coordinates.all() if coordinates else {}

    @property
    def coordinates_version(self) -> int:
        """A number that grows with every change of `coordinates`, and of `members`."""
        coordinates = self.node.coordinates
        return coordinates.version if coordinates else self.members_version

    async def coordinates_changed(self, version: int) -> int:
        """Wait until `coordinates_version` is not `version`, or the cluster is closed; returns it."""
        return await self._coordinates_changes.wait(version)

    def subscribe(
        self, *, limit: int = 1024, on_missed: Callable[[], None] | None = None
    ) -> Subscription[Event]:
        """Membership changes, user events and queries from now on.

        Args:
            limit: events kept for a slow consumer; beyond, a `Gap` tells how many were lost.
            on_missed: called for each that is lost, at once.
        """
        subscription = Subscription(limit, self._subscriptions.remove, on_missed)
        self._subscriptions.append(subscription)
        return subscription

    def stats(self) -> dict[str, str]:
        """Serf's statistics, what is degraded, and every counter that is not zero.

        ``degraded`` is empty, or `UDP_UNREACHABLE`; then ``udp_unreachable_members`` names those that
        answer over TCP only.
        """
        node = self.node
        membership, counts = node.membership, node.members.counts
        tcp_only = membership.prober.tcp_only.names()
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
            "encrypted": "true" if node.keyring else "false",
            "coordinate_resets": node.coordinates.resets if node.coordinates else 0,
            "degraded": UDP_UNREACHABLE if tcp_only else "",
            "udp_unreachable_members": _some(tcp_only),
        }
        counters = sorted((self._stats + node.stats).items())
        return {name: str(value) for name, value in [*values.items(), *counters]}

    # The driver

    async def _keyring(self) -> Keyring | None:
        keys = self.config.keys
        if self._keyring_file is not None:
            keys = await self._keyring_file.open(keys)
            self.config.replace(keys=keys)  # judges them together with the other settings
        return Keyring(keys) if keys else None

    def _own_ip(self) -> str:
        bind = normal_ip(self.config.bind)
        if bind in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
            return outbound_ip(bind)
        return bind

    async def _bind(self) -> int:
        """Take one port number for both TCP and UDP."""
        bind, wanted = normal_ip(self.config.bind), self.config.port
        for attempt in range(PORT_ATTEMPTS):
            port = await self._streams.listen(bind, wanted)
            try:
                await self._datagrams.open(bind, port)
            except OSError:
                await self._streams.stop_listening()
                if wanted or attempt == PORT_ATTEMPTS - 1:
                    raise
            else:
                break
        return port

    def _accept(self, address: Address) -> Exchange | None:
        if self._node is None or self._closed:
            return None
        return self._node.accept(address, self._clock())

    async def _resolve(self, addresses: Sequence[str], errors: list[str]) -> list[Address]:
        default_port = self.config.port or self.local_address[1]
        targets: dict[Address, None] = {}
        for text in addresses:
            try:
                targets.update(dict.fromkeys(await resolve(text, default_port)))
            except (ConfigError, OSError) as error:
                errors.append(f"Failed to resolve {text}: {error}")
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
        elif not self._closed:
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
            if isinstance(event, QueryReceived):
                self._handlers.receive(event)
        if notices := node.take_notices():
            self._log(notices)
        self._members_changes.check()
        self._coordinates_changes.check()
        if node.lifecycle is Lifecycle.LEFT and self._left and not self._left.done():
            self._left.set_result(None)
        if node.lifecycle is Lifecycle.LOST_NAME and self._closing is None:
            self._closing = asyncio.create_task(self.close())

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


def _some(names: Sequence[str]) -> str:
    """The first names and how many more there are."""
    more = len(names) - NAMES_IN_STATS
    return ", ".join(names[:NAMES_IN_STATS]) + (f" and {more} more" if more > 0 else "")
