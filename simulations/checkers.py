"""Safety: what must never happen, checked at every transition (reliability.md section 6, S1 to S20).

S16 is about the HTTP API's index; its source, the registry's version, is checked here. S19 is about
snapshot files and is tested with them. S20, no input crashes a node, is reported by the world itself.
"""

# ruff: noqa: ARG002 - the hooks of a checker have one signature each

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final, TypeAlias

from gossip.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    UserEvent,
)
from gossip.serf.intents import MAX_RECENT_INTENTS
from gossip.serf.leave import Lifecycle
from gossip.serf.ring import MAX_BUFFERED_EVENTS
from gossip.serf.snapshot import CLOCK_GAP
from gossip.snapshot_file import FLUSH_INTERVAL
from gossip.swim.broadcast import MAX_TOLD
from gossip.swim.members import NodeInfo, Status
from gossip.swim.probe import MAX_RELAYED_PINGS
from simulations.watch import Checker

if TYPE_CHECKING:
    from gossip.events import Event
    from gossip.serf.members import SerfMember
    from gossip.wire.address import Address
    from simulations.host import Host
    from simulations.watch import Transition, View, Watch

__all__ = ["CHECKERS"]

Times: TypeAlias = tuple[int, ...]
"""Of the member, event and query clock."""

GONE: Final = frozenset({Status.DEAD, Status.LEFT})
LEGAL: Final = frozenset(
    {
        (Status.ALIVE, Status.ALIVE),
        (Status.ALIVE, Status.SUSPECT),
        (Status.ALIVE, Status.DEAD),
        (Status.ALIVE, Status.LEFT),
        (Status.SUSPECT, Status.ALIVE),
        (Status.SUSPECT, Status.DEAD),
        (Status.SUSPECT, Status.LEFT),
        (Status.DEAD, Status.ALIVE),
        (Status.LEFT, Status.ALIVE),
    }
)
MAX_AMPLIFICATION = 3
"""Bytes to a stranger per byte from it."""
MAX_DEPTH = 8
NEWS_HOPS = 4
"""Packets of one causal chain: answers, and some hops of news per doubling of the pool."""
FREE_ANSWER = 128
"""A single small answer is never counted as amplification."""
ENVELOPES = (b"\x00", b"\x01")


def _moved(before: View, after: View) -> bool:
    """Whether a name was taken over by a process at another address, which starts anew."""
    return before.info.address != after.info.address


class IncarnationMonotonic(Checker):
    """S1: a row's incarnation never goes back, and nobody's own does."""

    invariant = "S1"

    def changed(self, change: Transition) -> None:
        before, after = change.before, change.after
        if before is None or after is None or after.incarnation >= before.incarnation:
            return
        if _moved(before, after) and before.status in GONE:
            return
        who = f"{change.observer.name} has {change.subject}"
        self.violated(
            f"{who} go back from incarnation {before.incarnation} to {after.incarnation}",
            change.observer.name, change.subject,
        )  # fmt: skip


class OnlyOwnerIncrements(Checker):
    """S2: nobody holds an incarnation of a member that it never had itself."""

    invariant = "S2"
    honest = True

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._highest: dict[str, int] = defaultdict(int)

    def changed(self, change: Transition) -> None:
        if change.after is None:
            return
        name, incarnation = change.subject, change.after.incarnation
        if change.observer.name == name:
            self._highest[name] = max(self._highest[name], incarnation)
        elif incarnation > self._highest[name]:
            self.violated(
                f"{change.observer.name} holds {name}@{incarnation}, "
                f"which never went beyond {self._highest[name]}",
                change.observer.name, name,
            )  # fmt: skip


class NoResurrection(Checker):
    """S3: the dead and the left come back at a higher incarnation only."""

    invariant = "S3"

    def changed(self, change: Transition) -> None:
        before, after = change.before, change.after
        if before is None or after is None or before.status not in GONE or after.status in GONE:
            return
        if after.incarnation <= before.incarnation and not _moved(before, after):
            self.violated(
                f"{change.observer.name} has {change.subject} return from "
                f"{before.status.name.lower()}@{before.incarnation} at {after.incarnation}",
                change.observer.name, change.subject,
            )  # fmt: skip


