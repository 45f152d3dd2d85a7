"""Reminders: those who died lately are told so, and whoever is alive after all refutes it.

memberlist lets the dead overhear gossip for a while (`Config.gossip_to_the_dead_time`), which does nothing
once there is no news: after a cut of some seconds both sides are quiet, and only the next reconnect, up to
half a minute later, finds out that the other side is back. Here the pool sends each of its recently
dead their death about `PER_INTERVAL` times per probe interval, all members together, so that a mended
pool is one again within seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.swim.members import Record, Status
from gossip.wire.messages import Dead

if TYPE_CHECKING:
    from gossip.swim.membership import Membership

__all__ = ["Reminders"]

PER_INTERVAL = 2.0
"""Reminders that one dead member gets in a probe interval, from the whole pool."""
MAX_AT_ONCE = 3
"""Reminders that one node sends in a probe interval, however many died."""


class Reminders:
    """The recently dead of one `Membership`, which says who died; who is alive again is left out."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._dead: dict[str, Record] = {}

    def add(self, record: Record, now: float) -> None:
        """A member was declared dead."""
        if not self._dead:
            interval = self._membership.config.probe_interval
            self._wait(interval * self._membership.rng.random(), now)
        self._dead[record.info.name] = record

    def _wait(self, seconds: float, now: float) -> None:
        self._membership.timers.call_at(now + seconds, self._tick)

    def _tick(self, now: float) -> None:
        membership = self._membership
        config = membership.config
        oldest = now - config.gossip_to_the_dead_time
        self._dead = {
            name: record
            for name, record in self._dead.items()
            if record.status is Status.DEAD and record.changed_at >= oldest
        }
        if membership.leaving:
            self._dead.clear()
        if not self._dead:
            return
        share = PER_INTERVAL * len(self._dead) / max(membership.table.alive, 1)
        count = min(int(share + membership.rng.random()), MAX_AT_ONCE, len(self._dead))
        for record in membership.rng.sample(list(self._dead.values()), count):
            dead = Dead(record.incarnation, record.info.name, config.name)
            membership.send_to(record, [dead.encode()])
        self._wait(config.probe_interval, now)
