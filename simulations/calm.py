"""The calm phase: faults have stopped, and what is promised has to come true in time (L1 to L9).

L10, that a change wakes every waiting query of the HTTP API, needs the agent and is tested there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.events import MemberFailed, MemberStatus, UserEvent
from gossip.swim.members import Status
from simulations.bounds import Bounds
from simulations.watch import Checker
from simulations.world import NotReachedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from gossip.events import Event
    from simulations.faults import Faults
    from simulations.host import Host
    from simulations.watch import Watch

__all__ = ["PROMISES", "Accuracy", "Calm"]

PROMISES = {
    "L1": "a dead member is failed everywhere",
    "L3": "all views agree",
    "L4": "an event is everywhere",
    "L5": "who leaves has left everywhere",
    "L6": "the gone are forgotten",
    "L7": "all queues are empty again",
    "L8": "everybody is alive to all",
    "L9": "who was forced to leave has left everywhere",
}
"""What has to come true in time, in the order of the specification; L2 is that it stays true."""
LOOK_EVERY = 0.1
QUIET = 15.0
"""For so long nothing may happen in a pool that has calmed down, seconds."""


class Accuracy(Checker):
    """L2: once a pool has calmed down, nobody who runs is shown as failed."""

    invariant = "L2"
    honest = True

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self.active = False
        watch.accuracy = self

    def told(self, host: Host, event: Event) -> None:  # noqa: D102 - see Checker
        if self.active and isinstance(event, MemberFailed):
            subject = self.world.hosts.get(event.member.name)
            if subject is not None and subject.running:
                self.violated(f"{host.name} takes {subject.name} for failed", host.name)


class Calm:
    """Takes a world out of its chaos and checks the liveness invariants, one after another.

    Args:
        watch: where violations go.
        faults: whose faults end now.
        rng: draws who is killed, who leaves, and who fires.
    """

    def __init__(self, watch: Watch, faults: Faults, rng: Random) -> None:
        self.times: dict[str, float] = {}
        """How long each promise took to come true, by invariant."""
        self._watch = watch
        self._world = faults.world
        self._faults = faults
        self._rng = rng
        config = self._world.profile("x", **(self._world.settings | faults.plan.settings))
        self.bounds = Bounds.of(config, max(len(self._world.hosts), 2))

    def run(self) -> None:
        """The whole phase; it ends early when a promise was broken."""
        bounds, accuracy = self.bounds, self._watch.accuracy
        self._faults.heal()
        if not self._reach("L8", bounds.converge, self.all_alive, "not everybody is alive to all"):
            return
        if not self._reach("L3", bounds.converge, self.agree, "not all views agree"):
            return
        if not self._reach("L7", bounds.drain, self._is_quiet, "queues are not empty"):
            return
        self._world.run(self.bounds.spread if self._suspects() else 0)
        if accuracy is not None:
            accuracy.active = True
        self._world.run(QUIET)
        if not self.agree():
            self._watch.violated("L3", "views that agreed do not any more")
        for check in (self._event, self._death, self._leave):
            if self._watch.violations:
                return
            check()
        if self._rng.random() < 0.5 and self.bounds.reap < 600:
            gone = {h.name for h in self._world.hosts.values() if not h.running}
            self._reach("L6", bounds.reap, lambda: self._forgotten(gone), "the gone are kept")

    # The promises

    def _event(self) -> None:
        hosts = self._hosts()
        if not hosts:
            return
        payload = self._rng.randbytes(16)
        ltime = self._world.fire(self._rng.choice(hosts), "calm", payload)

        def arrived() -> bool:
            return all(
                any(
                    isinstance(event, UserEvent) and event.payload == payload
                    for event in reversed(host.events)
                )
                for host in hosts
            )

        self._reach("L4", self.bounds.spread, arrived, f"the event at {ltime} is not everywhere")

    def _death(self) -> None:
        hosts = self._hosts()
        if len(hosts) < 2:
            return
        victim = self._rng.choice(hosts)
        self._world.kill(victim, machine=self._rng.random() < 0.5)
        failed = self._reach(
            "L1",
            self.bounds.detect,
            lambda: self._shown(victim.name, MemberStatus.FAILED),
            f"{victim.name} died and is not failed everywhere",
        )
        if failed:
            self._world.force_leave(self._rng.choice(self._hosts()), victim.name)
            text = f"{victim.name} was forced to leave and has not left everywhere"
            self._reach(
                "L9", self.bounds.spread, lambda: self._shown(victim.name, MemberStatus.LEFT), text
            )
            self._world.run(QUIET)
            if not self._shown(victim.name, MemberStatus.LEFT):
                self._watch.violated("L9", f"{victim.name} is not left any more", victim.name)

    def _leave(self) -> None:
        hosts = self._hosts()
        if len(hosts) < 2:
            return
        leaver = self._rng.choice(hosts)
        seen = {host: len(host.events) for host in hosts}
        self._world.leave(leaver)
        self._reach(
            "L5",
            self.bounds.spread,
            lambda: self._shown(leaver.name, MemberStatus.LEFT) and not leaver.running,
            f"{leaver.name} left and is not left everywhere",
        )
        for host in hosts:
            for event in host.events[seen[host] :]:
                if isinstance(event, MemberFailed) and event.member.name == leaver.name:
                    self._watch.violated("S18", f"{host.name} says {leaver.name} failed", host.name)

    # What holds

    def all_alive(self) -> bool:
        """Whether everybody who runs is alive to everybody."""
        hosts = self._hosts()
        names = [host.name for host in hosts]
        return all(
            (record := host.node.membership.table.get(name)) is not None
            and record.status is Status.ALIVE
            and (member := host.node.members.get(name)) is not None
            and member.status is MemberStatus.ALIVE
            for host in hosts
            for name in names
        )

    def agree(self) -> bool:
        """Whether all views are the same, and right: every member as it describes itself."""
        hosts = self._hosts()
        truth = {
            host.name: (host.node.membership.own.incarnation, host.node.membership.own.info)
            for host in hosts
        }
        return self.all_alive() and all(
            {
                record.info.name: (record.incarnation, record.info)
                for record in host.node.membership.table
                if not record.gone
            }
            == truth
            for host in hosts
        )

    def _hosts(self) -> list[Host]:
        pool = self._faults.pool
        return [host for host in self._world.running() if host.pool == pool and not host.poisoned]

    def _suspects(self) -> bool:
        return any(
            record.status.name == "SUSPECT"
            for host in self._hosts()
            for record in host.node.membership.table
        )

    def _is_quiet(self) -> bool:
        # Whoever is alone keeps its few news for the first to come.
        return not any(
            len(host.node.membership.dissemination)
            for host in self._hosts()
            if host.node.membership.table.alive > 1
        )

    def _shown(self, name: str, status: MemberStatus) -> bool:
        return all(
            host.statuses().get(name) is status for host in self._hosts() if host.name != name
        )

    def _forgotten(self, names: Iterable[str]) -> bool:
        gone = set(names)
        return all(gone.isdisjoint(host.statuses()) for host in self._hosts())

    def _reach(
        self, invariant: str, limit: float, condition: Callable[[], bool], text: str
    ) -> bool:
        try:
            took = self._world.run_until(condition, limit, every=LOOK_EVERY)
        except NotReachedError as error:
            self._watch.violated(invariant, f"{text}: {error}{self._detail()}")
            return False
        self.times[invariant] = took
        return True

    def _detail(self) -> str:
        """Who holds what, in short, for the report of a failure."""
        lines = []
        for host in self._hosts()[:12]:
            table = ", ".join(
                f"{r.info.name}={r.status.name.lower()}@{r.incarnation}"
                for r in list(host.node.membership.table)[:16]
            )
            lines.append(f"\n    {host.name}@{host.node.membership.own.incarnation} holds {table}")
        return "".join(lines)
