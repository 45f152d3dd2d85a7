"""The figure about genuine agents among ours: who is looked at, and how their use is counted."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from simulations.bench.figures import mixed
from simulations.bench.lab import Lab
from simulations.bench.news import Kind, News, NewsFeed, json_news
from simulations.bench.participant import SYSTEMS, Participant, SerfParticipant
from simulations.bench.report import Report
from simulations.bench.traffic import Traffic
from simulations.local.process import Process
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from simulations.local.ports import Ports


def ignore(_text: str) -> None:
    """Progress is for people."""


LAB = Lab(5, seconds=0.1, trials=1, say=ignore, traffic=None)


class Idle(Participant):
    """An agent that only takes note of what it is told."""

    def __init__(self, name: str, ports: Ports, folder: Path) -> None:
        self.name, self.gossip = name, ("127.0.0.1", ports.take())
        self.process = Process(name, ["none"], log=folder / name)
        self.news = NewsFeed(json_news)

    async def start(self) -> None:
        pass

    async def join(self, address: tuple[str, int]) -> None:
        pass

    async def fire(self, name: str, payload: bytes) -> None:
        self.news.add(News(math.inf, Kind.EVENT, name))

    async def leave(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Genuine(Idle, SerfParticipant):
    """One that is looked at."""

    depth = 0

    async def queued(self, queue: str) -> int:
        self.depth += 1
        return self.depth if queue == "event" else 0


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSTEMS, "serf", Genuine)
    monkeypatch.setitem(SYSTEMS, "node", Idle)


@pytest.mark.usefixtures("kinds")
async def test_the_same_places_are_genuine_in_the_pure_and_in_the_mixed_pool() -> None:
    for system, others in (("node", ["node-2", "node-4"]), ("serf", ["serf-2", "serf-4"])):
        async with LAB.pool(system, beside="serf", joined=False) as pool:
            watched = mixed.genuine(pool)

            assert [agent.name for agent in watched] == ["serf-1", "serf-3", "serf-5"]
            assert [agent.name for agent in pool.others(*watched)] == others


@pytest.mark.usefixtures("kinds")
async def test_an_event_that_does_not_reach_an_observer_took_for_ever() -> None:
    async with LAB.pool("serf", joined=False) as pool:
        one, two = pool.agents[:2]
        two.news.add(News(0.0, Kind.EVENT, "deploy"))

        times = await pool.spread(one, "deploy", pool.agents[1:3], within=0.1)

        assert times[0] < 0
        assert times[1] == math.inf


@pytest.mark.usefixtures("kinds")
async def test_queues_are_looked_at_again_and_again_until_the_block_ends() -> None:
    async with LAB.pool("serf", joined=False) as pool:
        watched = mixed.genuine(pool)
        async with mixed.queue_depths(watched, "event", every=0.001) as depths:
            await eventually(lambda: min(map(len, depths)) >= 4, within=5, what="looks", every=0)
        seen = [list(each) for each in depths]
        await asyncio.sleep(0)

    assert depths == seen
    assert all(each[:4] == [0, 1, 2, 3] for each in seen)


def test_a_window_is_told_per_agent_and_without_a_counter_has_no_packets() -> None:
    earlier = mixed.Meter(10.0, [1.0, 2.0], Traffic(100, 1000, 0, 0))
    later = mixed.Meter(40.0, [1.5, 2.25], Traffic(160, 7000, 0, 0))

    window = later - earlier

    assert window.cpu_per_minute() == [1.0, 0.5]
    assert window.traffic_per_second() == ([1.0], [100.0])
    unknown = mixed.Meter(40.0, [1.5, 2.25], None) - earlier
    assert unknown.traffic_per_second() == ([], [])


async def test_consul_refuses_serf_members_and_so_is_not_measured() -> None:
    report = Report(["consul"], {})
    report.add("mixed", "consul", await mixed.measure(LAB, "consul"))

    assert report.as_json()["figures"] == []


def test_failures_are_counted_about_agents_that_run() -> None:
    feed = NewsFeed(json_news)
    for name in ("killed", "runs"):
        feed.add(News(1.0, Kind.FAILED, name))
    agent = object.__new__(Genuine)
    agent.news = feed

    assert mixed.accused([agent, agent], {"killed"}) == 2
