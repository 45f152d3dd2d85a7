"""Intents: which members mean to be here, and which mean to go or were told to.

    intent --witnessed--> member known ----newer than its status--> applied, passed on
                              |
                              no --newer than the one held--> kept until the member is known, passed on

A leave intent about us while we stay is answered with a newer join intent. A push/pull carries the
times of all members as if each were an intent; nothing of it is passed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gossip.events import MemberStatus
from gossip.serf.leave import Lifecycle
from gossip.serf.repair import MemberRepair
from gossip.wire.serf import JoinIntent, LeaveIntent

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.serf.members import SerfMember
    from gossip.serf.node import Node
    from gossip.serf.repair import Requests
    from gossip.wire.address import Address
    from gossip.wire.serf import StateSync

__all__ = ["Intent", "Intents", "RecentIntents"]

Intent: TypeAlias = JoinIntent | LeaveIntent

MAX_RECENT_INTENTS = 16384
"""Intents kept about unknown members; beyond, the oldest goes (Serf's is bounded by time only)."""


class RecentIntents:
    """The newest intent about each unknown member, for a while."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._held: dict[str, tuple[Intent, float]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, intent: Intent, now: float) -> bool:
        """Keep an intent if it is newer than the one held; tells whether it was."""
        held = self._held.pop(intent.node, None)
        if held is not None and intent.ltime <= held[0].ltime:
            self._held[intent.node] = held
            return False
        if len(self._held) >= MAX_RECENT_INTENTS:
            del self._held[next(iter(self._held))]
        self._held[intent.node] = (intent, now)
        return True

    def get(self, node: str) -> Intent | None:
        """The intent held about a node."""
        held = self._held.get(node)
        return held[0] if held is not None else None

    def expire(self, now: float) -> None:
        """Forget what is older than the timeout."""
        for node in [n for n, (_, at) in self._held.items() if now - at > self._timeout]:
            del self._held[node]


class Intents:
    """The intents of a `Node`: its own, and what becomes of those that it hears of.

    Args:
        node: owns the members and the clock of intents.
        requests: asks members for what is missing.

    Attributes:
        early: those that arrived before the member they are about.
    """

    def __init__(self, node: Node, requests: Requests) -> None:
        self.early = RecentIntents(node.config.recent_intent_timeout)
        self._node = node
        self._queue = node.membership.dissemination.intents
        self._repair = MemberRepair(
            self._is_missing, node.membership.timers, requests, node.patience
        )

    def receive(self, intent: Intent, data: bytes, source: Address | None, now: float) -> None:
        """An intent came by gossip, as these bytes; what is new is passed on."""
        if self._take_in(intent, now):
            self._node.broadcast(self._queue, data, source, now)

    def merge(self, state: StateSync, now: float) -> None:
        """A peer's view of who is here and who left; none of it is passed on."""
        left = set(state.left_members)
        for name in state.left_members:
            ltime = state.status_ltimes.get(name, 0) + 1
            self._take_in(LeaveIntent(ltime, name, prune=False), now)
        for name, ltime in state.status_ltimes.items():
            if name not in left:
                self._take_in(JoinIntent(ltime, name), now)

    def apply(self, intent: Intent, now: float) -> bool:
        """Apply an intent whose time has been witnessed; tells whether it was news."""
        node = self._node
        member = node.members.get(intent.node)
        if member is None:
            if not self.early.offer(intent, now):
                return False
            if isinstance(intent, JoinIntent):
                self._repair.announced(intent.node, now)
            return True
        if intent.ltime <= member.status_ltime:
            return False
        if isinstance(intent, JoinIntent):
            node.members.apply_join(member, intent)
            return True
        if intent.node == node.config.name and node.lifecycle is Lifecycle.ALIVE:
            node.stats["leave_intents_refuted"] += 1
            self.announce_join(now)
            return False
        node.members.apply_leave(member, intent, now)
        if intent.prune and intent.node != node.config.name:
            self._prune(member, now)
        return True

    def announce_join(self, now: float) -> None:
        """Tell everybody that we are here, later than whatever they heard before."""
        node = self._node
        intent = JoinIntent(node.member_clock.increment(), node.config.name)
        self.apply(intent, now)
        node.broadcast(self._queue, intent.encode(), None, now)

    def force_leave(
        self, name: str, now: float, *, prune: bool, on_told: Callable[[float], None] | None
    ) -> bool:
        """Declare that a member left; see `Node.force_leave`."""
        node = self._node
        if node.members.get(name) is None:
            return False
        intent = LeaveIntent(node.member_clock.increment(), name, prune=prune)
        self.apply(intent, now)
        if node.membership.table.alive > 1:
            node.broadcast(self._queue, intent.encode(), None, now, on_told=on_told)
        elif on_told is not None:
            on_told(now)
        return True

    def _take_in(self, intent: Intent, now: float) -> bool:
        node = self._node
        return node.witness(node.member_clock, intent.ltime) and self.apply(intent, now)

    def _prune(self, member: SerfMember, now: float) -> None:
        members, config = self._node.members, self._node.config
        if member.status is not MemberStatus.LEAVING:
            members.erase(member, now)
            return

        def erase_unless_back(now: float) -> None:
            # Serf erases it whatever happened meanwhile. One that refuted stays, and so does one that
            # still answers: nothing would tell us of it again.
            record = self._node.membership.table.get(member.info.name)
            if members.get(member.info.name) is member and (
                member.status in {MemberStatus.LEAVING, MemberStatus.LEFT}
                and (record is None or record.gone)
            ):
                members.erase(member, now)

        delay = config.broadcast_timeout + config.leave_propagate_delay
        self._node.membership.timers.call_at(now + delay, erase_unless_back)

    def _is_missing(self, name: str) -> bool:
        """Whether a name's join intent is here and the member is not."""
        unknown = self._node.members.get(name) is None
        return unknown and isinstance(self.early.get(name), JoinIntent)
