"""How many checks run at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from agent.check_runners import runners as module
from agent.check_runners.periodic import Result
from agent.check_runners.runners import Runners
from agent.decode import Body
from agent.definitions import check_definition
from agent.store.entries import Status
from tests.virtual_time import in_virtual_time

if TYPE_CHECKING:
    import pytest


def taken(found: list[int], number: int, _result: Result) -> None:
    found.append(number)


def test_a_mistake_of_ours_is_critical_and_the_check_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> Result:
        raise KeyError("oops")

    monkeypatch.setattr(module, "connect", broken)

    async def work() -> None:
        runners = Runners()
        found: list[Result] = []
        definition = check_definition(Body({"Name": "x", "TCP": "h:1", "Interval": "1s"}))
        runners.start(definition, found.append, lambda: None)
        await asyncio.sleep(5)
        await runners.close()
        assert len(found) > 2
        assert {one.status for one in found} == {Status.CRITICAL}
        assert "check not made id=x" in caplog.text

    in_virtual_time(work())


def test_programs_run_so_many_at_a_time_and_all_get_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[int] = [0]
    most: list[int] = [0]

    async def slow(*_: object) -> Result:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(1)
        running[0] -= 1
        return Result(Status.PASSING, "")

    monkeypatch.setattr(module, "run_script", slow)
    monkeypatch.setattr(module, "connect", slow)

    async def work() -> None:
        runners = Runners()
        found: list[int] = []
        for number in range(100):
            values = {"Name": str(number), "Args": ["x"], "Interval": "1s"}
            definition = check_definition(Body(values))
            runners.start(definition, partial(taken, found, number), lambda: None)
        await asyncio.sleep(6)
        assert most[0] == module.MAX_SCRIPTS
        assert set(found) == set(range(100))
        assert runners.stats["waited"] > 0
        connects = check_definition(Body({"Name": "t", "TCP": "h:1", "Interval": "1s"}))
        reached = asyncio.Event()
        runners.start(connects, lambda _: reached.set(), lambda: None)
        async with asyncio.timeout(2.1):  # which does not wait behind programs
            await reached.wait()
        await runners.close()

    in_virtual_time(work())
