"""A wall clock that is set while agents run changes the times that are shown, and nothing else (R-10)."""

from __future__ import annotations

import io
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from agent.config import Ports
from agent.logs import LogHandler
from gossip.events import MemberStatus
from simulations.local.ports import Ports as LeasedPorts
from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import KEY, two_datacenters
from tests.wall_clock import TEN_YEARS, jumps, set_wall_clock

if TYPE_CHECKING:
    import pytest


async def members_index(agent: TestAgent) -> int:
    return (await agent.get("/v1/agent/members")).index


def status(agent: TestAgent, name: str) -> MemberStatus | None:
    member = agent.agent.cluster.member(name)
    return None if member is None else member.status


async def test_r10_a_pool_goes_on_while_the_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("one") as one, running("two") as two:
        assert (await two.put(f"/v1/agent/join/{one.gossip}")).status == 200
        await eventually(lambda: len(one.agent.cluster.members()) == 2)
        before = await members_index(one)
        set_wall_clock(monkeypatch, jumps)

        assert (await two.put("/v1/event/fire/deploy", b"v2")).status == 200
        await eventually(one.agent.events.recent)
        async with running("three") as three:
            assert (await three.put(f"/v1/agent/join/{one.gossip}")).status == 200
            await eventually(lambda: len(two.agent.cluster.members()) == 3)
            assert before < await members_index(one) < before + 1000
        # Nobody is suspected for the jumps, and whoever is gone is found out as ever.
        await eventually(lambda: status(one, "three") is MemberStatus.FAILED)
        for agent in (one, two):
            assert agent.agent.cluster.local_member().status is MemberStatus.ALIVE
        assert status(one, "two") is MemberStatus.ALIVE
        await two.agent.cluster.leave()
        await eventually(lambda: status(one, "two") is MemberStatus.LEFT)


async def test_r10_a_blocking_query_waits_as_long_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as one:
        index = await members_index(one)
        set_wall_clock(monkeypatch, jumps)
        started = time.monotonic()

        answer = await one.get(f"/v1/agent/members?index={index}&wait=200ms")

        assert (answer.status, answer.index) == (200, index)
        assert 0.2 <= time.monotonic() - started < 10


async def test_r10_requests_travel_while_the_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    set_wall_clock(monkeypatch, jumps)
    async with two_datacenters(KEY) as (web1, _, _, web2):
        assert (await web1.put("/v1/event/fire/deploy?dc=dc2")).status == 200
        await eventually(web2.agent.events.recent)


async def test_r10_an_agent_that_restarts_after_the_clock_was_set_back_takes_its_place_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LeasedPorts() as leased:
        ports = Ports(http=0, serf_lan=leased.take())
        async with running("one") as one:
            async with running("two", ports=ports) as two:
                assert (await two.put(f"/v1/agent/join/{one.gossip}")).status == 200
                old = await members_index(two)
            await eventually(lambda: status(one, "two") is MemberStatus.FAILED)
            now = time.time()
            set_wall_clock(monkeypatch, lambda: now - TEN_YEARS)

            async with running("two", ports=ports) as two:
                assert (await two.put(f"/v1/agent/join/{one.gossip}")).status == 200
                await eventually(lambda: status(one, "two") is MemberStatus.ALIVE)
                # An index of before is from the future now: as in Consul the answer comes after
                # the wait, and its lower index tells the client to begin anew.
                answer = await two.get(f"/v1/agent/members?index={old}&wait=100ms")
                assert answer.index < old
                again = await two.get(f"/v1/agent/members?index={answer.index - 1}")
                assert again.index >= answer.index


def test_r10_a_line_of_the_log_shows_the_time_as_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    handler = LogHandler(stream)
    handler.open()
    for moment in (86400.0, 86400.0 + TEN_YEARS):
        set_wall_clock(monkeypatch, partial(float, moment))
        handler.handle(logging.LogRecord("agent", logging.WARNING, __file__, 1, "x", None, None))

    days = [line.partition("T")[0] for line in stream.getvalue().splitlines()]
    assert days == ["1970-01-02", "1979-12-31"]
