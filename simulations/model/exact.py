"""What the exact simulator measures for a pool that the model describes: the production nodes, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossip.events import MemberFailed, UserEvent
from simulations.network import Weather
from simulations.shared import SharedWorld

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulations.host import Host
    from simulations.model.spread import Floats, Pool

__all__ = ["exact_detection", "exact_probes", "exact_spread"]

WARM_UP = 1.5
"""Virtual seconds before anything is measured: every member has probed somebody."""
EVENT_LIMIT = 5.0
"""Virtual seconds for an event to reach everybody."""


class _Observed(SharedWorld):
    """Notes when each host's application is first told something of one kind."""

    def __init__(self, pool: Pool, seed: int, kind: type) -> None:
        self._kind = kind
        self.told_at: dict[str, float] = {}
        settings = {
            name: getattr(pool.config, name)
            for name in pool.config.__dataclass_fields__
            if name != "name"
        }
        super().__init__(
            pool.members,
            seed,
            weather=Weather(latency=pool.latency, loss=pool.loss),
            **settings,
        )
        for host in self.hosts.values():
            host.keep_events = False

    def _told(self, host: Host, events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, self._kind):
                self.told_at.setdefault(host.name, self.now)


def _times(world: _Observed, start: float, expected: int) -> Floats:
    times = np.full(expected, np.inf)
    times[: len(world.told_at)] = [at - start for at in world.told_at.values()]
    return times


def exact_spread(pool: Pool, seed: int) -> Floats:
    """Seconds from firing one event until each member was told; infinite for who was not in time."""
    world = _Observed(pool, seed, UserEvent)
    world.run(WARM_UP)
    start = world.now
    world.fire(next(iter(world.hosts.values())), "deploy", b"v2")
    end = start + EVENT_LIMIT
    while len(world.told_at) < pool.members and world.now < end:
        world.run(0.05)
    return _times(world, start, pool.members)


def exact_detection(pool: Pool, seed: int, *, limit: float = 300.0) -> Floats:
    """Seconds from the end of one process until each of the others was told that it failed."""
    world = _Observed(pool, seed, MemberFailed)
    world.run(WARM_UP)
    start = world.now
    world.kill(next(iter(world.hosts.values())))
    while len(world.told_at) < pool.members - 1 and world.now < start + limit:
        world.run(0.25)
    return _times(world, start, pool.members - 1)


def exact_probes(pool: Pool, seed: int, seconds: float) -> int:
    """How many probes of a healthy pool fail within so many virtual seconds."""
    world = _Observed(pool, seed, MemberFailed)
    world.run(WARM_UP)
    nodes = [host.node for host in world.hosts.values()]
    before = sum(node.stats["probes_failed"] for node in nodes)
    world.run(seconds)
    return sum(node.stats["probes_failed"] for node in nodes) - before
