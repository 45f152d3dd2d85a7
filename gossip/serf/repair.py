"""Repair: what gossip missed shows, and is asked for.

Lamport times of events are handed out without gaps: whoever fires takes the clock's value and moves it
on by one. So a time that stays empty in our ring, while later ones are filled, is an event that gossip
failed to bring here (a few copies in a million do). Serf finds it at the next push/pull, half a minute
later; we ask a member soon, a few times, and then take it that there was none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.serf.lamport import LamportClock
    from gossip.serf.ring import EventRing
    from gossip.swim.timers import Timers

__all__ = ["EventRepair", "MemberRepair", "Requests"]

PATIENCE = 0.25
"""Gossip among our own nodes has so long to fill a hole before somebody is asked, seconds."""
PATIENCE_TICKS = 5
"""Among genuine agents, which pass events on at their ticks, it has so many of those: a hole is then
mostly an event on its way, and each request costs both sides their whole rings."""
REQUESTS_PER_MINUTE = 12
"""So often a node asks, whatever holes somebody's odd clock makes."""
MAX_REQUESTS = 3
"""So many members are asked about one hole."""
MAX_MISSING = 256
"""Names of missing members that are remembered; one is enough to ask."""


class Requests:
    """Asks random members for their state, but not as often as somebody may provoke.

    Args:
        exchange: begins a state exchange with a random member.
    """

    def __init__(self, exchange: Callable[[float], None]) -> None:
        self._exchange = exchange
        self._minute_ends = 0.0
        self._asked = 0

    def ask(self, now: float) -> bool:
        """Ask somebody, unless this minute's requests are used up; tells whether it did."""
        if now >= self._minute_ends:
            self._minute_ends = now + 60.0
            self._asked = 0
        if self._asked >= REQUESTS_PER_MINUTE:
            return False
        self._asked += 1
        self._exchange(now)
        return True


class EventRepair:
    """Watches the ring for holes.

    Args:
        ring: recent events.
        clock: the event clock.
        timers: where looks are booked.
        requests: asks somebody.
        patience: seconds until somebody is asked, and between two requests.
    """

    def __init__(
        self,
        ring: EventRing,
        clock: LamportClock,
        timers: Timers,
        requests: Requests,
        patience: Callable[[], float],
    ) -> None:
        self._ring = ring
        self._clock = clock
        self._timers = timers
        self._requests = requests
        self._patience = patience
        self._newest = clock.time - 1
        self._settled = self._newest  # no hole up to here, or none that anybody could fill
        self._watching = False

    def received(self, ltime: int, now: float) -> None:
        """An event of this time is in the ring."""
        if ltime > self._newest + 1 and not self._watching:
            self._watch(now, asked=0, upto=ltime)
        self._newest = max(self._newest, ltime)

    def forget_before(self, ltime: int) -> None:
        """Events before this time are not wanted."""
        self._settled = max(self._settled, ltime - 1)
        self._newest = max(self._newest, ltime - 1)

    def _watch(self, now: float, *, asked: int, upto: int) -> None:
        def look(now: float) -> None:
            self._look(now, asked=asked, upto=upto)

        self._watching = True
        self._timers.call_at(now + self._patience(), look)

    def _look(self, now: float, *, asked: int, upto: int) -> None:
        self._watching = False
        hole = self._ring.first_hole(self._settled + 1, upto, self._clock.time)
        if hole is not None and asked < MAX_REQUESTS and self._requests.ask(now):
            self._settled = hole - 1
            self._watch(now, asked=asked + 1, upto=upto)
            return
        self._settled = upto
        later = self._ring.first_hole(upto + 1, self._newest, self._clock.time)
        if later is not None:
            self._watch(now, asked=0, upto=self._newest)


class MemberRepair:
    """Asks for members of whom only the join intent arrived.

    An intent travels apart from the news that its member is alive. Where one has come and the other
    has not, gossip missed it, as it does for a pair in some ten thousand when many join.

    Args:
        unknown: tells whether a name's join intent is here and the member is not.
        timers: where looks are booked.
        requests: asks somebody.
        patience: seconds until somebody is asked.
    """

    def __init__(
        self,
        unknown: Callable[[str], bool],
        timers: Timers,
        requests: Requests,
        patience: Callable[[], float],
    ) -> None:
        self._unknown = unknown
        self._timers = timers
        self._requests = requests
        self._patience = patience
        self._names: set[str] = set()

    def announced(self, name: str, now: float) -> None:
        """The intent of an unknown member arrived."""
        if not self._names:
            self._timers.call_at(now + self._patience(), self._look)
        if len(self._names) < MAX_MISSING:
            self._names.add(name)

    def _look(self, now: float) -> None:
        names, self._names = self._names, set()
        if any(self._unknown(name) for name in names):
            self._requests.ask(now)