class LegalTransitions(Checker):
    """S4: statuses follow one another as the protocol says, and only who leaves has left."""

    invariant = "S4"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._leavers: set[str] = set()

    def leaving(self, name: str) -> None:
        self._leavers.add(name)

    def changed(self, change: Transition) -> None:
        before, after = change.before, change.after
        if before is None or after is None:
            return
        if before.status is not after.status and (before.status, after.status) not in LEGAL:
            self._illegal(change.observer, change.subject, before.status, after.status)
        if after.status is Status.LEFT and change.subject not in self._leavers:
            self._unasked(change.observer, change.subject)

    def status_changed(
        self, host: Host, member: SerfMember, before: MemberStatus, after: MemberStatus
    ) -> None:
        if before is MemberStatus.LEFT and after is MemberStatus.FAILED:
            self._illegal(host, member.info.name, before, after)
        if after is MemberStatus.LEFT and member.info.name not in self._leavers:
            self._unasked(host, member.info.name)

    def _illegal(
        self, host: Host, name: str, before: Status | MemberStatus, after: Status | MemberStatus
    ) -> None:
        path = f"{before.name.lower()} to {after.name.lower()}"
        self.violated(f"{host.name} has {name} go from {path}", host.name, name)

    def _unasked(self, host: Host, name: str) -> None:
        if all(not other.poisoned for other in self.world.hosts.values()):
            self.violated(f"{host.name} has {name} left, which never left", host.name, name)


class OneMetaPerIncarnation(Checker):
    """S5: what is held alive of a member is what the member said at that incarnation."""

    invariant = "S5"
    honest = True

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._said: dict[tuple[str, int], dict[int, NodeInfo]] = defaultdict(dict)

    def changed(self, change: Transition) -> None:
        after, name = change.after, change.subject
        if after is None or after.status is not Status.ALIVE:
            return
        said = self._said[name, after.incarnation]
        if change.observer.name == name:
            life = change.observer.life
            if said.setdefault(life, after.info) != after.info:
                self.violated(f"{name} says two things at {after.incarnation}", name)
        elif after.info not in said.values():
            self.violated(
                f"{change.observer.name} holds {name}@{after.incarnation} with what it never said",
                change.observer.name, name,
            )  # fmt: skip


class SelfAlive(Checker):
    """S6: a running node is alive to itself, unless it leaves."""

    invariant = "S6"

    def changed(self, change: Transition) -> None:
        host, after = change.observer, change.after
        if change.subject != host.name or host.node.lifecycle is not Lifecycle.ALIVE:
            return
        if after is None or after.status is not Status.ALIVE:
            self._wrong(host, "no more" if after is None else after.status.name.lower())

    def status_changed(
        self, host: Host, member: SerfMember, before: MemberStatus, after: MemberStatus
    ) -> None:
        if member.info.name != host.name or host.node.lifecycle is not Lifecycle.ALIVE:
            return
        if after is not MemberStatus.ALIVE:
            self._wrong(host, after.name.lower())

    def _wrong(self, host: Host, what: str) -> None:
        self.violated(f"{host.name} runs and sees itself {what}", host.name)


class UniqueName(Checker):
    """S7: one row per name, and it is the row of that name."""

    invariant = "S7"

    def changed(self, change: Transition) -> None:
        after, host = change.after, change.observer
        if after is not None and after.info.name != change.subject:
            self.violated(
                f"{host.name} holds {after.info.name} under the name {change.subject}", host.name
            )

    def audit(self, host: Host) -> None:
        for rows in (
            [record.info.name for record in host.node.membership.table],
            [member.info.name for member in host.node.members],
        ):
            if len(rows) != len(set(rows)):
                twice = sorted({name for name in rows if rows.count(name) > 1})
                self.violated(f"{host.name} has two rows of {', '.join(twice)}", host.name)


