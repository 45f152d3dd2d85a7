"""Watch: shows every transition of every node to the checkers, as it happens.

A look at the tables now and then would miss what is wrong for a moment only. So the nodes of a watched
world run under subclasses of the core's machines whose handlers report what they changed; the core
itself has no hook and pays for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from gossip.serf.lamport import LamportClock
from gossip.serf.members import MemberRegistry
from gossip.swim.membership import Membership
from simulations.chains import NOTHING, depths_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossip.events import Event, MemberStatus
    from gossip.serf.members import SerfMember
    from gossip.swim.members import NodeInfo, Record, Status
    from gossip.wire.address import Address
    from gossip.wire.messages import Alive, Dead, Suspect
    from simulations.chains import Depths
    from simulations.host import Host
    from simulations.world import World

__all__ = ["Checker", "Transition", "View", "Violation", "Watch"]

MAX_VIOLATIONS = 100
"""Violations kept of one run; the first one is the interesting one."""


class View(NamedTuple):
    """What one node holds about a member."""

    status: Status
    incarnation: int
    info: NodeInfo


class Transition(NamedTuple):
    """One change of one node's view; None stands for no record."""

    observer: Host
    subject: str
    before: View | None
    after: View | None
    cause: str
    """The message that made it, or ``reaped`` or ``started``."""


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold."""

    invariant: str
    at: float
    text: str
    names: frozenset[str]
    """Nodes concerned."""

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.3f}: {self.text}"


class Checker:
    """Looks at what happens and says what should not have; each method is called when it happens.

    Attributes:
        invariant: its identity in reliability.md.
        honest: it holds only as long as no member with a valid key lies.
    """

    invariant = ""
    honest = False

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.world = watch.world

    def violated(self, text: str, *names: str) -> None:
        """Report that the invariant does not hold."""
        self.watch.violated(self.invariant, text, *names)

    def started(self, host: Host) -> None:
        """A process started."""

    def stopped(self, host: Host) -> None:
        """A process ended."""

    def changed(self, change: Transition) -> None:
        """A node's view of a member changed."""

    def status_changed(
        self, host: Host, member: SerfMember, before: MemberStatus, after: MemberStatus
    ) -> None:
        """Serf's status of a member changed; NONE for unknown."""

    def told(self, host: Host, event: Event) -> None:
        """A node told its application something."""

    def fired(self, host: Host, ltime: int, name: str, payload: bytes) -> None:
        """A node fired a user event."""

    def leaving(self, name: str) -> None:
        """A member is about to leave or was declared to have left."""

    def witnessed(self, host: Host, before: int, after: int) -> None:
        """A message moved a Lamport clock."""

    def packet_sent(self, host: Host, data: bytes, address: Address, depth: int) -> None:
        """A node sent a packet, number `depth` of a chain."""

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        """A node is about to read a packet."""

    def stream_sent(self, host: Host, data: bytes) -> None:
        """A node wrote to a stream."""

    def drained(self, host: Host) -> None:
        """A node has done whatever one input led to."""

    def audit(self, host: Host) -> None:
        """Time for a look at everything that a node holds; about once a second for each."""


_HOOKS = (
    "started", "stopped", "changed", "status_changed", "told", "fired", "leaving", "witnessed", "packet_sent",
    "packet_read", "stream_sent", "drained", "audit",
)  # fmt: skip


