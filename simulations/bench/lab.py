"""Where a figure is measured: pools of one or two kinds of agent, started afresh, and what passes between."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.bench.news import Kind
from simulations.bench.participant import SYSTEMS, Participant
from simulations.local.ports import Ports
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from simulations.bench.traffic import Traffic, TrafficCounter

__all__ = ["Lab", "Pool"]

JOIN_WITHIN = 30.0
SETTLE = 1.0
"""Seconds after a pool is complete until the last broadcasts about it have left the queues."""


@dataclass
class Lab:
    """What a run's figures share."""

    size: int
    """Agents per pool."""
    seconds: float
    """Length of one window of observation."""
    trials: int
    """Repetitions of what happens once per pool."""
    say: Callable[[str], None]
    """Reports progress."""
    traffic: TrafficCounter | None
    """Counts packets, where the network is ours."""
    payload: bytes = b"x" * 30
    """Of user events: with names of nine letters Serf's messages then have about 72 bytes."""

    def read_traffic(self, receivers: Iterable[Participant] | None = None) -> Traffic | None:
        """What passed so far, or of UDP what these got; None where it cannot be told."""
        if self.traffic is None:
            return None
        ports = None if receivers is None else [agent.gossip[1] for agent in receivers]
        return self.traffic.read(ports)

    @contextlib.asynccontextmanager
    async def pool(
        self, system: str, *, size: int | None = None, joined: bool = True, beside: str = ""
    ) -> AsyncIterator[Pool]:
        """Agents started together and, if `joined`, with complete views and settled.

        Args:
            system: their kind.
            size: how many, instead of the lab's size.
            joined: whether they join.
            beside: another kind, that the first, third, fifth and so on are of.
        """
        participants: list[Participant] = []
        with Ports() as ports, tempfile.TemporaryDirectory(prefix="gossip-bench-") as folder:
            try:
                for number in range(1, (size or self.size) + 1):
                    kind = beside if beside and number % 2 else system
                    participant = SYSTEMS[kind](f"{kind}-{number}", ports, Path(folder))
                    participants.append(participant)
                    if self.traffic:
                        self.traffic.add_port(participant.gossip[1])
                await asyncio.gather(*(participant.start() for participant in participants))
                pool = Pool(self, system, participants)
                if joined:
                    await pool.join()
                    await asyncio.sleep(SETTLE)
                yield pool
            except TimeoutError as error:
                error.add_note(participants[0].process.tail() if participants else "nothing ran")
                raise
            finally:
                await asyncio.gather(*(participant.close() for participant in participants))


@dataclass
class Pool:
    """Running agents, of one kind but for figures that mix two."""

    lab: Lab
    system: str
    agents: list[Participant]
    _gone: set[str] = field(default_factory=set)

    async def join(self, within: float = JOIN_WITHIN) -> float:
        """Join all by the first at once, wait for complete views; the seconds until the last was.

        Views with holes after `within` are mended one by one, as a user would, so that the
        measurement that follows starts from a complete pool.
        """
        started = time.monotonic()
        first, *others = self.agents
        await asyncio.gather(*(agent.join(first.gossip) for agent in others))
        if not await self.until(self.complete, within):
            self.lab.say(f"{self.system}: {self.holes()} holes in the views after {within:g} s")
            for agent in self.agents:
                if agent.news.alive() < len(self.agents):
                    for other in self.agents:
                        if other is not agent:
                            await agent.join(other.gossip)
            if not await self.until(self.complete, within):
                raise TimeoutError(f"{self.system}: the views stay incomplete")
        return max(max(agent.news.first(Kind.JOINED).values()) for agent in self.agents) - started

    def complete(self) -> bool:
        """Whether every agent sees every other alive."""
        return all(agent.news.alive() == len(self.agents) for agent in self.agents)

    def holes(self) -> int:
        """Members missing, summed over all views."""
        return sum(len(self.agents) - agent.news.alive() for agent in self.agents)

    def others(self, *subjects: Participant) -> list[Participant]:
        """The agents besides these and besides those that ended before."""
        names = {subject.name for subject in subjects} | self._gone
        return [agent for agent in self.agents if agent.name not in names]

    def retire(self, subject: Participant) -> None:
        """Count this agent, which has left or was killed, no longer."""
        self._gone.add(subject.name)

    async def until(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait for a condition on the news, looking 20 times a second; tells whether it came true."""
        try:
            await eventually(condition, within=within, what="news", every=0.05)
        except TimeoutError:
            return False
        return True

    async def quiet(self, seconds: float, what: str) -> None:
        """Let time pass, with a word on standard error every five seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.lab.say(f"{self.system}: {what}, {left:.0f} s left")
            await asyncio.sleep(min(5.0, left))

    async def spread(
        self, sender: Participant, name: str, observers: Sequence[Participant], within: float
    ) -> list[float]:
        """Fire one event; seconds until each observer had it, in order, infinity for those without."""
        fired = time.monotonic()
        await sender.fire(name, self.lab.payload)

        def arrived() -> bool:
            return len(self.reported(Kind.EVENT, name, observers)) == len(observers)

        await self.until(arrived, within)
        times = [at - fired for at in self.reported(Kind.EVENT, name, observers)]
        return times + [math.inf] * (len(observers) - len(times))

    def reported(self, kind: Kind, subject: str, observers: Iterable[Participant]) -> list[float]:
        """When each observer that did reported this, in order."""
        times = (agent.news.first(kind).get(subject) for agent in observers)
        return sorted(at for at in times if at is not None)


def share(times: list[float], part: float) -> float:
    """The smallest of sorted times by which `part` (0 to 1) of them have passed."""
    return times[max(0, math.ceil(part * len(times)) - 1)]


def to_stderr(text: str) -> None:
    """Progress: one line that replaces the last at a terminal, lines otherwise."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
