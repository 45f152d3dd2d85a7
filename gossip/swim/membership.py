"""Membership: the SWIM state machine of one node, without I/O (what memberlist does).

Feed it packets, exchanges and time, then drain packets and dials. All times here are local time (see
`gossip.swim.clock`); exchanges, which the driver calls itself, translate through `enter`.

    (unknown) --alive--> ALIVE --suspect--> SUSPECT --timeout, dead--> DEAD --reaped--> (unknown)
                           ^                   |                        |
                           +---alive, newer----+------------------------+
                         ALIVE, SUSPECT --dead from itself--> LEFT --reaped--> (unknown)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.swim.awareness import Awareness
from gossip.swim.credibility import doubt_about_accusation, doubt_about_alive
from gossip.swim.dissemination import Dissemination
from gossip.swim.exchange import Exchange, InboundExchange, PushPullExchange
from gossip.swim.members import MemberTable, NodeInfo, Record, Status, supersedes
from gossip.swim.outbox import Outbox
from gossip.swim.probe import Prober
from gossip.swim.push_pull import StateExchange
from gossip.swim.reminders import Reminders
from gossip.swim.suspicion import Suspicions
from gossip.swim.timers import Timers
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    UserMessage,
    decode_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from gossip.config import Config
    from gossip.swim.delegate import Delegate
    from gossip.wire.address import Address
    from gossip.wire.packet import PacketCodec
    from gossip.wire.stream import StreamCodec

__all__ = ["Membership", "own_versions"]

FAREWELL_FANOUT = 64
"""A leaving node tells so many members itself; its own departure is worth the packets."""


def own_versions(serf_protocol: int) -> bytes:
    """The six version bytes of a node of ours: memberlist 1-5 speaking 2, Serf 2-5."""
    return bytes((1, 5, 2, 2, 5, serf_protocol))


class Membership(Outbox):
    """One node's part in the membership protocol.

    Args:
        config: the pool's settings.
        info: what we say about ourselves.
        packet_codec: layers of datagrams.
        stream_codec: layers of TCP streams.
        delegate: the layer above.
        rng: every random choice.
        enter: translates the driver's time into local time (and notices stalls).
        driver_time: the inverse.
    """

    def __init__(
        self,
        config: Config,
        info: NodeInfo,
        *,
        packet_codec: PacketCodec,
        stream_codec: StreamCodec,
        delegate: Delegate,
        rng: Random,
        enter: Callable[[float], float] = float,
        driver_time: Callable[[float], float] = float,
    ) -> None:
        super().__init__(packet_codec)
        self.config = config
        self.rng = rng
        self.delegate = delegate
        self.stream_codec = stream_codec
        self.enter = enter
        self.driver_time = driver_time
        self.timers = Timers()
        self.table = MemberTable(rng)
        self.awareness = Awareness(config.awareness_max)
        self.leaving = False
        self._room = config.udp_buffer_size - 2 - packet_codec.overhead
        self.dissemination = Dissemination(
            config, self.timers, rng, send=self._send_gossip, room=self._room
        )
        self.prober = Prober(self)
        self._suspicions = Suspicions(
            config, self.timers, warn=self._warn, declare_dead=self._declare_dead
        )
        self.state_exchange = StateExchange(self)
        self._reminders = Reminders(self)
        self._inbound = 0
        self.own = Record(info, 0.0)  # replaced by the table's at the start

    # Inputs

    def start(self, now: float) -> None:
        """Become a member of our own: incarnation 1, alive, and the schedules run."""
        info = self.own.info
        self.own = self.table.add(info, now)
        self.own.incarnation = 1
        self._become_alive(self.own, now)
        self.delegate.notify_join(self.own, now)
        self._tell_alive(self.own, None, now)
        self.prober.start(now)
        self.state_exchange.start(now)

    def receive_packet(self, data: bytes, source: Address, now: float) -> None:
        """One datagram; whatever is wrong with it is counted and dropped."""
        try:
            parts = self.packet_codec.decode(data)
        except WireError as error:
            self.stats[f"packets_refused_{error.layer}"] += 1
            if error.layer == "encrypt":
                self.notice_undecryptable(error, source, now)
            return
        finally:
            if dropped := self.packet_codec.dropped_parts:
                self.stats["parts_refused"] += dropped
                self.packet_codec.dropped_parts = 0
        for part in parts:
            if self.dissemination.heard(part, source, now):
                self.stats["messages_heard_again"] += 1
                continue
            try:
                message = decode_message(part)
            except WireError as error:
                self.stats[f"messages_refused_{error.layer}"] += 1
            else:
                self._handle(message, part, source, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self.timers.run_due(now)

    def stalled(self, late: float, now: float) -> None:
        """This process did not run for `late` seconds; `now` is where its time goes on."""
        self.stats["stalls"] += 1
        self.awareness.apply(1)
        self.prober.abandon()
        # A first cycle of listening before anybody is declared dead.
        self._suspicions.postpone(now + self.config.probe_interval, now)
        if late > self.config.probe_interval:
            # Ask how the others saw us meanwhile, to refute it.
            self.state_exchange.settle(now)

    def accept(self, address: Address, now: float) -> Exchange | None:
        """A machine for an inbound connection, or None to close it: too many are open."""
        if self._inbound >= self.config.max_streams:
            self.stats["streams_over_limit"] += 1
            return None
        self._inbound += 1
        exchange = InboundExchange(self, address, now + self.config.tcp_timeout)

        def closed(_exchange: Exchange, _now: float) -> None:
            self._inbound -= 1

        exchange.on_done(closed)
        return exchange

    def join(self, address: Address, now: float, *, ignore_old: bool) -> PushPullExchange:
        """Begin to join through a member; the dial is queued."""
        return self.state_exchange.dial(address, now, join=True, ignore_old=ignore_old)

    def update_meta(self, meta: bytes, now: float) -> None:
        """Tell everybody our new meta."""
        info = self.own.info
        self.own.info = NodeInfo(info.name, info.addr, info.port, meta, info.vsn)
        self.own.incarnation += 1
        self.delegate.notify_update(self.own, now)
        if not self.leaving:  # or it would call us back to life
            self._tell_alive(self.own, None, now)

    def leave(self, now: float) -> None:
        """Say farewell: dead from ourselves, to `FAREWELL_FANOUT` members at once.

        We go on answering; the caller decides when to stop.
        """
        self.leaving = True
        self.prober.stop()
        self.handle_dead(Dead(self.own.incarnation, self.config.name, self.config.name), None, now)

    # Sending

    def send(
        self, message: bytes, address: Address, now: float, member: Record | None = None
    ) -> None:
        """Queue a message, with news riding along when the receiver is known to be a member.

        Strangers get no news: an answer must not be much larger than the question.
        """
        parts = [message]
        if member is not None and self.dissemination.pending:
            room = self._room - len(message) - 2
            parts += self.dissemination.take(room, member.info.address, now)
        self.send_packet(parts, address)

    def send_to(self, member: Record, parts: Sequence[bytes]) -> None:
        """Queue one packet of these messages, with a checksum for a member that understands one."""
        self.send_packet(parts, member.info.address, crc=member.info.protocol_max >= 5)

    def tell_all(self, message: bytes) -> None:
        """Send a message to up to `FAREWELL_FANOUT` members at once, one packet each."""
        for record in self.table.choose(FAREWELL_FANOUT, self.is_reachable):
            self.send_to(record, [message])

    def broadcast_fits(self, message: bytes) -> bool:
        """Whether a message can travel in a gossip packet at all."""
        return len(message) + 2 <= self._room

    def member_at(self, name: str, address: Address) -> Record | None:
        """The member of that name if it lives at that address."""
        record = self.table.get(name)
        return record if record is not None and record.info.address == address else None

    def next_to_probe(self, now: float) -> Record | None:
        """The next member to probe; at the end of a round the long dead are forgotten."""
        oldest = now - self.config.gossip_to_the_dead_time

        def reap(record: Record) -> bool:
            return record.gone and record.changed_at < oldest and record is not self.own

        before = len(self.table)
        record = self.table.next_to_probe(reap, self.own)
        if len(self.table) != before:
            self.dissemination.resize(nodes=len(self.table))
            self.prober.tcp_only.forget_unknown()
        return record

    def _send_gossip(self, target: Record, now: float) -> bool:
        parts = self.dissemination.take(self._room, target.info.address, now)
        if parts:
            self.send_to(target, parts)
        return bool(parts)

    def is_reachable(self, record: Record) -> bool:
        """Whether it is somebody else who is alive."""
        return record is not self.own and record.status is Status.ALIVE

    # Receiving

    def _handle(self, message: Message, raw: bytes, source: Address, now: float) -> None:
        match message:
            case Ping():
                self.prober.handle_ping(message, source, now)
            case Ack():
                self.prober.handle_ack(message, now)
            case UserMessage():
                self.delegate.notify_message(message.payload, source, now)
            case Alive():
                self.handle_alive(message, source, now)
            case Suspect() if message.sender == message.node:
                self.stats["accusations_refused"] += 1  # nobody suspects itself (serf issue 336)
            case Suspect():
                self.handle_suspect(message, source, now)
            case Dead():
                self.handle_dead(message, source, now)
            case IndirectPing():
                self.prober.handle_indirect_ping(message, source, now)
            case Nack():
                self.prober.handle_nack(message)
            case _:
                self.stats[f"messages_unexpected_{raw[0]}"] += 1

    def handle_alive(self, alive: Alive, source: Address | None, now: float) -> None:
        """Somebody claims to be alive."""
        record = self.table.get(alive.node)
        stays = record is not None and record.info.lives_at(alive.addr, alive.port)
        if record is not None and stays and record is not self.own:
            held = record.status, record.incarnation
            if not supersedes(Status.ALIVE, alive.incarnation, *held):
                return  # nearly every alive ends here
        if self.leaving and alive.node == self.config.name:
            return
        if doubt := doubt_about_alive(alive, record):
            self.stats[doubt] += 1
            return
        info = NodeInfo(alive.node, alive.addr, alive.port, alive.meta, alive.vsn)
        if record is self.own:
            self._hear_about_ourselves(alive, info, now)
            return
        if (record is None or record.info != info) and (
            reason := self.delegate.admit([(info, Status.ALIVE)])
        ):
            self.stats["members_refused"] += 1
            self.notice(reason)
            return
        if record is None:
            record = self.table.add(info, now)
            self.dissemination.resize(nodes=len(self.table))
            self.state_exchange.learned(now)
        elif not stays:
            if not self._may_move(record, now):
                self.stats["name_conflicts"] += 1
                self.delegate.notify_conflict(record.info, info, now)
                return
            record.former = max(record.former, record.incarnation)
        self._accept_alive(record, info, alive.incarnation, source, now)

    def handle_suspect(self, suspect: Suspect, source: Address | None, now: float) -> None:
        """Somebody is accused of not answering."""
        record = self._accused(suspect)
        if record is None:
            if suspect.incarnation < self.own.incarnation:  # it has missed our refutation
                self._answer(suspect, source)
            return
        if suspect.node in self._suspicions:
            if self._suspicions.confirm(suspect.node, suspect.sender, now):
                self._tell(suspect.node, suspect.encode(), source, now)
            return
        if not supersedes(Status.SUSPECT, suspect.incarnation, record.status, record.incarnation):
            return
        if record is self.own:
            self._refute(suspect.incarnation, now)
            self._answer(suspect, source)
            return
        record.incarnation = suspect.incarnation
        self.table.set_status(record, Status.SUSPECT, now)
        self._suspicions.begin(suspect.node, suspect.sender, len(self.table), now)
        self.stats["suspected"] += 1
        self._tell(suspect.node, suspect.encode(), source, now)

    def handle_dead(self, dead: Dead, source: Address | None, now: float) -> None:
        """Somebody is declared dead, or says itself that it leaves."""
        record = self._accused(dead)
        status = Status.LEFT if dead.sender == dead.node else Status.DEAD
        if record is None or not supersedes(
            status, dead.incarnation, record.status, record.incarnation
        ):
            return
        if record is self.own and not self.leaving:
            self._refute(dead.incarnation, now)
            return
        self._suspicions.end(dead.node)
        record.incarnation = dead.incarnation
        self.table.set_status(record, status, now)
        if record is self.own:
            self._say_farewell(dead, now)
        else:
            self._tell(dead.node, dead.encode(), source, now)
            if status is Status.DEAD:
                self._reminders.add(record, now)
        self.delegate.notify_leave(record, now)

    # The parts of the state machine

    def _accused(self, news: Suspect | Dead) -> Record | None:
        """The record that a credible accusation is about, unless it is older than the record."""
        record = self.table.get(news.node)
        if record is None or news.incarnation < record.incarnation:
            return None
        if doubt := doubt_about_accusation(news, record):
            self.stats[doubt] += 1
            return None
        return record

    def _may_move(self, record: Record, now: float) -> bool:
        """Whether a name may be taken over from another address."""
        reclaim = self.config.dead_node_reclaim_time
        return record.status is Status.LEFT or (
            record.status is Status.DEAD and 0 < reclaim < now - record.changed_at
        )

    def _hear_about_ourselves(self, alive: Alive, info: NodeInfo, now: float) -> None:
        own = self.own
        if not own.info.lives_at(info.addr, info.port):
            self.stats["name_conflicts"] += 1
            self.delegate.notify_conflict(own.info, info, now)
        elif alive.incarnation > own.incarnation or (
            alive.incarnation == own.incarnation
            and (alive.meta, alive.vsn) != (own.info.meta, own.info.vsn)
        ):
            # Peers remember us from before a restart: take the lead again.
            self._refute(alive.incarnation, now)

    def _accept_alive(
        self, record: Record, info: NodeInfo, incarnation: int, source: Address | None, now: float
    ) -> None:
        self._suspicions.end(info.name)
        if record.status is Status.DEAD and record.incarnation:  # 0 has who is new
            self.state_exchange.returned(record, now)
        was_gone, old_meta = record.gone, record.info.meta
        record.info = info
        record.incarnation = incarnation
        if record.status is not Status.ALIVE:
            self._become_alive(record, now)
        self._tell_alive(record, source, now)
        if was_gone:
            self.delegate.notify_join(record, now)
        elif old_meta != info.meta:
            self.delegate.notify_update(record, now)

    def _become_alive(self, record: Record, now: float) -> None:
        self.table.set_status(record, Status.ALIVE, now)
        if record is not self.own:
            self.dissemination.ring.add(record)
            if len(self.dissemination):
                self.dissemination.wake(now)

    def _answer(self, suspect: Suspect, source: Address | None) -> None:
        """Tell an accuser that accuses us to our face that we are alive.

        What is told to all may miss it: whoever was cut off for long is dead to all, and no target.
        """
        own = self.own
        if suspect.node == own.info.name and source is not None and not self.leaving:
            accuser = self.member_at(suspect.sender, source)
            if accuser is not None:
                self.send_to(accuser, [self._alive(own)])

    def _refute(self, incarnation: int, now: float) -> None:
        self.own.incarnation = max(self.own.incarnation, incarnation) + 1
        self.awareness.apply(1)
        self.stats["refuted"] += 1
        self._tell_alive(self.own, None, now)

    def _tell_alive(self, record: Record, source: Address | None, now: float) -> None:
        self._tell(record.info.name, self._alive(record), source, now)

    @staticmethod
    def _alive(record: Record) -> bytes:
        info = record.info
        alive = Alive(record.incarnation, info.name, info.addr, info.port, info.meta, info.vsn)
        return alive.encode()

    def _tell(self, subject: str, message: bytes, source: Address | None, now: float) -> None:
        self.dissemination.membership.push(message, now, subject=subject, source=source)
        self.dissemination.wake(now)

    def _say_farewell(self, dead: Dead, now: float) -> None:
        message = dead.encode()
        self.tell_all(message)
        transmits = self.dissemination.farewell_transmits()
        self.dissemination.membership.push(message, now, subject=dead.node, transmits=transmits)
        self.dissemination.wake(now)

    def _warn(self, name: str, now: float) -> None:  # noqa: ARG002 - the signature of both callbacks
        record = self.table.get(name)
        assert record is not None  # noqa: S101 - suspects are not reaped
        suspect = Suspect(record.incarnation, name, self.config.name)
        self.send_to(record, [suspect.encode()])

    def _declare_dead(self, name: str, now: float) -> None:
        record = self.table.get(name)
        assert record is not None  # noqa: S101 - suspects are not reaped
        self.stats["declared_dead"] += 1
        self.handle_dead(Dead(record.incarnation, name, self.config.name), None, now)
