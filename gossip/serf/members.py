r"""Serf's view of the members: membership's news and intents joined into one status.

    (none) --join--> ALIVE --leave intent--> LEAVING --dead, left--> LEFT --reaped--> (none)
                      ^ |  \--left----------------------------------> ^
                 join | | dead                                        | leave intent (force-leave)
                      | v                                             |
                     FAILED -----------------------------------------/   --reaped--> (none)

One deliberate difference to Serf: a member that tells the pool itself that it leaves (membership's
LEFT) is LEFT here even when its leave intent is still on the way; Serf would announce a failure first
and correct it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.events import (
    Event,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
)
from gossip.serf.tags import tags_of
from gossip.swim.members import NodeInfo, Record, Status
from gossip.wire.serf import JoinIntent, LeaveIntent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gossip.config import Config
    from gossip.serf.intents import RecentIntents
    from gossip.serf.pool_coordinates import MemberCoordinate

__all__ = ["MemberRegistry", "SerfMember", "describe_member"]

LEAVING_TIMEOUT = 60.0
"""A leave is over after some seconds, and a process that ended in it is found by then."""


def describe_member(info: NodeInfo, status: MemberStatus) -> Member:
    """The public view of a member."""
    versions = info.vsn if len(info.vsn) >= 6 else bytes(6)
    ip, port = info.address
    return Member(info.name, ip, port, tags_of(info.meta), status, *versions[:6])


class SerfMember:
    """What Serf holds about a member besides membership's record.

    Attributes:
        gone_at: since when it is leaving, left or failed, local time.
    """

    __slots__ = ("coordinate", "gone_at", "info", "status", "status_ltime", "view")

    def __init__(self, info: NodeInfo) -> None:
        self.info = info
        self.status = MemberStatus.NONE
        self.status_ltime = 0
        self.gone_at = 0.0
        self.view: Member | None = None
        self.coordinate: MemberCoordinate | None = None


class MemberRegistry:
    """All members by name, and the events of their changes.

    Args:
        config: how long the gone are kept.
        intents: intents that came before their member.
        emit: receives every event, in order.

    Attributes:
        reconnect_timeout: seconds until a failed member is forgotten; may change.
    """

    def __init__(
        self, config: Config, intents: RecentIntents, emit: Callable[[Event, float], None]
    ) -> None:
        self.reconnect_timeout = config.reconnect_timeout
        self._tombstone_timeout = config.tombstone_timeout
        self._intents = intents
        self._emit = emit
        self._members: dict[str, SerfMember] = {}
        self.counts = dict.fromkeys(MemberStatus, 0)
        self.version = 1
        """Grows with every change that a list of the members would show."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[SerfMember]:
        return iter(self._members.values())

    def get(self, name: str) -> SerfMember | None:
        """What is held about a name."""
        return self._members.get(name)

    def view(self, member: SerfMember) -> Member:
        """The public view, made once per change."""
        if member.view is None:
            member.view = describe_member(member.info, member.status)
        return member.view

    def views(self) -> list[Member]:
        """Everybody, in the order in which they were first seen."""
        return [self.view(member) for member in self._members.values()]

    def with_status(self, status: MemberStatus) -> list[SerfMember]:
        """All members of one status; free when there are none."""
        if not self.counts[status]:
            return []
        return [member for member in self._members.values() if member.status is status]

    # What membership reports

    def joined(self, record: Record, now: float) -> None:
        """A record became alive."""
        member = self._members.get(record.info.name)
        status = MemberStatus.ALIVE
        if member is None:
            member = self._members[record.info.name] = SerfMember(record.info)
            if (intent := self._intents.get(record.info.name)) is not None:
                member.status_ltime = intent.ltime
                if isinstance(intent, LeaveIntent):
                    status = MemberStatus.LEAVING
                    member.gone_at = now
        member.info = record.info
        self._set(member, status)
        self._emit(MemberJoined(self.view(member)), now)

    def updated(self, record: Record, now: float) -> None:
        """An alive record changed its meta."""
        member = self._members.get(record.info.name)
        if member is not None:
            member.info = record.info
            self._set(member, member.status)
            self._emit(MemberUpdated(self.view(member)), now)

    def gone(self, record: Record, now: float) -> None:
        """A record became dead or left."""
        member = self._members.get(record.info.name)
        if member is None:
            return
        if member.status is MemberStatus.LEAVING or (
            member.status is MemberStatus.ALIVE and record.status is Status.LEFT
        ):
            self._leave(member, now)
        elif member.status is MemberStatus.ALIVE:
            member.gone_at = now
            self._set(member, MemberStatus.FAILED)
            self._emit(MemberFailed(self.view(member)), now)

    # What intents say; about members known here and newer than what is held

    def apply_join(self, member: SerfMember, intent: JoinIntent) -> None:
        """It joined after whatever leave was heard of before."""
        member.status_ltime = intent.ltime
        if member.status is MemberStatus.LEAVING:
            self._set(member, MemberStatus.ALIVE)

    def apply_leave(self, member: SerfMember, intent: LeaveIntent, now: float) -> None:
        """It is leaving, or was forced to."""
        member.status_ltime = intent.ltime
        if member.status is MemberStatus.ALIVE:
            member.gone_at = now
            self._set(member, MemberStatus.LEAVING)
        elif member.status is MemberStatus.FAILED:
            self._leave(member, now)

    # Forgetting

    def reap(self, now: float) -> None:
        """Forget who has been gone for longer than the timeouts."""
        timeouts = {
            MemberStatus.FAILED: self.reconnect_timeout,
            MemberStatus.LEFT: self._tombstone_timeout,
        }
        for status, timeout in timeouts.items():
            for member in self.with_status(status):
                if now - member.gone_at > timeout:
                    self.erase(member, now)

    def end_stuck_leaves(self, now: float, is_alive: Callable[[str], bool]) -> None:
        """Show members as alive again that were to leave long ago and still answer.

        A leave that a push/pull carries may tie with the join intent that refutes it, and nothing would
        ever undo it (serf issue 18 is of the kind).
        """
        for member in self.with_status(MemberStatus.LEAVING):
            if now - member.gone_at > LEAVING_TIMEOUT and is_alive(member.info.name):
                self._set(member, MemberStatus.ALIVE)

    def erase(self, member: SerfMember, now: float) -> None:
        """Forget a member."""
        del self._members[member.info.name]
        self.counts[member.status] -= 1
        self.version += 1
        self._emit(MemberReaped(self.view(member)), now)

    def names(self, status: MemberStatus) -> Iterable[str]:
        """Names of all members of one status."""
        return (member.info.name for member in self.with_status(status))

    def _leave(self, member: SerfMember, now: float) -> None:
        member.gone_at = now
        self._set(member, MemberStatus.LEFT)
        self._emit(MemberLeft(self.view(member)), now)

    def _set(self, member: SerfMember, status: MemberStatus) -> None:
        if member.status is not MemberStatus.NONE:
            self.counts[member.status] -= 1
        self.counts[status] += 1
        member.status = status
        member.view = None
        self.version += 1
