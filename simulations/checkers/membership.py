# ruff: noqa: ARG002, D102 - the hooks of a checker have one signature each, and `Checker` says what they are
"""Of the membership table: who is in it, as what, and who said so (S1 to S7, S12)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from gossip.events import (
    MemberStatus,
)
from gossip.serf.leave import Lifecycle
from gossip.swim.members import NodeInfo, Status
from simulations.watch import Checker

if TYPE_CHECKING:
    from gossip.serf.members import SerfMember
    from simulations.host import Host
    from simulations.watch import Transition, View, Watch

__all__ = [
    "IncarnationMonotonic",
    "LegalTransitions",
    "NoForeignMember",
    "NoResurrection",
    "OneMetaPerIncarnation",
    "OnlyOwnerIncrements",
    "SelfAlive",
    "UniqueName",
]

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
        if not self.world.covered["poison_sent"]:  # a lie outlives the process that told it
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
