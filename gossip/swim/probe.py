"""Failure detection: one member per interval is pinged, directly, through others, and over TCP.

    tick -> direct ping --ack--> alive                                  (SWIM section 3.1)
                 | no ack within probe_timeout
                 v
            indirect pings + TCP ping --any ack, or TCP answer--> alive
                 | nothing until interval * (awareness + 1) since the start
                 v
            suspect, unless we were stalled meanwhile

Members that were asked to ping and could not, send a nack: then the silence is not our own fault,
and our awareness of ourselves stays as it is (Lifeguard). A machine that refuses the TCP connection
says that the process is gone, and the wait for indirect answers is cut short. A probe in flight while this process was
stalled ends without a verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.swim.exchange import Exchange, PingExchange
from gossip.swim.members import Record, Status
from gossip.swim.tcp_only import TcpOnly
from gossip.wire.address import format_address, is_usable
from gossip.wire.messages import Ack, IndirectPing, Nack, Ping, Suspect

if TYPE_CHECKING:
    from gossip.swim.membership import Membership
    from gossip.swim.timers import Timer
    from gossip.wire.address import Address

__all__ = ["MAX_RELAYED_PINGS", "Prober"]

MAX_RELAYED_PINGS = 1024
"""Pings in flight on behalf of others; further requests are dropped and counted."""
REFUSED_SHARE = 0.25
"""After a refused TCP ping the probe goes on for this part of the probe timeout."""
SEQUENCE_MASK = 2**32 - 1


class _Probe:
    """One probe round in flight."""

    __slots__ = (
        "deadline", "expected_nacks", "incarnation", "nacks", "record", "seq_no",
        "started_at", "tcp", "timer",
    )  # fmt: skip

    def __init__(self, record: Record, seq_no: int, now: float, deadline: float) -> None:
        self.record = record
        self.incarnation = record.incarnation
        self.seq_no = seq_no
        self.started_at = now
        self.deadline = deadline
        self.expected_nacks = 0
        self.nacks = 0
        self.timer: Timer | None = None
        self.tcp: PingExchange | None = None


class _RelayedPing:
    """A ping sent because another member asked for it."""

    __slots__ = ("requester", "seq_no", "timer", "wants_nack")

    def __init__(self, requester: Address, seq_no: int, timer: Timer, *, wants_nack: bool) -> None:
        self.requester = requester
        self.seq_no = seq_no
        self.timer = timer
        self.wants_nack = wants_nack


class Prober:
    """Drives probes for a `Membership` and answers the probes of others."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._config = membership.config
        self._seq_no = 0
        self._probe: _Probe | None = None
        self._tick: Timer | None = None
        self._tick_missed = False
        self._relayed: dict[int, _RelayedPing] = {}
        self.tcp_only = TcpOnly(membership)

    def start(self, now: float) -> None:
        """Begin probing, at a random phase so that members do not probe in step."""
        phase = self._membership.rng.random() * self._config.probe_interval
        self._tick = self._membership.timers.call_at(now + phase, self._on_tick)

    def stop(self) -> None:
        """End probing; answers go on."""
        self._membership.timers.cancel(self._tick)
        self.abandon()

    def abandon(self) -> None:
        """End the probe in flight without a verdict: we could not have heard the answer."""
        if self._probe is not None:
            self._finish(self._probe)

    # The probe round

    def _on_tick(self, now: float) -> None:
        interval = self._config.probe_interval
        self._tick = self._membership.timers.call_at(now + interval, self._on_tick)
        if self._probe is not None:
            self._tick_missed = True  # ticks coalesce, they do not pile up
        else:
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._tick_missed = False
        membership = self._membership
        record = membership.next_to_probe(now)
        if record is None:
            return
        interval = membership.awareness.scale(self._config.probe_interval)
        probe = self._probe = _Probe(record, self._next_seq_no(), now, now + interval)
        ping = self._ping(probe.seq_no, record.info.name)
        if record.status is Status.SUSPECT:
            # Tell it of the suspicion in the same packet, so that it can refute at once.
            news = Suspect(record.incarnation, record.info.name, self._config.name)
            membership.send_to(record, [ping, news.encode()])
        else:
            membership.send(ping, record.info.address, now, record)
        probe.timer = membership.timers.call_at(now + self._config.probe_timeout, self._on_timeout)

    def _on_timeout(self, now: float) -> None:
        """No direct ack in time: ask others to ping, and try TCP."""
        probe = self._probe
        assert probe is not None  # noqa: S101 - the timer is cancelled with the probe
        membership, info = self._membership, probe.record.info
        peers = membership.table.choose(
            self._config.indirect_checks,
            lambda r: (
                r.status is Status.ALIVE and r is not probe.record and r is not membership.own
            ),
        )
        own = membership.own.info
        for peer in peers:
            nack = peer.info.protocol_max >= 4
            probe.expected_nacks += nack
            request = IndirectPing(
                probe.seq_no, info.addr, info.port, info.name, nack, own.addr, own.port, own.name
            )
            membership.send(request.encode(), peer.info.address, now, peer)
        if self._config.tcp_ping and info.protocol_max >= 3:
            message = self._ping(probe.seq_no, info.name)
            probe.tcp = PingExchange(
                membership, info.address, probe.deadline, message, probe.seq_no
            )
            probe.tcp.on_done(self._on_tcp_done)
            membership.dial(probe.tcp)
        probe.timer = membership.timers.call_at(probe.deadline, self._on_deadline)

    def _on_tcp_done(self, exchange: Exchange, now: float) -> None:
        """Nobody listens at the target: leave the indirect pings a moment, not the whole interval."""
        probe = self._probe
        if probe is not None and probe.tcp is exchange and exchange.refused:
            sooner = now + self._config.probe_timeout * REFUSED_SHARE
            if sooner < probe.deadline:
                probe.deadline = sooner
                self._membership.timers.cancel(probe.timer)
                probe.timer = self._membership.timers.call_at(sooner, self._on_deadline)

    def _on_deadline(self, now: float) -> None:
        probe = self._probe
        assert probe is not None  # noqa: S101 - the timer is cancelled with the probe
        membership, record = self._membership, probe.record
        self._finish(probe)
        if probe.tcp is not None and probe.tcp.answered:
            membership.awareness.apply(-1)
            self.tcp_only.add(record.info.name, now)
        else:
            self.tcp_only.discard(record.info.name)
            membership.awareness.apply(self._own_fault(probe))
            membership.stats["probes_failed"] += 1
            membership.handle_suspect(
                Suspect(probe.incarnation, record.info.name, self._config.name), None, now
            )
        self._catch_up(now)

    @staticmethod
    def _own_fault(probe: _Probe) -> int:
        """How much a failed probe says about ourselves."""
        if probe.tcp is not None and probe.tcp.refused:
            return 0  # the target's machine answered, so our network works
        return max(probe.expected_nacks - probe.nacks, 0) if probe.expected_nacks else 1

    def _succeed(self, probe: _Probe, now: float) -> None:
        self._finish(probe)
        self._membership.awareness.apply(-1)
        self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        if self._tick_missed:
            self._begin(now)

    def _finish(self, probe: _Probe) -> None:
        self._membership.timers.cancel(probe.timer)
        self._probe = None

    def _next_seq_no(self) -> int:
        self._seq_no = (self._seq_no + 1) & SEQUENCE_MASK
        return self._seq_no

    def _ping(self, seq_no: int, name: str) -> bytes:
        own = self._membership.own.info
        return Ping(seq_no, name, own.addr, own.port, own.name).encode()

    # What others send

    def handle_ack(self, ack: Ack, now: float) -> None:
        """An ack: for our probe, or for a ping that we relay; the first one counts."""
        probe = self._probe
        if probe is not None and ack.seq_no == probe.seq_no:
            name = probe.record.info.name
            if now - probe.started_at <= self._config.probe_timeout:
                self.tcp_only.discard(name)
                self._membership.delegate.notify_ping_complete(
                    probe.record, max(now - probe.started_at, 0.0), ack.payload
                )
            self._succeed(probe, now)
        elif (relayed := self._relayed.pop(ack.seq_no, None)) is not None:
            self._membership.timers.cancel(relayed.timer)
            answer = Ack(relayed.seq_no).encode()
            self._membership.send(answer, relayed.requester, now)
        else:
            self._membership.stats["acks_unexpected"] += 1

    def handle_nack(self, nack: Nack) -> None:
        """A member that we asked could not reach the target either."""
        probe = self._probe
        if probe is not None and nack.seq_no == probe.seq_no:
            probe.nacks += 1
        else:
            self._membership.stats["nacks_unexpected"] += 1

    def handle_ping(self, ping: Ping, source: Address, now: float) -> None:
        """Answer a ping that is meant for us."""
        membership = self._membership
        if ping.node and ping.node != self._config.name:
            membership.stats["pings_for_another_name"] += 1
            return
        reply_to = _reply_address(ping.source_addr, ping.source_port, source)
        ack = Ack(ping.seq_no, membership.delegate.ack_payload()).encode()
        # News is for members. Whoever merely claims to be one would use up its copies.
        telling = source == reply_to and membership.dissemination.pending
        member = membership.member_at(ping.source_node, source) if telling else None
        membership.send(ack, reply_to, now, member)

    def handle_indirect_ping(self, request: IndirectPing, source: Address, now: float) -> None:
        """Ping a third node for a member that cannot reach it."""
        membership = self._membership
        port = request.port or membership.own.info.port
        if not is_usable(request.target, port):
            membership.stats["addresses_refused"] += 1
            return
        if len(self._relayed) >= MAX_RELAYED_PINGS:
            membership.stats["relayed_pings_dropped"] += 1
            return
        requester = _reply_address(request.source_addr, request.source_port, source)
        seq_no = self._next_seq_no()

        def expire(now: float) -> None:
            relayed = self._relayed.pop(seq_no)
            if relayed.wants_nack:
                membership.send(Nack(relayed.seq_no).encode(), relayed.requester, now)

        timer = membership.timers.call_at(now + self._config.probe_timeout, expire)
        self._relayed[seq_no] = _RelayedPing(
            requester, request.seq_no, timer, wants_nack=request.nack
        )
        membership.send(self._ping(seq_no, request.node), format_address(request.target, port), now)


def _reply_address(addr: bytes, port: int, source: Address) -> Address:
    """Where an answer goes: the address in the message, or else where the packet came from."""
    return format_address(addr, port) if is_usable(addr, port) else source
