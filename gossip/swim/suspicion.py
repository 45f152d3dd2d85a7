"""Suspicion: the time a suspect has to refute, shorter with every independent accuser (Lifeguard).

    begin --> waiting --a probe timeout before the deadline: warn--> warned --deadline--> dead
                 |                                                     |
                 +--------------------- refuted: end ------------------+

A suspect can refute only what it hears. The accusations of a node that was cut off go nowhere, and it
would bury the living when it is back; so whoever is about to declare a death tells the suspect itself
first. memberlist leaves that to its next probe of the suspect, a round of the whole pool later.
"""

from __future__ import annotations

from math import floor, log, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.config import Config
    from gossip.swim.timers import Timer, Timers

__all__ = ["Suspicion", "Suspicions", "suspicion_bounds"]


def suspicion_bounds(config: Config, members: int) -> tuple[int, float, float]:
    """Confirmations wanted and the shortest and longest timeout, seconds, as memberlist computes them.

    Args:
        config: gives the multipliers and the unscaled probe interval.
        members: how many members the table holds, dead ones included.
    """
    wanted = config.suspicion_mult - 2
    if members - 2 < wanted:
        wanted = 0  # too few others to confirm anything
    scale = max(1.0, floor(log10(max(1, members)) * 1000) / 1000)
    shortest = config.suspicion_mult * scale * config.probe_interval
    return max(wanted, 0), shortest, config.suspicion_max_timeout_mult * shortest


class Suspicion:
    """One suspect's timeout: `deadline` moves as accusers confirm it."""

    __slots__ = (
        "_confirmed",
        "_longest",
        "_not_before",
        "_shortest",
        "_started_at",
        "_wanted",
        "deadline",
        "warned",
    )

    def __init__(
        self, accuser: str, wanted: int, shortest: float, longest: float, now: float
    ) -> None:
        self._wanted = wanted
        self._shortest = shortest
        self._longest = longest
        self._started_at = now
        self._not_before = now
        self._confirmed = {accuser}
        self.warned = False
        self.deadline = now + (longest if wanted > 0 else shortest)

    def confirm(self, accuser: str) -> bool:
        """Count an accuser; False when it was counted before or no more are wanted."""
        confirmations = len(self._confirmed) - 1
        if confirmations >= self._wanted or accuser in self._confirmed:
            return False
        self._confirmed.add(accuser)
        share = log(confirmations + 2) / log(self._wanted + 1)
        timeout = self._longest - share * (self._longest - self._shortest)
        timeout = max(floor(timeout * 1000) / 1000, self._shortest)
        self.deadline = max(self._started_at + timeout, self._not_before)
        return True

    def postpone(self, until: float) -> None:
        """Give the suspect at least until then: we were not listening."""
        self._wait(until)
        self.warned = False

    def warn(self, until: float) -> None:
        """The suspect is told once more, and has at least until then to answer."""
        self._wait(until)
        self.warned = True

    def _wait(self, until: float) -> None:
        self._not_before = max(self._not_before, until)
        self.deadline = max(self.deadline, until)


class Suspicions:
    """Everybody who is suspect now, each with the timer of its `Suspicion`.

    Args:
        config: gives the multipliers and intervals.
        timers: where the timeouts are booked.
        warn: called with the name and the time shortly before a suspect is declared dead.
        declare_dead: called with the name and the time when a suspect did not refute.
    """

    def __init__(
        self,
        config: Config,
        timers: Timers,
        *,
        warn: Callable[[str, float], None],
        declare_dead: Callable[[str, float], None],
    ) -> None:
        self._config = config
        self._timers = timers
        self._warn = warn
        self._declare_dead = declare_dead
        self._held: dict[str, tuple[Suspicion, Timer]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, name: str, accuser: str, members: int, now: float) -> None:
        """Start the timeout of a new suspect in a table of so many members."""
        self._hold(name, Suspicion(accuser, *suspicion_bounds(self._config, members), now), now)

    def confirm(self, name: str, accuser: str, now: float) -> bool:
        """Count another accuser of a suspect; False when that is no news."""
        suspicion, timer = self._held[name]
        if not suspicion.confirm(accuser):
            return False
        self._timers.cancel(timer)
        self._hold(name, suspicion, now)
        return True

    def end(self, name: str) -> None:
        """It refuted, or is dead."""
        held = self._held.pop(name, None)
        if held is not None:
            self._timers.cancel(held[1])

    def postpone(self, until: float, now: float) -> None:
        """Declare nobody dead before then."""
        for name, (suspicion, timer) in list(self._held.items()):
            suspicion.postpone(until)
            self._timers.cancel(timer)
            self._hold(name, suspicion, now)

    def _hold(self, name: str, suspicion: Suspicion, now: float) -> None:
        def warn(now: float) -> None:
            suspicion.warn(now + self._config.probe_timeout)
            self._warn(name, now)
            self._hold(name, suspicion, now)

        def time_out(now: float) -> None:
            self._declare_dead(name, now)

        if suspicion.warned:
            at, callback = suspicion.deadline, time_out
        else:
            at, callback = suspicion.deadline - self._config.probe_timeout, warn
        # A late confirmation can move it into the past; a timer booked there would look as if we
        # had stalled.
        self._held[name] = (suspicion, self._timers.call_at(max(at, now), callback))