class LTimes(Checker):
    """S8 and S9: Lamport clocks never go back, nor further ahead than allowed at once."""

    invariant = "S8"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._held: dict[Host, Times] = {}
        self._ended: dict[str, Times] = {}
        self._delivered: dict[Host, int] = defaultdict(int)
        self._unwritten: dict[Host, deque[tuple[float, Times]]] = defaultdict(deque)

    def started(self, host: Host) -> None:
        node = host.node
        clocks = (node.member_clock, node.event_clock, node.query_clock)
        times = tuple(clock.upcoming for clock in clocks)
        kept: tuple[int, ...] = host.resumed or (0, 0, 0)
        if host.disk is not None and host.disk.sound:
            # The gap makes up for what was not written yet, but for a clock of which nothing was.
            ended = self._ended.get(host.name, kept)
            kept = tuple(e if k else 0 for k, e in zip(kept, ended, strict=True))
        # A snapshot's time that is absurdly far ahead is refused, as on the wire, and counted.
        believed = node.config.max_ltime_jump
        if any(now < then <= believed for now, then in zip(times, kept, strict=True)):
            self.violated(f"{host.name} restarts at {times}, having been at {kept}", host.name)
        self._held[host] = self._times(host)

    def stopped(self, host: Host) -> None:
        ended = self._to_be_kept(host)
        self._forget_written(host)
        if unwritten := self._unwritten.pop(host):
            # What came last may be lost with the process, and leap further than any gap makes up for.
            ended = tuple(
                now if now - then <= CLOCK_GAP else then
                for now, then in zip(ended, unwritten[0][1], strict=True)
            )
        self._ended[host.name] = ended
        self._held.pop(host, None)
        self._delivered.pop(host, None)

    def told(self, host: Host, event: Event) -> None:
        if isinstance(event, UserEvent) and event.ltime > self._delivered[host]:
            self._moves(host)
            self._delivered[host] = event.ltime

    def drained(self, host: Host) -> None:
        times, held = self._times(host), self._held.get(host)
        if held is None or times == held:
            return
        self._moves(host)
        self._held[host] = times
        for now, then in zip(times, held, strict=True):
            if now < then:
                self.violated(f"a clock of {host.name} went from {then} to {now}", host.name)

    def witnessed(self, host: Host, before: int, after: int) -> None:
        jump = host.node.config.max_ltime_jump
        if after - before > jump + 1 or after >= 2**63 + 1:
            text = f"one message took a clock of {host.name} from {before} to {after}"
            self.watch.violated("S9", text, host.name)

    def _moves(self, host: Host) -> None:
        """A clock is about to be another."""
        self._unwritten[host].append((self.watch.world.now, self._to_be_kept(host)))
        self._forget_written(host)

    def _forget_written(self, host: Host) -> None:
        unwritten = self._unwritten[host]
        while unwritten and unwritten[0][0] < self.watch.world.now - FLUSH_INTERVAL:
            unwritten.popleft()

    def _to_be_kept(self, host: Host) -> Times:
        """Of events those count that were delivered: the others are still wanted after a restart."""
        member_time, _, query_time = self._held.get(host, (0, 0, 0))
        return member_time, self._delivered[host], query_time

    @staticmethod
    def _times(host: Host) -> Times:
        node = host.node
        return node.member_clock.time, node.event_clock.time, node.query_clock.time


