# ruff: noqa: ARG002, D102 - the hooks of a checker have one signature each, and `Checker` says what they are
"""Of what applications are told: events and members (S10, S11, S16 to S18)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gossip.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    UserEvent,
)
from simulations.watch import Checker

if TYPE_CHECKING:
    from gossip.events import Event
    from simulations.host import Host
    from simulations.watch import Watch

__all__ = ["Events", "EventsMatchTable", "IndexMonotonic", "LeaveIsFinal"]


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
