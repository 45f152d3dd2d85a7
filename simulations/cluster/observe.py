"""Watches agents over their HTTP API: who sees whom how, and which events are where.

Two blocking queries per agent, ``/v1/agent/members`` and ``/v1/event/list``, wait until there is news; so
an idle cluster is not disturbed, and news is noted when the answer arrives. What observing costs is part
of the report: `cpu_seconds` is this process's share, the agents' own appears in theirs.
"""

from __future__ import annotations

import asyncio
import json
import time
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Any

from gossip.serf.coordinates import Coordinate, distance
from simulations.cluster.agent import ALIVE

if TYPE_CHECKING:
    from simulations.cluster.agent import LocalAgent
    from simulations.cluster.record import Record

__all__ = ["Observer", "one_way_time"]

WAIT = 60.0
"""Seconds that one blocking query waits at most."""
RETRY = 0.1
"""Seconds until an agent that did not answer is asked again."""


class Observer:
    """Follows agents from `follow` to `forget`.

    Attributes:
        views: by agent, the status of every member that it shows.
        record: gets what is seen, once there is one.
        begun: the monotonic time that is second 0: of the record, before that of starting.
    """

    def __init__(self) -> None:
        self.views: dict[str, dict[str, int]] = {}
        self.record: Record | None = None
        self.begun = time.monotonic()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._cpu = time.process_time()

    def begin(self, record: Record) -> None:
        """From now on what is seen is recorded."""
        self.begun = time.monotonic()
        self.record = record
        self._cpu = time.process_time()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process since the beginning."""
        return time.process_time() - self._cpu

    def follow(self, agent: LocalAgent) -> None:
        """Watch an agent that was just started."""
        self.views[agent.name] = {}
        self._tasks[agent.name] = [
            asyncio.create_task(self._follow(agent, "/v1/agent/members", self._members)),
            asyncio.create_task(self._follow(agent, "/v1/event/list", self._events)),
        ]
        for task in self._tasks[agent.name]:
            task.add_done_callback(self._ended)

    def forget(self, agent: LocalAgent) -> None:
        """Watch an agent no more."""
        for task in self._tasks.pop(agent.name, ()):
            task.cancel()
        self.views.pop(agent.name, None)

    async def close(self) -> None:
        """Watch nobody any more."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def complete(self, names: set[str]) -> bool:
        """Whether the view of each of these agents shows exactly these alive."""
        return all(self.alive(name) == names for name in names)

    def alive(self, name: str) -> set[str]:
        """Whom an agent shows alive."""
        return {about for about, status in self.views.get(name, {}).items() if status == ALIVE}

    async def _follow(self, agent: LocalAgent, path: str, take: Any) -> None:
        index = 0
        while True:
            try:
                answer = await agent.call(
                    "GET", f"{path}?index={index}&wait={WAIT:g}s", within=2 * WAIT
                )
                at = self.now
                index = answer.index
                take(agent.name, json.loads(answer.body), at)
            except (
                OSError,
                ValueError,
            ):  # it starts, ends, or was killed in the middle of an answer
                index = 0
                await asyncio.sleep(RETRY)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for these tasks; an answer that makes no sense is a problem of the record."""
        if not task.cancelled() and (error := task.exception()) is not None and self.record:
            self.record.problems.append(f"observing ended: {error!r}")

    def _members(self, by: str, members: list[dict[str, Any]], at: float) -> None:
        view = self.views[by]
        seen = {member["Name"]: int(member["Status"]) for member in members}
        for about in sorted(seen.keys() | view.keys()):
            status = seen.get(about, 0)
            if view.get(about, 0) != status and self.record is not None:
                self.record.saw(by, about, status, at)
        self.views[by] = seen

    def _events(self, at_node: str, events: list[dict[str, Any]], at: float) -> None:
        if self.record is not None:
            for event in events:
                self.record.arrived(event["ID"], at_node, at)


async def one_way_time(agent: LocalAgent) -> float:
    """How long a packet takes from one process into another, as the pool's network coordinates have it.

    The median over all pairs, seconds. They come from the probes, so the time in which a process wakes up
    and reads is part of it. 0 when nothing is known yet.

    Raises:
        OSError: the agent does not answer.
    """
    answer = await agent.call("GET", "/v1/coordinate/nodes")
    coordinates = [
        Coordinate(
            tuple(entry["Coord"]["Vec"]),
            *(entry["Coord"][key] for key in ("Error", "Adjustment", "Height")),
        )
        for entry in answer.json()
    ]
    trips = [distance(a, b) for a, b in combinations(coordinates, 2)]
    return median(trips) / 2 if trips else 0.0
