"""The same plan in virtual time, recorded as the one of processes is, so that the two can be compared."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from gossip.events import UserEvent
from simulations.cluster.agent import ALIVE
from simulations.cluster.experiment import JOIN_WITHIN, SETTLE_WITHIN
from simulations.cluster.record import Record
from simulations.faults import Faults
from simulations.network import Weather
from simulations.world import NotReachedError, World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulations.host import Host
    from simulations.plan import Plan, Step

__all__ = ["run_virtual"]


def run_virtual(plan: Plan, seed: int, *, one_way: float | None = None) -> Record:
    """Run a plan in virtual time.

    Args:
        plan: what to do.
        seed: decides everything that is left to chance.
        one_way: seconds from one process into another besides what the plan's delays cost; None is
            what the simulator assumes of a local network.

    Raises:
        NotReachedError: the nodes do not find together.
    """
    weather = Weather()
    card = 0.0
    if one_way is not None:
        weather.latency = min(one_way, weather.latency)
        card = (one_way - weather.latency) / 2
    world = _RecordedWorld(seed, weather, card)
    faults = _RecordedFaults(world, plan, random.Random(f"choices {seed}"))
    faults.start_nodes()
    world.run_until(world.views_are_right, JOIN_WITHIN, every=0.05)
    world.begin()
    faults.book_steps()
    world.run(plan.seconds)
    faults.heal()
    try:
        world.run_until(world.all_is_well, SETTLE_WITHIN, every=0.05)
    except NotReachedError as error:
        world.record.problems.append(f"views are not right, or events missing: {error}")
    world.record.length = world.second
    return world.record


class _RecordedWorld(World):
    """A world that writes down what `Record` wants to know.

    Args:
        seed: see `World`.
        weather: see `World`.
        card: seconds that every packet takes at its sender, and again at its receiver.
    """

    def __init__(self, seed: int, weather: Weather, card: float) -> None:
        self._card = card
        self.record = Record("simulator")
        self._begun: float | None = None
        self._views: dict[str, dict[str, int]] = {}
        self._events = 0
        super().__init__(seed, weather=weather)

    @property
    def second(self) -> float:
        """Seconds since the beginning."""
        return self.now - (self._begun or 0.0)

    def begin(self) -> None:
        """From now on everything is recorded."""
        self._begun = self.now
        self.record.begin(host.name for host in self.running())

    def views_are_right(self) -> bool:
        """Whether every node sees exactly the running ones alive."""
        names = {host.name for host in self.running()}
        return all(
            {about for about, status in self._views[name].items() if status == ALIVE} == names
            for name in names
        )

    def all_is_well(self) -> bool:
        """Whether views are right and every event is everywhere."""
        return self.views_are_right() and not self.record.undelivered()

    def add(self, name: str, **options: Any) -> Host:
        """See `World`."""
        self._views[name] = {}
        if self._begun is not None:
            self.record.began(name, self.second)
        host = super().add(name, **options)
        host.delay = self._card
        return host

    def kill(self, host: Host, *, machine: bool = False) -> None:
        """See `World`."""
        if host.running:
            self._ended(host, "kill")
        super().kill(host, machine=machine)

    def leave(self, host: Host) -> None:
        """See `World`."""
        self._ended(host, "leave")
        super().leave(host)

    def restart(self, host: Host, **options: Any) -> Host:
        """See `World`."""
        if host.running:
            self._ended(host, "restart")
        return super().restart(host, **options)

    def pause(self, host: Host, seconds: float) -> None:
        """See `World`."""
        self.record.paused(host.name, self.second, self.second + seconds)
        super().pause(host, seconds)

    def fire(self, host: Host, name: str, payload: bytes = b"", **options: Any) -> int:
        """As an agent fires it: with an identity, so that no two events are the same."""
        self._events += 1
        key = f"{self._events:036}"
        wrapped = json.dumps({"ID": key, "Name": name, "Payload": payload.decode(), "Version": 1})
        self.record.fired(key, name, host.name, self.second)
        return super().fire(host, name, wrapped.encode(), **options)

    def slow_cards(self) -> None:
        """Have every packet take its time again, after `Faults.heal` made the machines perfect."""
        for host in self.hosts.values():
            host.delay = self._card

    def _ended(self, host: Host, how: str) -> None:
        lives = self.record.lives.get(host.name)
        if lives and lives[-1].ended is None:
            self.record.ended(host.name, self.second, how)

    def _told(self, host: Host, events: Iterable[Any]) -> None:
        events = list(events)
        super()._told(host, events)
        changed = False
        for event in events:
            if isinstance(event, UserEvent):
                if self._begun is not None:
                    self.record.arrived(json.loads(event.payload)["ID"], host.name, self.second)
            else:
                changed = True
        if changed:
            self._look(host)

    def _look(self, host: Host) -> None:
        view = self._views[host.name]
        seen = {name: int(status) for name, status in host.statuses().items()}
        if self._begun is not None:
            for about in sorted(seen.keys() | view.keys()):
                if view.get(about, 0) != seen.get(about, 0):
                    self.record.saw(host.name, about, seen.get(about, 0), self.second)
        self._views[host.name] = seen


class _RecordedFaults(Faults):
    """Notes whom each step chose."""

    world: _RecordedWorld

    def do(self, step: Step) -> None:
        """See `Faults`."""
        self._whom: list[str] = []
        at = self.world.second
        super().do(step)
        self.world.record.did(at, at + step.lasting, step.do, self._whom)

    def heal(self) -> None:
        """See `Faults`."""
        super().heal()
        self.world.slow_cards()

    def _chosen(self, selector: str) -> list[Host]:
        hosts = super()._chosen(selector)
        self._whom += [host.name for host in hosts]
        return hosts