class Events(Checker):
    """S10 and S11: an event is delivered once, and one node's events carry rising times."""

    invariant = "S10"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._delivered: dict[Host, set[tuple[int, str, bytes]]] = defaultdict(set)
        self._before: dict[str, set[tuple[int, str, bytes]]] = {}
        self._fired: dict[tuple[str, int], int] = {}

    def started(self, host: Host) -> None:
        if host.resumed is not None:
            before = self._before.get(host.name, set())
            self._delivered[host] = {key for key in before if key[0] <= host.resumed[1]}

    def stopped(self, host: Host) -> None:
        self._before[host.name] = self._delivered.pop(host, set())

    def told(self, host: Host, event: Event) -> None:
        if not isinstance(event, UserEvent):
            return
        key = event.ltime, event.name, event.payload
        if key in self._delivered[host]:
            self.violated(f"{host.name} got {event.name} at {event.ltime} twice", host.name)
        self._delivered[host].add(key)

    def fired(self, host: Host, ltime: int, name: str, payload: bytes) -> None:
        key = host.name, host.life
        if ltime <= self._fired.get(key, 0):
            self.watch.violated(
                "S11", f"{host.name} fired at {ltime} after {self._fired[key]}", host.name
            )
        self._fired[key] = ltime


class NoForeignMember(Checker):
    """S12: nobody of another pool is ever in a table."""

    invariant = "S12"

    def changed(self, change: Transition) -> None:
        other = self.world.hosts.get(change.subject)
        if change.before is None and other is not None and other.pool != change.observer.pool:
            self.violated(
                f"{change.observer.name} of {change.observer.pool!r} has {other.name} "
                f"of {other.pool!r}",
                change.observer.name, other.name,
            )  # fmt: skip


class BoundedState(Checker):
    """S13: whatever a node holds is bounded by the members that there are, or by a number."""

    invariant = "S13"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._names: set[str] = set()

    def changed(self, change: Transition) -> None:
        self._names.add(change.subject)

    def audit(self, host: Host) -> None:
        node, membership = host.node, host.node.membership
        config, queues = node.config, membership.dissemination.queues
        news = max(2 * len(node.members), config.max_queue_depth, config.min_queue_depth)
        bounds = {
            "records": (len(membership.table), len(self._names)),
            "members": (len(node.members), len(self._names)),
            "broadcasts of members": (len(queues[0]), len(membership.table) + MAX_TOLD),
            "other broadcasts": (max(map(len, queues[1:])), news),
            "intents": (len(node.intents.early), MAX_RECENT_INTENTS),
            "events": (node.ring._count, MAX_BUFFERED_EVENTS),  # noqa: SLF001 - bounds are not public
            "relayed pings": (len(membership.prober._relayed), MAX_RELAYED_PINGS),  # noqa: SLF001
            "streams": (membership._inbound, config.max_streams),  # noqa: SLF001
            "timers": (len(membership.timers), 3 * len(membership.table) + 2048),
        }
        for what, (count, most) in bounds.items():
            if count > most:
                self.violated(f"{host.name} holds {count} {what}, bound {most}", host.name)


class BoundedAmplification(Checker):
    """S14: strangers get little for their bytes, and no packet sets off an endless chain."""

    invariant = "S14"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._got: dict[tuple[Host, Address], int] = defaultdict(int)
        self._gave: dict[tuple[Host, Address], int] = defaultdict(int)

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        if source not in self.world.known_addresses:
            self._got[host, source] += len(data)

    def packet_sent(self, host: Host, data: bytes, address: Address, depth: int) -> None:
        if depth > MAX_DEPTH + NEWS_HOPS * len(self.world.hosts).bit_length():
            self.violated(f"{host.name} sends the packet {depth} of a chain", host.name)
        if (host, address) in self._got:
            self._gave[host, address] += len(data)
            most = MAX_AMPLIFICATION * self._got[host, address] + FREE_ANSWER
            if self._gave[host, address] > most:
                self.violated(f"{host.name} sends a stranger more than {most} bytes", host.name)


