"""Cycles of kill and restart, and what they showed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossip import Cluster, Config, UserEvent
from gossip.serf.snapshot import Snapshot
from gossip.wire.address import join_host_port
from simulations.local.ports import Ports
from simulations.local.process import Process
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Report", "run_cycles"]

STAYS, VICTIM = "stays", "victim"
MAX_LIFE = 0.6
"""Seconds from a rejoin to the next kill, at most; one kill in four comes before."""
REJOIN_WITHIN = 35.0
"""Seconds (G-18)."""


@dataclass
class Report:
    """What some cycles showed; `wrong` has a sentence for each thing that must not happen."""

    cycles: int = 0
    events: int = 0
    """Deliveries at the node that is killed."""
    again: int = 0
    """Deliveries of what an earlier life had got and not yet written: fewer is better, none is more
    than a file written behind the loop's back can promise."""
    worst_rejoin: float = 0.0
    """Seconds from the start of the process."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class _Life:
    """One life of the victim, as its journal tells it."""

    joined: bool
    events: list[tuple[int, str]]


async def run_cycles(count: int, folder: Path, *, seed: int | None = None) -> Report:
    """Kill and restart a node `count` times; its files go to `folder`.

    Args:
        count: how often.
        folder: empty.
        seed: of the instants; None takes others each time.
    """
    dice = random.Random(seed)
    report = Report()
    with Ports() as ports:
        async with contextlib.AsyncExitStack() as stack:
            config = Config.local(STAYS, bind="127.0.0.1", port=ports.take())
            stays = await stack.enter_async_context(Cluster(config))
            seen = _Seen(stays)
            for work in (_fire(stays), seen.follow()):
                stack.callback(asyncio.create_task(work).cancel)
            snapshot = folder / "snapshot"
            snapshot.write_text(f"alive: {STAYS} {join_host_port(*stays.local_address)}\n")
            await _cycles(report, count, folder, ports.take(), dice)
    report.wrong += seen.wrong
    return report


class _Seen:
    """The victim's events, as the node that stays sees them: no time of two of them is the same.

    A time that was taken and told nobody may be taken again.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.wrong: list[str] = []
        self._events = cluster.subscribe(limit=1 << 20)
        self._names: dict[int, str] = {}

    async def follow(self) -> None:
        async for event in self._events:
            if isinstance(event, UserEvent) and event.name.startswith(VICTIM):
                self.add(event.ltime, event.name)

    def add(self, ltime: int, name: str) -> None:
        other = self._names.setdefault(ltime, name)
        if other != name:
            self.wrong.append(f"time {ltime} was used for {other} and for {name}")


async def _fire(cluster: Cluster) -> None:
    while True:
        await cluster.fire(f"{STAYS}-{os.urandom(4).hex()}", coalesce=False)
        await asyncio.sleep(0.02)


async def _cycles(report: Report, count: int, folder: Path, port: int, dice: random.Random) -> None:
    delivered: set[tuple[int, str]] = set()
    written = 0
    for number in range(count):
        journal = folder / f"journal-{number}"
        command = [sys.executable, "-m", "simulations.restarts.node", VICTIM, str(port)]
        command += [str(folder / "snapshot"), str(journal)]
        async with Process(VICTIM, command, log=folder / "log") as process:
            await _live(process, journal, dice, report)
            await process.kill()
        life = _read(journal)
        _check(report, number, life, written)
        report.cycles += 1
        report.events += len(life.events)
        report.again += len(delivered & set(life.events))
        delivered |= set(life.events)
        file = Snapshot.replay((folder / "snapshot").read_bytes())
        if file.skipped:
            report.wrong.append(f"cycle {number}: {file.skipped} lines of the file were skipped")
        written = file.event_clock
        journal.unlink(missing_ok=True)


async def _live(process: Process, journal: Path, dice: random.Random, report: Report) -> None:
    """Let it live for a while, mostly until it has found its pool and a bit longer."""
    if dice.random() < 0.25:
        await asyncio.sleep(dice.uniform(0, MAX_LIFE))
        return
    began = time.monotonic()
    await eventually(
        lambda: _read(journal).joined,
        within=REJOIN_WITHIN,
        what=lambda: f"{VICTIM} is back in its pool{process.tail()}",
        every=0.01,
    )
    report.worst_rejoin = max(report.worst_rejoin, time.monotonic() - began)
    await asyncio.sleep(dice.uniform(0, MAX_LIFE))


def _check(report: Report, number: int, life: _Life, written: int) -> None:
    early = [ltime for ltime, _ in life.events if ltime <= written]
    if early:
        report.wrong.append(
            f"cycle {number}: events of times {early[:5]} delivered, {written} was written before"
        )
    if len(life.events) != len(set(life.events)):
        report.wrong.append(f"cycle {number}: an event was delivered twice in one life")


def _read(journal: Path) -> _Life:
    text = journal.read_text() if journal.exists() else ""
    words = [line.split() for line in text.splitlines()]
    return _Life(
        ["joined", STAYS] in words,
        [(int(word[1]), word[2]) for word in words if word[0] == "event"],
    )