class Watch:
    """The checkers of one world, and what they found.

    Args:
        checkers: their classes.
        honest: no member lies; otherwise the checkers that need honesty are left out.
        audit_every: seconds between looks at everything.
    """

    world: World

    def __init__(
        self, checkers: Iterable[type[Checker]], *, honest: bool = True, audit_every: float = 1.0
    ) -> None:
        self.violations: list[Violation] = []
        self.transitions = 0
        self.accuracy: Any = None
        """The checker that begins with the calm phase, if there is one."""
        self._classes = [c for c in checkers if honest or not c.honest]
        self._audit_every = audit_every
        self._by_hook: dict[str, list[Any]] = {}

    def attach(self, world: World) -> None:
        """Watch a world; called by it."""
        self.world = world
        checkers = [make(self) for make in self._classes]
        for hook in _HOOKS:
            self._by_hook[hook] = [
                getattr(checker, hook)
                for checker in checkers
                if getattr(type(checker), hook) is not getattr(Checker, hook)
            ]
        world.at(world.now + self._audit_every, self._audit)

    def violated(self, invariant: str, text: str, *names: str) -> None:
        """Note a violation."""
        if len(self.violations) < MAX_VIOLATIONS:
            found = Violation(invariant, self.world.now, text, frozenset(names))
            self.violations.append(found)
            self.world.note("violated", names[0] if names else "", text=f"{invariant} {text}")

    # What the world reports

    def started(self, host: Host) -> None:
        """A process started; from here on its machines report."""
        _WatchedMembership.install(host, self)
        _WatchedRegistry.install(host, self)
        for clock in (host.node.member_clock, host.node.event_clock, host.node.query_clock):
            _WatchedClock.install(clock, host, self)
        for hook in self._by_hook["started"]:
            hook(host)
        own = host.node.membership.own
        self.changed(Transition(host, host.name, None, _view(own), "started"))

    def stopped(self, host: Host) -> None:
        """A process ended."""
        for hook in self._by_hook["stopped"]:
            hook(host)

    def crashed(self, host: Host, text: str) -> None:
        """The core raised an error."""
        self.violated("S20", f"{host.name} crashed:\n{text}", host.name)

    def fired(self, host: Host, ltime: int, name: str, payload: bytes) -> None:
        """A user event was fired."""
        for hook in self._by_hook["fired"]:
            hook(host, ltime, name, payload)

    def leaving(self, name: str) -> None:
        """A member leaves, of its own accord or not."""
        for hook in self._by_hook["leaving"]:
            hook(name)

    def told(self, host: Host, event: Event) -> None:
        """An application was told something."""
        for hook in self._by_hook["told"]:
            hook(host, event)

    def drained(self, host: Host) -> None:
        """An input is over."""
        for hook in self._by_hook["drained"]:
            hook(host)

    def packet_sent(self, host: Host, data: bytes, address: Address) -> Depths:
        """A packet leaves a node; gives how far what it says has come."""
        depths = depths_of(host, data, self.world.now)
        depth = max(depths.values(), default=1)
        for hook in self._by_hook["packet_sent"]:
            hook(host, data, address, depth)
        return depths

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        """A packet is about to be read."""
        for hook in self._by_hook["packet_read"]:
            hook(host, data, source)

    def stream_sent(self, host: Host, data: bytes) -> None:
        """Bytes leave a node on a stream."""
        for hook in self._by_hook["stream_sent"]:
            hook(host, data)

    # What the machines report

    def changed(self, change: Transition) -> None:
        """A view changed."""
        self.transitions += 1
        for hook in self._by_hook["changed"]:
            hook(change)

    def status_changed(
        self, host: Host, member: SerfMember, before: MemberStatus, after: MemberStatus
    ) -> None:
        """A registry changed."""
        for hook in self._by_hook["status_changed"]:
            hook(host, member, before, after)

    def witnessed(self, host: Host, before: int, after: int) -> None:
        """A Lamport clock moved."""
        for hook in self._by_hook["witnessed"]:
            hook(host, before, after)

    def _audit(self) -> None:
        world = self.world
        world.at(world.now + self._audit_every, self._audit)
        for host in world.running():
            for hook in self._by_hook["audit"]:
                hook(host)


def _view(record: Record | None) -> View | None:
    return None if record is None else View(record.status, record.incarnation, record.info)


class _WatchedMembership(Membership):
    """Membership that reports what its handlers changed."""

    watch: Watch
    host: Host

    @classmethod
    def install(cls, host: Host, watch: Watch) -> None:
        membership = host.node.membership
        membership.__class__ = cls
        assert isinstance(membership, cls)  # noqa: S101 - assigned above
        membership.host, membership.watch = host, watch

    def handle_alive(self, alive: Alive, source: Address | None, now: float) -> None:
        before = _view(self.table.get(alive.node))
        super().handle_alive(alive, source, now)
        self._report(alive.node, before, "alive")

    def handle_suspect(self, suspect: Suspect, source: Address | None, now: float) -> None:
        before = _view(self.table.get(suspect.node))
        super().handle_suspect(suspect, source, now)
        self._report(suspect.node, before, "suspect")

    def handle_dead(self, dead: Dead, source: Address | None, now: float) -> None:
        before = _view(self.table.get(dead.node))
        super().handle_dead(dead, source, now)
        self._report(dead.node, before, "dead")

    def update_meta(self, meta: bytes, now: float) -> None:
        before = _view(self.own)
        super().update_meta(meta, now)
        self._report(self.own.info.name, before, "tags")

    def next_to_probe(self, now: float) -> Record | None:
        rows = len(self.table)
        gone = rows > self.table.alive  # only then can anybody be reaped
        names = {record.info.name: _view(record) for record in self.table} if gone else {}
        record = super().next_to_probe(now)
        # A probe is owed to the clock, also one that begins late because the last one's ack came late.
        self.host.heard = (-inf, NOTHING)
        if len(self.table) != rows:
            for name, before in names.items():
                self._report(name, before, "reaped")
        return record

    def _report(self, name: str, before: View | None, cause: str) -> None:
        after = _view(self.table.get(name))
        if before != after:
            self.watch.changed(Transition(self.host, name, before, after, cause))


class _WatchedClock(LamportClock):
    """A Lamport clock that reports what moved it."""

    watch: Watch
    host: Host

    @classmethod
    def install(cls, clock: LamportClock, host: Host, watch: Watch) -> None:
        clock.__class__ = cls
        assert isinstance(clock, cls)  # noqa: S101 - assigned above
        clock.host, clock.watch = host, watch

    def witness(self, seen: int) -> bool:
        before = self.time
        believed = super().witness(seen)
        if self.time != before:
            self.watch.witnessed(self.host, before, self.time)
        return believed


class _WatchedRegistry(MemberRegistry):
    """Serf's registry that reports every change of a status."""

    watch: Watch
    host: Host

    @classmethod
    def install(cls, host: Host, watch: Watch) -> None:
        registry = host.node.members
        registry.__class__ = cls
        assert isinstance(registry, cls)  # noqa: S101 - assigned above
        registry.host, registry.watch = host, watch

    def erase(self, member: SerfMember, now: float) -> None:
        super().erase(member, now)
        none = type(member.status).NONE
        self.watch.status_changed(self.host, member, member.status, none)

    def _set(self, member: SerfMember, status: MemberStatus) -> None:
        before = member.status
        super()._set(member, status)
        self.watch.status_changed(self.host, member, before, status)