class NoPlaintextLeak(Checker):
    """S15: where there are keys, nothing leaves in plain text and nothing plain is believed."""

    invariant = "S15"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._plain: Host | None = None

    def packet_sent(self, host: Host, data: bytes, address: Address, depth: int) -> None:
        codec = host.node.membership.packet_codec
        if codec.keyring and not self._is_sealed(host, data):
            self.violated(f"{host.name} sends a packet in plain text", host.name)

    def stream_sent(self, host: Host, data: bytes) -> None:
        codec = host.node.membership.stream_codec
        header = len(codec.label_header) if data.startswith(codec.label_header) else 0
        if codec.keyring and data[header : header + 1] != b"\x0a":
            self.violated(f"{host.name} writes plain text to a stream", host.name)

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        keys = host.node.membership.packet_codec.keyring
        self._plain = host if keys and not self._is_sealed(host, data) else None

    def changed(self, change: Transition) -> None:
        if change.observer is self._plain and change.cause in {"alive", "suspect", "dead"}:
            self.violated(f"{change.observer.name} believes plain text", change.observer.name)

    def drained(self, host: Host) -> None:
        self._plain = None

    @staticmethod
    def _is_sealed(host: Host, data: bytes) -> bool:
        header = len(host.node.membership.packet_codec.label_header)
        return data[header : header + 1] in ENVELOPES


class IndexMonotonic(Checker):
    """S16: the registry's version grows, and stays only while the members look the same."""

    invariant = "S16"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._held: dict[Host, tuple[int, object]] = {}

    def audit(self, host: Host) -> None:
        shown = tuple(
            (m.info.name, m.info.address, m.info.meta, m.status) for m in host.node.members
        )
        version = host.node.members.version
        held = self._held.get(host)
        if held is not None and (version < held[0] or (version == held[0] and shown != held[1])):
            self.violated(f"{host.name} shows other members at version {version}", host.name)
        self._held[host] = version, shown

    def stopped(self, host: Host) -> None:
        self._held.pop(host, None)


class EventsMatchTable(Checker):
    """S17: whoever adds up the events has the table."""

    invariant = "S17"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._folded: dict[Host, dict[str, MemberStatus]] = defaultdict(dict)

    def told(self, host: Host, event: Event) -> None:
        folded = self._folded[host]
        match event:
            case MemberJoined(member):
                folded[member.name] = MemberStatus.ALIVE
            case MemberFailed(member):
                folded[member.name] = MemberStatus.FAILED
            case MemberLeft(member):
                folded[member.name] = MemberStatus.LEFT
            case MemberReaped(member):
                if folded.pop(member.name, None) is None:
                    self.violated(f"{host.name} reaps {member.name} twice", host.name)
            case MemberUpdated(member) if member.name not in folded:
                self.violated(f"{host.name} updates {member.name}, unknown", host.name)
            case _:
                pass

    def audit(self, host: Host) -> None:
        alive = {MemberStatus.ALIVE, MemberStatus.LEAVING}
        table = {
            m.info.name: MemberStatus.ALIVE if m.status in alive else m.status
            for m in host.node.members
        }
        if table != self._folded[host]:
            odd = sorted({n for n, _ in set(table.items()) ^ set(self._folded[host].items())})
            self.violated(f"{host.name} told other things of {', '.join(odd)}", host.name, *odd)

    def stopped(self, host: Host) -> None:
        self._folded.pop(host, None)


class LeaveIsFinal(Checker):
    """S18: whoever showed a member as left does not announce it as failed in that life."""

    invariant = "S18"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._left: dict[tuple[Host, str], int] = {}

    def told(self, host: Host, event: Event) -> None:
        match event:
            case MemberLeft(member):
                self._left[host, member.name] = 1
            case MemberJoined(member):
                self._left.pop((host, member.name), None)
            case MemberFailed(member) if (host, member.name) in self._left:
                self.violated(
                    f"{host.name} announces {member.name} as failed, which left",
                    host.name, member.name,
                )  # fmt: skip
            case _:
                pass


CHECKERS: tuple[type[Checker], ...] = (
    IncarnationMonotonic, OnlyOwnerIncrements, NoResurrection, LegalTransitions,
    OneMetaPerIncarnation, SelfAlive, UniqueName, LTimes, Events, NoForeignMember, BoundedState,
    BoundedAmplification, NoPlaintextLeak, IndexMonotonic, EventsMatchTable, LeaveIsFinal,
)  # fmt: skip
"""Every safety checker; S20 is the world's own."""
