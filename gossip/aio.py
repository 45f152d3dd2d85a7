"""Cluster: a member of a gossip pool for asyncio applications.

It owns a `gossip.serf.node.Node`, which decides everything, the `gossip.driver.Driver` that brings it
together with the network, and the files that keep its memory and keys. What an application calls goes
to the node and wakes the driver; what the node puts out goes to whoever waits here.
"""

from __future__ import annotations

import asyncio
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gossip.admission import Admission
from gossip.arguments import checked_names, checked_payload, checked_tags, checked_text
from gossip.config import Config
from gossip.driver import Driver
from gossip.errors import ConfigError, GossipError, JoinError, LimitError, listed
from gossip.events import Event, MemberStatus, QueryReceived
from gossip.keyring_file import KeyringFile
from gossip.keys import KeyManager
from gossip.machine import Machine, machine_of
from gossip.notices import NoticeLog
from gossip.queries import QueryHandlers, QueryReplies
from gossip.resolve import resolve_all
from gossip.serf.asking import Question
from gossip.serf.leave import Lifecycle
from gossip.serf.node import Node
from gossip.snapshot_file import SnapshotWriter
from gossip.subscriptions import Subscription
from gossip.view import PoolView
from gossip.wire.address import join_host_port, normal_ip, parse_ip
from gossip.wire.keyring import Keyring

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gossip.events import Admit
    from gossip.queries import QueryHandler
    from gossip.swim.exchange import Exchange

__all__ = ["Cluster", "Subscription"]


