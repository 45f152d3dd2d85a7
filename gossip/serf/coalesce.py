"""Coalescing: merge bursts before the application sees them, as Serf's agent does.

Member changes keep the last per member, and say nothing when that is what was said last; user events
that allow it keep, per name, those of the highest Lamport time. Everything is delivered when nothing
came for the quiescent period, and at the latest after the coalesce period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.events import (
    Event,
    MemberEvent,
    MemberReaped,
    MemberUpdated,
    NameConflictLost,
    QueryReceived,
    UserEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.swim.timers import Timer, Timers

__all__ = ["MAX_USER_EVENTS", "Coalescer"]

MAX_USER_EVENTS = 1024
"""User events held back; with so many, everything is delivered at once."""


class Coalescer:
    """Holds events back until they are quiet.

    Args:
        period: the longest delay, seconds.
        quiescent: the quiet time after which events are delivered, seconds.
        timers: where both are booked.
        deliver: receives what remains.
    """

    def __init__(
        self, period: float, quiescent: float, timers: Timers, deliver: Callable[[Event], None]
    ) -> None:
        self._period = period
        self._quiescent = quiescent
        self._timers = timers
        self._deliver = deliver
        self._members: dict[str, MemberEvent] = {}
        self._told: dict[str, type[MemberEvent]] = {}
        self._user: dict[str, list[UserEvent]] = {}
        self._user_events = 0
        self._quiet: Timer | None = None
        self._latest: Timer | None = None

    def offer(self, event: Event, now: float) -> None:
        """Take an event in, or pass it on when it may not be merged."""
        match event:
            case UserEvent(coalesce=True):
                self._hold(event)
            case UserEvent() | QueryReceived() | NameConflictLost():
                self._deliver(event)
                return
            case _:
                self._members[event.member.name] = event
        self._timers.cancel(self._quiet)
        self._quiet = self._timers.call_at(now + self._quiescent, self._flush)
        if self._latest is None:
            self._latest = self._timers.call_at(now + self._period, self._flush)
        if self._user_events >= MAX_USER_EVENTS:
            self._flush(now)

    def _hold(self, event: UserEvent) -> None:
        held = self._user.setdefault(event.name, [])
        if held and held[0].ltime < event.ltime:
            self._user_events -= len(held)
            held.clear()
        if not held or held[0].ltime == event.ltime:
            self._user_events += 1
            held.append(event)

    def _flush(self, _now: float) -> None:
        for timer in (self._quiet, self._latest):
            self._timers.cancel(timer)
        self._quiet = self._latest = None
        members, self._members = self._members, {}
        user, self._user, self._user_events = self._user, {}, 0
        for name, event in members.items():
            kind = type(event)
            if kind is MemberUpdated or self._told.get(name) is not kind:
                self._told[name] = kind
                self._deliver(event)
            if kind is MemberReaped:
                del self._told[name]
        for events in user.values():
            for user_event in events:
                self._deliver(user_event)
