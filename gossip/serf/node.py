"""Node: the complete participant, without I/O. Feed it bytes and time, then drain it.

    inputs                           outputs
    receive_packet, accept           take_packets  datagrams to send
    handle_timeout                   take_dials    exchanges to open TCP connections for
    join, leave, force_leave,        take_events   what the application is told
    user_event, query, respond,      take_notices  lines for the operator's log
    set_tags                         next_timeout  when to call handle_timeout

Inputs never raise because of what came from the network. `now` is the driver's monotonic time in
seconds; inside, local time is used (see `gossip.swim.clock`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.serf.asking import Asking, Collector, Question
from gossip.serf.coalesce import Coalescer
from gossip.serf.conflict import NameConflict
from gossip.serf.delegate import SerfDelegate
from gossip.serf.intents import Intents
from gossip.serf.key_queries import KeyChange, KeyQueries
from gossip.serf.lamport import LamportClock
from gossip.serf.leave import Departure, Lifecycle
from gossip.serf.members import MemberRegistry
from gossip.serf.pool_coordinates import PoolCoordinates
from gossip.serf.queries import Queries
from gossip.serf.rejoin import Rejoin
from gossip.serf.repair import PATIENCE, PATIENCE_TICKS, Requests
from gossip.serf.ring import EventRing
from gossip.serf.tags import encode_own_tags, is_our_kind
from gossip.serf.upkeep import Upkeep
from gossip.serf.user_events import UserEvents
from gossip.swim.clock import LocalClock
from gossip.swim.members import NodeInfo, Status
from gossip.swim.membership import Membership, own_versions
from gossip.wire.messages import MessageType
from gossip.wire.packet import PacketCodec
from gossip.wire.stream import StreamCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from gossip.config import Config
    from gossip.events import Admit, Event, QueryReceived, QueryReply
    from gossip.serf.snapshot import Snapshot
    from gossip.swim.broadcast import TransmitQueue
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address
    from gossip.wire.keyring import Keyring

__all__ = ["Node"]

USER = bytes((MessageType.USER,))


class Node:
    """One member of a Serf pool.

    Args:
        config: the pool's settings.
        addr: the address that others are told, 4 or 16 bytes.
        port: the port that others are told.
        rng: every random choice of this node.
        new_nonce: 12 fresh random bytes per call.
        now: the driver's time.
        keyring: encrypts and decrypts; None for plain text.
        admit: tells why members may not be in the pool, or None when they may.
        snapshot: what an earlier run left: the clocks go on where they were, and its pool is joined
            again. What happens is taken down in it. None remembers nothing.
        save_keys: called with each change of the keyring that is to be kept over a restart, which
            counts once the change is told that it is saved; None for a ring in memory only.

    Raises:
        ConfigError: the tags do not fit.
    """

    def __init__(
        self,
        config: Config,
        addr: bytes,
        port: int,
        *,
        rng: Random,
        new_nonce: Callable[[], bytes],
        now: float,
        keyring: Keyring | None = None,
        admit: Admit | None = None,
        snapshot: Snapshot | None = None,
        save_keys: Callable[[KeyChange], None] | None = None,
    ) -> None:
        self.config = config
        self.lifecycle = Lifecycle.ALIVE
        self.keyring = keyring
        self._local_clock = LocalClock(now)
        self._events: list[Event] = []
        self.member_clock = LamportClock(config.max_ltime_jump)
        self.event_clock = LamportClock(config.max_ltime_jump)
        self.query_clock = LamportClock(config.max_ltime_jump)
        self.ring = EventRing(config.event_buffer)
        vsn = own_versions(config.protocol_version)
        layers: dict[str, Any] = {
            "keyring": keyring,
            "label": config.label,
            "skip_inbound_label_check": config.skip_inbound_label_check,
            "verify_incoming": config.verify_incoming,
            "verify_outgoing": config.verify_outgoing,
            "compress": config.compress,
            "new_nonce": new_nonce,
        }
        self.membership = Membership(
            config,
            NodeInfo(config.name, addr, port, encode_own_tags(config.tags), vsn),
            packet_codec=PacketCodec(**layers),
            stream_codec=StreamCodec(**layers),
            delegate=SerfDelegate(self, admit),
            rng=rng,
            enter=self.enter,
            driver_time=self._local_clock.driver_time,
        )
        self.stats = self.membership.stats
        emit: Callable[[Event, float], None] = self._emit
        if config.coalesce_period:
            emit = Coalescer(
                config.coalesce_period,
                config.quiescent_period,
                self.membership.timers,
                self._events.append,
            ).offer
        self._snapshot = snapshot
        if snapshot is not None:
            emit = self._taken_down(emit, snapshot)
        self.notify = emit
        requests = Requests(self.membership.state_exchange.exchange_with_anyone)
        self.intents = Intents(self, requests)
        self.members = MemberRegistry(config, self.intents.early, emit)
        self.coordinates: PoolCoordinates | None = None
        if config.coordinates:
            self.coordinates = PoolCoordinates(config.name, self.members, self.stats, rng)
        self.asking = Asking(self, rng)
        self.name_conflict = NameConflict(self)
        self.queries = Queries(
            self,
            {
                "ping": lambda _query, _now: None,  # it asks for an ack, and has it
                "conflict": self.name_conflict.answer,
                **KeyQueries(self, save_keys).handlers(),
            },
        )
        self.user_events = UserEvents(self, requests)
        self._departure: Departure | None = None
        now = self.enter(now)
        self._rejoin: Rejoin | None = None
        if snapshot is not None:
            self._resume(snapshot)
            self._rejoin = Rejoin(self, snapshot, rng, now)
        self.membership.start(now)
        Upkeep(self, rng, now)

    # Inputs

    def enter(self, now: float) -> float:
        """Local time at the driver's `now`; every input comes through here."""
        local, late = self._local_clock.enter(now, self.membership.timers.next_at())
        if late:
            self.membership.stalled(late, local)
        return local

    def receive_packet(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came."""
        self.membership.receive_packet(data, addr, self.enter(now))

    def handle_timeout(self, now: float) -> None:
        """Do whatever is due at `now`."""
        self.membership.handle_timeout(self.enter(now))

    def accept(self, addr: Address, now: float) -> Exchange | None:
        """A machine for an inbound TCP connection, or None to close it at once."""
        return self.membership.accept(addr, self.enter(now))

    def join(
        self, addresses: Sequence[Address], now: float, *, ignore_old: bool = True
    ) -> list[Exchange]:
        """Exchange states with these nodes; the dials are queued, one for each.

        Args:
            addresses: members of the pool to join.
            now: the driver's time.
            ignore_old: do not replay the user events from before the join, as Serf's agent asks.

        Returns:
            The exchanges: each ends ``done``, with ``error`` None if it worked.
        """
        return self.join_pool(addresses, self.enter(now), ignore_old=ignore_old)

    def join_pool(
        self, addresses: Sequence[Address], now: float, *, ignore_old: bool
    ) -> list[Exchange]:
        """`join` at local time."""
        announced = False

        def joined(exchange: Exchange, now: float) -> None:
            nonlocal announced
            staying = self.lifecycle is Lifecycle.ALIVE  # else it would outdo our leave intent
            if exchange.error is None and staying and not announced:
                announced = True
                self.intents.announce_join(now)

        exchanges: list[Exchange] = []
        for address in addresses:
            exchange = self.membership.join(address, now, ignore_old=ignore_old)
            exchange.on_done(joined)
            exchanges.append(exchange)
        return exchanges

    def leave(self, now: float) -> None:
        """Leave gracefully; `lifecycle` is LEFT when it is done and the driver may stop."""
        if self.lifecycle is Lifecycle.ALIVE:
            self.lifecycle = Lifecycle.LEAVING
            if self._snapshot is not None:
                self._snapshot.leave()
            self._departure = Departure(self, self._left)
            self._departure.begin(self.enter(now))

    def force_leave(
        self,
        name: str,
        now: float,
        *,
        prune: bool = False,
        on_told: Callable[[float], None] | None = None,
    ) -> bool:
        """Declare that a member left; a running one refutes it.

        Args:
            name: the member.
            now: the driver's time.
            prune: forget it altogether.
            on_told: called with local time when the broadcast has been told.

        Returns:
            False when nobody has that name: then nothing happens.
        """
        return self.intents.force_leave(name, self.enter(now), prune=prune, on_told=on_told)

    def event_pause(self, now: float) -> float:
        """Seconds to wait before the next `user_event`, so that no node finds it too old; mostly 0."""
        return self.user_events.pause(self.enter(now))

    def user_event(self, name: str, payload: bytes, now: float, *, coalesce: bool = True) -> int:
        """Fire a user event; returns its Lamport time.

        Raises:
            LimitError: it is too large; the clock has not moved.
        """
        return self.user_events.fire(name, payload, self.enter(now), coalesce=coalesce)

    def query(
        self,
        question: Question,
        now: float,
        *,
        on_reply: Callable[[QueryReply, float], None],
        on_closed: Callable[[float], None],
    ) -> Collector:
        """Ask the members; what comes back goes to the callbacks, see `Asking.ask`.

        Raises:
            LimitError: it is too large, or too many are open; nothing was sent.
        """
        return self.asking.ask(question, self.enter(now), on_reply=on_reply, on_closed=on_closed)

    def close_query(self, collector: Collector, now: float) -> None:
        """Take no more replies to a query of ours."""
        self.asking.close(collector, self.enter(now))

    def close_queries(self, now: float) -> None:
        """Close all queries of ours: the driver stops."""
        self.asking.close_all(self.enter(now))

    def respond(self, query: QueryReceived, payload: bytes, now: float) -> None:
        """Answer a query that the application was told of.

        Raises:
            LimitError: the answer is too large.
            QueryError: it comes too late, or is the second one.
        """
        self.queries.respond(query, payload, self.enter(now))

    def set_tags(self, tags: Mapping[str, str], now: float) -> None:
        """Change our tags; every member sees an update.

        Raises:
            ConfigError: they do not fit; nothing was changed.
        """
        self.membership.update_meta(encode_own_tags(tags), self.enter(now))

    @property
    def rejoining(self) -> bool:
        """Nobody else is alive, and the snapshot knows of members that should be."""
        return self._rejoin is not None and self._rejoin.seeking

    # Outputs

    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due, in the driver's time."""
        at = self.membership.timers.next_at()
        return None if at is None else self._local_clock.driver_time(at)

    def take_packets(self) -> list[tuple[bytes, Address]]:
        """Datagrams to send."""
        return self.membership.take_packets()

    def take_dials(self) -> list[Exchange]:
        """Exchanges to open TCP connections for."""
        return self.membership.take_dials()

    def take_notices(self) -> list[str]:
        """Lines for the operator's log."""
        return self.membership.take_notices()

    def take_events(self) -> list[Event]:
        """What happened, in order."""
        if not self._events:
            return []
        events = self._events.copy()
        self._events.clear()  # the list itself is shared with the coalescer
        return events

    # Shared by the parts

    def patience(self) -> float:
        """Seconds that gossip has to bring what is missing before a member is asked."""
        return PATIENCE if self.only_our_kind() else PATIENCE_TICKS * self.config.gossip_interval

    def driver_time(self, local: float) -> float:
        """The driver's time at a point of local time, if nothing stalls until then."""
        return self._local_clock.driver_time(local)

    def only_our_kind(self) -> bool:
        """Whether no genuine agent, which passes news on at its ticks, is in the pool."""
        return all(
            is_our_kind(record.info.meta)
            for record in self.membership.table
            if record.status <= Status.SUSPECT
        )

    def witness(self, clock: LamportClock, seen: int) -> bool:
        """Move a clock past a time that was seen; False when it is too far ahead to be true."""
        if clock.witness(seen):
            return True
        self.stats["ltimes_refused"] += 1
        self.membership.notice(
            f"Lamport time {seen} is more than {self.config.max_ltime_jump} ahead of {clock.time}"
        )
        return False

    def broadcast(
        self,
        queue: TransmitQueue,
        message: bytes,
        source: Address | None,
        now: float,
        on_told: Callable[[float], None] | None = None,
    ) -> None:
        """Queue a Serf message for everybody.

        Args:
            queue: one of the dissemination's.
            message: its bytes, with the Serf type byte.
            source: who sent it and so has it; None for our own.
            now: local time.
            on_told: called when all its copies are sent.
        """
        packet = USER + message
        if not self.membership.broadcast_fits(packet):
            self.stats["broadcasts_too_large"] += 1  # push/pull carries what gossip cannot
            return
        queue.push(packet, now, source=source, on_finished=on_told)
        least = self.config.min_queue_depth
        most = max(least, 2 * len(self.members)) if least else self.config.max_queue_depth
        if len(queue) > most:
            self.stats["broadcasts_dropped"] += queue.prune(most, now)
        self.membership.dissemination.wake(now)

    def _emit(self, event: Event, _now: float) -> None:
        self._events.append(event)

    def _resume(self, snapshot: Snapshot) -> None:
        """Go on where an earlier run ended, before anything is sent or received."""
        clocks = self.member_clock, self.event_clock, self.query_clock
        self.stats["snapshot_clocks_refused"] += snapshot.resume(*clocks)
        self.stats["snapshot_lines_skipped"] += snapshot.skipped
        self.user_events.forget_before(snapshot.event_clock + 1)
        self.queries.min_time = snapshot.query_clock + 1

    def _taken_down(
        self, emit: Callable[[Event, float], None], snapshot: Snapshot
    ) -> Callable[[Event, float], None]:
        """Have events taken down before they are merged with others or delivered."""

        def taken_down(event: Event, now: float) -> None:
            if not snapshot.record(event):
                self.stats["snapshot_members_refused"] += 1
            emit(event, now)

        return taken_down

    def _left(self, _now: float) -> None:
        self.lifecycle = Lifecycle.LEFT
