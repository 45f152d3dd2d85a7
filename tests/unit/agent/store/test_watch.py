"""Who is woken by what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.store import watch as watch_module
from agent.store.watch import Topic, Watch

if TYPE_CHECKING:
    import pytest

A, B, C = Topic("service", "a"), Topic("service", "b"), Topic("service", "c")


def test_an_index_is_at_least_1_and_at_least_that_of_the_start() -> None:
    watch = Watch()
    assert watch.index(A) == 1
    watch.start_at(7)
    assert watch.index(A) == 7
    watch.changed([A], 8)
    assert (watch.index(A), watch.index(B)) == (8, 7)


def test_topics_beyond_the_bound_are_forgotten_oldest_first_and_no_index_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_module, "MAX_TOPICS", 2)
    watch = Watch()
    watch.changed([A], 2)
    watch.changed([B], 3)
    watch.changed([A], 4)
    watch.changed([C], 5)
    assert [watch.index(topic) for topic in (A, B, C)] == [4, 3, 5]
    assert watch.index(Topic("service", "never")) == 3
    assert watch.forgotten == 1


async def test_a_wait_ends_with_a_change_of_its_topic_above_its_index() -> None:
    watch = Watch()
    watch.changed([A], 5)
    waiting = asyncio.ensure_future(watch.outlast(A, 9, 60))
    await asyncio.sleep(0)
    for topic, index in ((A, 6), (B, 10), (A, 9)):
        watch.changed([topic], index)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    watch.changed([A], 11)
    await waiting
    assert watch.waiting == 0


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    watch = Watch()
    tasks = [asyncio.ensure_future(watch.outlast(A, 5, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    assert watch.waiting == 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert watch.waiting == 0
    assert watch._waiters == {}
