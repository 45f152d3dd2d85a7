"""Merged events: what the streams of Serf's RPC show, held back a moment so that a burst is one record.

Serf's agent merges before its clients see anything: member changes until a second passed without one, or
three in all, and user events that allow it likewise. What was the same kind of change for several members
is one record then; a member that failed and came back meanwhile is none. Other user events and queries
pass at once. The merging is the agent's, not a client's, so every stream shows the same.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gossip.events import (
    Event,
    Gap,
    Member,
    MemberEvent,
    NameConflictLost,
    QueryReceived,
    UserEvent,
)
from gossip.serf.coalesce import Coalescer
from gossip.subscriptions import Subscription
from gossip.swim.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.aio import Cluster

__all__ = ["MemberChange", "MergedEvents", "Shown"]

PERIOD = 3.0
"""The longest delay, seconds; Serf's."""
QUIET = 1.0
"""Without another event for so long the delay ends, seconds; Serf's."""
BACKLOG = 65536
"""Events that may wait to be merged; to join a pool is an event for each member."""


@dataclass(slots=True, frozen=True)
class MemberChange:
    """The same happened to some members.

    Attributes:
        kind: what.
    """

    kind: type[MemberEvent]
    members: tuple[Member, ...]


Shown: TypeAlias = MemberChange | UserEvent | QueryReceived


class MergedEvents:
    """The merged events of a cluster, for any number of subscribers.

    Args:
        cluster: has been started.
        on_missed: called for every event that is lost before it is merged.
    """

    def __init__(self, cluster: Cluster, on_missed: Callable[[], None]) -> None:
        self._source = cluster.subscribe(limit=BACKLOG, on_missed=on_missed)
        self._subscriptions: list[Subscription[Shown]] = []
        self._ready: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._timers = Timers()
        self._timer: asyncio.TimerHandle | None = None
        # Apart from each other, as in Serf: members in motion do not hold up user events.
        self._members = Coalescer(PERIOD, QUIET, self._timers, self._ready.append)
        self._user = Coalescer(PERIOD, QUIET, self._timers, self._ready.append)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, limit: int, on_missed: Callable[[], None]) -> Subscription[Shown]:
        """Merged events from now on; see `Subscription`."""
        subscription = Subscription[Shown](limit, self._subscriptions.remove, on_missed)
        self._subscriptions.append(subscription)
        return subscription

    async def run(self) -> None:
        """Merge until the cluster is closed; then the subscriptions end."""
        try:
            async for event in self._source:
                self._take(event)
        finally:
            self.close()

    def close(self) -> None:
        """End all subscriptions. What is held back is not shown any more. Idempotent."""
        self._source.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for subscription in list(self._subscriptions):
            subscription.close()

    def _take(self, event: Event | Gap) -> None:
        match event:
            case Gap() | NameConflictLost():
                return  # counted; and the cluster ends
            case UserEvent() | QueryReceived():
                self._user.offer(event, self._loop.time())
            case _:
                self._members.offer(event, self._loop.time())
        self._publish()

    def _publish(self) -> None:
        """Show what is ready, and come again when more is due."""
        for shown in _joined(self._ready):
            for subscription in self._subscriptions:
                subscription.publish(shown)
        self._ready.clear()
        due = self._timers.next_at()
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timers.run_due(self._loop.time())
        self._publish()


def _joined(events: list[Event]) -> list[Shown]:
    """One record for each kind of member change, where the first of the kind is; others as they are."""
    kinds: dict[type[MemberEvent], list[Member]] = {}
    shown: list[Shown] = []
    for event in events:
        match event:
            case UserEvent() | QueryReceived():
                shown.append(event)
            case NameConflictLost():
                pass
            case _:
                kinds.setdefault(type(event), []).append(event.member)
    return shown + [MemberChange(kind, tuple(members)) for kind, members in kinds.items()]
