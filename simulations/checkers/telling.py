# ruff: noqa: ARG002, D102 - the hooks of a checker have one signature each, and `Checker` says what they are
"""Of what applications are told: times, events, and members (S8 to S11, S16 to S18)."""

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

__all__ = ["Events", "EventsMatchTable", "IndexMonotonic", "LTimes", "LeaveIsFinal"]


class LTimes(Checker):
    """S8 and S9: Lamport clocks never go back, nor further ahead than allowed at once."""

    invariant = "S8"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._held: dict[Host, tuple[int, int, int]] = {}
        self._ended: dict[str, tuple[int, int, int]] = {}
        self._delivered: dict[Host, int] = defaultdict(int)

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
        member_time, _, query_time = self._held.pop(host, (0, 0, 0))
        # Of events those count that were delivered: the others are still wanted after a restart.
        self._ended[host.name] = member_time, self._delivered.pop(host, 0), query_time

    def told(self, host: Host, event: Event) -> None:
        if isinstance(event, UserEvent):
            self._delivered[host] = max(self._delivered[host], event.ltime)

    def drained(self, host: Host) -> None:
        times, held = self._times(host), self._held.get(host)
        if held is None or times == held:
            return
        self._held[host] = times
        for now, then in zip(times, held, strict=True):
            if now < then:
                self.violated(f"a clock of {host.name} went from {then} to {now}", host.name)

    def witnessed(self, host: Host, before: int, after: int) -> None:
        jump = host.node.config.max_ltime_jump
        if after - before > jump + 1 or after >= 2**63 + 1:
            text = f"one message took a clock of {host.name} from {before} to {after}"
            self.watch.violated("S9", text, host.name)

    @staticmethod
    def _times(host: Host) -> tuple[int, int, int]:
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
