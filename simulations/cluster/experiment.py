"""One plan on real processes, from nothing to nothing: start, join, do the steps, settle, end everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from simulations.cluster.faults import RealFaults, check, needs_machines, needs_mounts, needs_relay
from simulations.cluster.machines import TUN, Router, private_mounts
from simulations.cluster.network import Network
from simulations.cluster.observe import Observer, one_way_time
from simulations.cluster.pool import Pool
from simulations.cluster.record import Record
from simulations.local.ports import Ports
from simulations.local.scratch import ScratchFolder
from simulations.local.wait import eventually
from simulations.plan import PlanError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from simulations.plan import Plan

__all__ = ["ONE_WAY", "Row", "run_processes"]

JOIN_WITHIN = 120.0
"""Seconds from the start of the first process until every view is complete."""
SETTLE_WITHIN = 90.0
"""Seconds from the end of the plan until every view is right and every event everywhere.

Lost members are tried every 30; an event that loss kept from a node and that no later one follows is found
by the next exchange of states, every 30 in pools of up to 32 and every 60 in those of up to 64."""
ONE_WAY = "seconds from one process to another"
TELL_EVERY = 5.0
"""Seconds between two rows of the live table."""


@dataclass(frozen=True, slots=True)
class Row:
    """How an experiment stands, for the live table."""

    at: float
    running: int
    paused: int
    right_views: int
    fired: int
    arrived: int
    what: str


def run_processes(plan: Plan, tell: Callable[[Row], None], *, idle: float = 0.0) -> Record:
    """Run a plan on processes; nothing of it is left afterwards, however it ends.

    This process moves into namespaces of its own where the plan needs some, so it has to be called
    before there are threads, and what it does to the network afterwards concerns nobody else.

    Args:
        plan: what to do.
        tell: gets a row whenever something was done, and every five seconds.
        idle: seconds between the join and the beginning, in which probes tell what the way from one
            process to another takes.

    Raises:
        PlanError: it has steps that cannot be done here; nothing was started.
        OSError, RuntimeError, TimeoutError: it could not be started.
        KeyboardInterrupt: it was interrupted.
    """
    check(plan)
    with ScratchFolder("gossip-") as folder:
        router = _router_for(plan)
        experiment = _Experiment(plan, folder, router, tell)
        return asyncio.run(_interruptible(experiment, idle))


def _router_for(plan: Plan) -> Router | None:
    """The network of a plan that needs one of its own; raises PlanError where there can be none."""
    if not (needed := needs_machines(plan)):
        return None
    if needs_relay(plan) and not os.access(TUN, os.R_OK | os.W_OK):
        raise PlanError(
            f"{needs_relay(plan)} needs {TUN}, which this user may not open: run it as root"
        )
    router = Router.open()
    if router is None:
        raise PlanError(
            f"{needed} needs network namespaces: run it as root, or on a Linux that lets users make "
            "namespaces; steps that do not concern the network or a disk work without"
        )
    if needs_mounts(plan):
        private_mounts()
    return router


async def _interruptible(experiment: _Experiment, idle: float) -> Record:
    """SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we run in it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with experiment.started():
            await experiment.look_around(idle)
            return await experiment.run()
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class _Experiment:
    """Everything that one run needs; see `run_processes` for the arguments."""

    def __init__(
        self, plan: Plan, folder: Path, router: Router | None, tell: Callable[[Row], None]
    ) -> None:
        self._plan = plan
        self._tell = tell
        self._doing = "starting"
        self._ports = Ports()
        self._observer = Observer()
        self._pool = Pool(plan, folder, self._ports, router, self._observer)
        self._network = Network(router, self._pool.addresses, folder)
        self._record = Record("processes")
        self._faults = RealFaults(self._pool, self._network, self._observer, self._record)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """Start the nodes and wait until each sees all; end everything afterwards."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._ports.close)
            stack.push_async_callback(self._pool.close)
            stack.push_async_callback(self._network.close)
            stack.push_async_callback(self._observer.close)
            stack.push_async_callback(self._faults.close)
            if needs_relay(self._plan):
                await self._network.start_relay()
            teller = asyncio.create_task(self._keep_telling())
            stack.callback(teller.cancel)
            await self._pool.begin()
            self._doing = "joining"
            await self._settle(JOIN_WITHIN)
            self._record.facts["seconds to start and join"] = self._observer.now
            yield

    async def look_around(self, idle: float) -> None:
        """Let probes measure the network for a while."""
        if idle:
            self._doing = "measuring the network"
            await asyncio.sleep(idle)
            took = await one_way_time(self._pool.running()[0].agent)
            self._record.facts[ONE_WAY] = took

    async def run(self) -> Record:
        """Do the steps at their times, then heal and wait until all views are right."""
        record, observer = self._record, self._observer
        record.begin(host.name for host in self._pool.running())
        observer.begin(record)
        self._doing = ""
        cpu = self._pool.cpu_seconds()
        steps: set[asyncio.Task[None]] = set()
        try:
            for step in sorted(self._plan.steps, key=lambda step: step.at):
                await asyncio.sleep(step.at - observer.now)
                # A step may take a while, such as a start, and the next one does not wait for it.
                steps.add(asyncio.create_task(self._faults.do(step)))
                await asyncio.sleep(0)
                self._say(f"{step.do} {step.nodes}".strip())
            await asyncio.sleep(self._plan.seconds - observer.now)
            await asyncio.gather(*steps)
            self._note_cost(cpu)
            await self._faults.heal()
            try:
                await self._settle(SETTLE_WITHIN)
            except TimeoutError as error:
                record.problems.append(str(error))
            record.length = observer.now
            self._say("settled" if record.settled() else "NOT settled")
            record.facts.update(self._network.relay_counts())
        finally:
            for task in steps:
                task.cancel()
        return record

    def _note_cost(self, before: Mapping[int, float]) -> None:
        """How much processor time was used, in percent of one core."""
        now, seconds = self._pool.cpu_seconds(), self._observer.now
        used = [now[pid] - before[pid] for pid in now.keys() & before.keys()]
        if used:  # by those that ran all the time
            self._record.facts["CPU of an agent, %"] = 100 * fmean(used) / seconds
        self._record.facts["CPU of observing, %"] = 100 * self._observer.cpu_seconds / seconds

    async def _settle(self, within: float) -> None:
        def all_is_well() -> bool:
            names = {host.name for host in self._pool.running()}
            return self._observer.complete(names) and not self._record.undelivered()

        def what() -> str:
            names = {host.name for host in self._pool.running()}
            wrong = [
                f"\n  {name} misses {', '.join(sorted(names - view)) or 'none'}"
                f" and still has {', '.join(sorted(view - names)) or 'none'}"
                for name in sorted(names)
                if (view := self._observer.alive(name)) != names
            ]
            missing = self._record.undelivered()
            return (
                f"each of {len(names)} nodes sees {len(names)} alive{''.join(wrong[:5])}"
                f"\n  {missing} deliveries of events are missing"
            )

        await eventually(all_is_well, within=within, what=what, every=0.05)

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            self._say(self._doing)

    def _say(self, what: str) -> None:
        running = self._pool.running()
        names = {host.name for host in running}
        now = asyncio.get_running_loop().time()
        self._tell(
            Row(
                at=self._observer.now,
                running=len(running),
                paused=sum(host.paused_until > now for host in running),
                right_views=sum(self._observer.alive(name) == names for name in names),
                fired=len(self._record.events),
                arrived=sum(len(event.arrived) for event in self._record.events.values()),
                what=what,
            )
        )