class Cluster(PoolView):
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
            A plain function, asked on the event loop. Where it fails, members are refused.
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
        snapshot: Path | str | None = None,
        keyring_file: Path | str | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not isinstance(config, Config):
            raise TypeError(f"config is {type(config).__name__}, not a gossip.Config")
        super().__init__(config)
        self._admit = None if admit is None else Admission(admit)
        self._rng = rng
        self._machine = Machine()
        self._driver = Driver(self._clock, self._stats, self._publish)
        self._snapshot_path = None if snapshot is None else Path(snapshot)
        self._snapshot: SnapshotWriter | None = None
        self._subscriptions: list[Subscription[Event]] = []
        self._keyring_file = (
            KeyringFile(Path(keyring_file), self._clock, self._driver.wake)
            if keyring_file
            else None
        )
        self.keys = KeyManager(self)
        """Changes the keys of the whole pool."""
        self._handlers = QueryHandlers(self.respond, self._clock, self._stats)
        self._notices = NoticeLog(self._clock, self._stats)
        self._left: asyncio.Future[None] | None = None
        self._firing = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
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
        """Bind and become a pool of one, once: for another life make another `Cluster`.

        Raises:
            OSError: the address cannot be bound.
            ConfigError: an address, a tag, the snapshot or the keyring file is not usable.
            GossipError: it was started before, or is closed, perhaps meanwhile.
        """
        if self._closed:
            raise GossipError("the cluster is closed; make another one to start again")
        if self._loop is not None:
            raise GossipError("the cluster has been started already")
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.get_running_loop().create_future()
        machine = self._machine = machine_of(self.config.name)
        try:
            keyring = await self._keyring()
            if (path := self._snapshot_path) is not None:  # before anything is sent or received
                rejoin = self.config.rejoin_after_leave
                self._snapshot = await SnapshotWriter.open(
                    path, self._stats, rejoin_after_leave=rejoin, machine=machine
                )
            port = await self._driver.bind(machine, normal_ip(self.config.bind), self.config.port)
            if self._closed:
                raise GossipError("the cluster was closed while it started")
            advertise = self.config.advertise or machine.own_ip(self.config.bind)
            self._node = Node(
                self.config,
                parse_ip(advertise),
                self.config.advertise_port or port,
                rng=self._rng or machine.dice(),
                new_nonce=machine.nonce,
                now=self._clock(),
                keyring=keyring,
                admit=self._admit,
                snapshot=self._snapshot.snapshot if self._snapshot else None,
                save_keys=self._keyring_file.save if self._keyring_file else None,
            )
        except BaseException:
            await self.close()
            raise
        self._driver.run(self._node)

    async def close(self) -> None:
        """Stop at once; every task has ended when this returns. Idempotent."""
        self._closed = True
        await self._driver.close()
        await self._handlers.close()
        if self._keyring_file is not None:
            await self._keyring_file.close()
        if self._node is not None:
            self._node.close_queries(self._clock())
        for subscription in list(self._subscriptions):
            subscription.close()
        self._close_changes()
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
            JoinError: none was, with a line per address; or this node has left.
            GossipError: the cluster is closed.
        """
        node = self._usable()
        seeds = checked_names("addresses", addresses)
        if not seeds:
            raise JoinError("there is no address to join")
        default_port = self.config.port or self.local_address[1]
        targets, errors = await resolve_all(seeds, default_port)
        self._usable()  # it was another one's turn meanwhile
        if node.lifecycle is not Lifecycle.ALIVE:
            raise JoinError("the node has left, and joins no more; start another one")
        exchanges = node.join(targets, self._clock(), ignore_old=ignore_old_events)
        self._driver.wake()
        await asyncio.gather(*(_finished(exchange) for exchange in exchanges))
        joined = 0
        for exchange in exchanges:
            if exchange.error is None:
                joined += 1
            else:
                errors.append(
                    f"Failed to join {join_host_port(*exchange.address)}: {exchange.error}"
                )
        if not joined:
            raise JoinError(listed(errors))
        return joined

    async def leave(self) -> None:
        """Leave gracefully: the others see us as left. Takes the propagate delay; then close.

        Cancelling the call does not stop the leave.
        """
        if self._closed:
            return
        self._usable().leave(self._clock())
        if self._snapshot is not None:
            self._snapshot.sync()
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
        self._driver.wake()
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
            GossipError: the cluster is closed.
        """
        node = self._usable()
        checked_text("name", name)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_told(_now: float) -> None:
            if not told.done():
                told.set_result(None)

        if node.force_leave(name, self._clock(), prune=prune, on_told=on_told):
            self._driver.wake()
            async with asyncio.timeout(self.config.broadcast_timeout):
                await told
        member = node.members.get(name)
        return MemberStatus.NONE if member is None else member.status

    async def fire(self, name: str, payload: bytes = b"", *, coalesce: bool = True) -> int:
        """Fire a user event to every member, ourselves included; returns its Lamport time.

        Where more events come than the pool's ring can hold, callers wait for their turn.

        Raises:
            LimitError: name and payload exceed the limit; nothing was sent.
            GossipError: the cluster is closed.
        """
        self._usable()
        checked_text("event name", name)
        payload = checked_payload("event payload", payload)
        async with self._firing:
            # The wait is for time to pass, not for a condition that somebody could set.
            while pause := self.node.event_pause(self._clock()):  # noqa: ASYNC110
                await asyncio.sleep(pause)
            if self._snapshot is not None:
                await self._snapshot.reserve()
            ltime = self._usable().user_event(name, payload, self._clock(), coalesce=coalesce)
        self._driver.wake()
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
        node = self._usable()
        question = Question(
            checked_text("query name", name),
            checked_payload("query payload", payload),
            checked_names("nodes", nodes),
            checked_tags("tags", tags or {}),
            request_ack,
            index(relay_factor),
            timeout,
        )
        replies = QueryReplies(self._stats)
        collector = node.query(
            question, self._clock(), on_reply=replies.receive, on_closed=replies.ended
        )

        def close() -> None:
            node.close_query(collector, self._clock())

        replies.opened(node.driver_time(collector.deadline), close)
        self._driver.wake()
        return replies

    async def respond(self, query: QueryReceived, payload: bytes) -> None:
        """Answer a query that a subscription gave.

        Raises:
            LimitError: encoded the answer exceeds the limit; a smaller one may be tried.
            QueryError: the deadline has passed, or it has been answered.
            GossipError: the cluster is closed.
        """
        answer = checked_payload("answer", payload)
        self._usable().respond(query, answer, self._clock())
        self._driver.wake()

    def on_query(self, name: str, handler: QueryHandler) -> None:
        """Answer queries of that name with what a function returns, or not when that is None.

        Args:
            name: of the queries; a second handler for it replaces the first.
            handler: a coroutine function, or a plain one, which may block: it runs in a thread, and
                must not touch the cluster from there. What it raises is logged.

        Raises:
            GossipError: the name belongs to the protocol.
            TypeError: the name is no text, or the handler no function.
        """
        self._handlers.register(name, handler)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change our tags.

        Raises:
            ConfigError: they are not texts, or encoded they exceed 512 bytes; nothing was changed.
            GossipError: the cluster is closed.
        """
        node = self._usable()
        try:
            wanted = checked_tags("tags", tags)
        except (TypeError, LimitError) as error:
            raise ConfigError(str(error)) from None
        node.set_tags(wanted, self._clock())
        self._driver.wake()

    def set_reconnect_timeout(self, seconds: float) -> None:
        """Forget failed members after another time from now on.

        Raises:
            ConfigError: it is out of range; nothing was changed.
            GossipError: the cluster is closed.
        """
        node = self._usable()
        self.config = self.config.replace(reconnect_timeout=seconds)
        node.members.reconnect_timeout = seconds

    # What happens

    def subscribe(
        self,
        *,
        limit: int = 1024,
        on_missed: Callable[[], None] | None = None,
        kinds: tuple[type[Event], ...] | None = None,
    ) -> Subscription[Event]:
        """Membership changes, user events and queries from now on; nothing once the cluster is closed.

        Args:
            limit: events kept for a slow consumer; beyond, a `Gap` tells how many were lost.
            on_missed: called for each that is lost, at once.
            kinds: classes of those that are wanted; the others do not wake the consumer. None for all.

        Raises:
            LimitError: `limit` is below 1.
        """
        subscription = Subscription(limit, self._subscriptions.remove, on_missed, kinds)
        self._subscriptions.append(subscription)
        if self._closed:
            subscription.close()
        return subscription

    # Inside

    def _usable(self) -> Node:
        """The node, for a call that changes something.

        Raises:
            GossipError: the cluster is not running, or the caller is not on its event loop.
        """
        node = self.node
        if self._closed:
            raise GossipError("the cluster is closed")
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise GossipError("the cluster may be used only on the event loop that started it")
        return node

    def _clock(self) -> float:
        return self._machine.clock()

    async def _keyring(self) -> Keyring | None:
        keys = self.config.keys
        if self._keyring_file is not None:
            keys = await self._keyring_file.open(keys)
            self.config.replace(keys=keys)  # judges them together with the other settings
        return Keyring(keys) if keys else None

    def _publish(self, node: Node) -> None:
        """Tell everybody who waits what the node put out."""
        for event in node.take_events():
            for subscription in self._subscriptions:
                subscription.publish(event)
            if isinstance(event, QueryReceived):
                self._handlers.receive(event)
        if notices := node.take_notices():
            self._notices.write(notices)
        self._check_changes()
        if node.lifecycle is Lifecycle.LEFT and self._left and not self._left.done():
            self._left.set_result(None)
        if node.lifecycle is Lifecycle.LOST_NAME and self._closing is None:
            self._closing = asyncio.create_task(self.close())
        if self._snapshot is not None:
            self._snapshot.look()


async def _finished(exchange: Exchange) -> None:
    """Wait until an exchange is done."""
    done = asyncio.get_running_loop().create_future()

    def finish(_exchange: Exchange, _now: float) -> None:
        if not done.done():
            done.set_result(None)

    if not exchange.done:
        exchange.on_done(finish)
        await done
