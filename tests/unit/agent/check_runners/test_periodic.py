"""Probes again and again, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from agent.check_runners.periodic import Periodic, Result
from agent.store.entries import Status
from gossip.tasks import Tasks
from tests.virtual_time import in_virtual_time


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_the_first_run_is_within_an_interval_and_the_next_one_interval_after_its_end(
    part: float,
) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        began: list[float] = []
        found: list[Result] = []

        async def probe() -> Result:
            began.append(loop.time() - start)
            await asyncio.sleep(3)
            return Result(Status.PASSING, str(len(began)))

        tasks = Tasks(logging.getLogger(__name__))
        runner = Periodic(probe, 10, found.append, tasks, lambda: part)
        await asyncio.sleep(10 * part + 35)
        assert began == pytest.approx([10 * part, 10 * part + 13, 10 * part + 26])
        assert [one.output for one in found] == ["1", "2", "3"]
        runner.stop()
        await asyncio.sleep(100)
        assert len(began) == 3
        await tasks.cancel()

    in_virtual_time(work())


def test_a_run_that_is_stopped_reports_nothing() -> None:
    async def work() -> None:
        found: list[Result] = []

        async def probe() -> Result:
            await asyncio.sleep(5)
            return Result(Status.PASSING, "")

        tasks = Tasks(logging.getLogger(__name__))
        runner = Periodic(probe, 10, found.append, tasks, lambda: 0.0)
        await asyncio.sleep(1)
        runner.stop()
        await asyncio.sleep(100)
        assert found == []

    in_virtual_time(work())
