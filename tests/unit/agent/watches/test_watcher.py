"""The driver of an agent's watches, in virtual time: what is asked when, and that errors are waited out."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.decode import Body
from agent.forward.messages import Answer
from agent.watches import watcher
from agent.watches.plan import watch_definition
from agent.watches.progress import Progress
from agent.watches.watcher import LARGE, Watches
from tests.helpers_agent import eventually
from tests.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from agent.watches.plan import ScriptHandler
    from agent.watches.progress import News

NODES = watch_definition(Body({"type": "nodes", "token": "t", "args": ["/nonexistent/x"]}))


class Endpoints:
    """Gives the answers of a list, one each; then it never answers."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str | None, str]] = []
        self.began: float | None = None

    async def ask(self, target: str, token: str) -> Answer:
        index = parse_qs(urlsplit(target).query).get("index", [None])[0]
        now = asyncio.get_running_loop().time()
        if self.began is None:
            self.began = now
        self.asked.append((now - self.began, index, token))
        if not self.answers:
            await asyncio.Event().wait()
        await asyncio.sleep(1)
        return self.answers.pop(0)


def ok(index: int, value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"X-Consul-Index": str(index)})


def run(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, seconds: float = 1000
) -> tuple[list[Any], dict[str, int]]:
    """What the handler was told in so many seconds, and the counts at their end."""
    told: list[Any] = []

    async def handle(_handler: ScriptHandler, news: News) -> bool:
        told.append(news.value)
        await asyncio.sleep(10)
        return len(told) != 2

    async def work() -> dict[str, int]:
        watches = Watches(endpoints.ask)
        watches.follow([NODES])
        await asyncio.sleep(seconds)
        stats = watches.stats()
        await watches.close()
        await watches.close()
        assert watches.stats()["watching"] == watches.stats()["handling"] == 0
        return stats

    monkeypatch.setattr(watcher, "run_handler", handle)
    return told, in_virtual_time(work())


def test_it_asks_again_with_the_index_once_the_handler_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoints = Endpoints(ok(7, [1]), ok(8, [1]), ok(9, [2]))
    told, stats = run(endpoints, monkeypatch)
    assert told == [[1], [2]]
    assert endpoints.asked == [(0, None, "t"), (11, "7", "t"), (12, "8", "t"), (23, "9", "t")]
    assert stats == {
        "watching": 1,
        "handling": 0,
        "handled": 2,
        "handlers_failed": 1,
        "errors": 0,
    }


def test_errors_are_waited_out_longer_and_longer_and_then_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Answer(500, b"No cluster leader")
    endpoints = Endpoints(refused, Answer(200, b"<html>"), refused, ok(7, [1]), refused)
    told, stats = run(endpoints, monkeypatch)
    assert told == [[1]]
    assert [at for at, _, _ in endpoints.asked] == [0, 6, 27, 73, 84, 90]
    assert [index for _, index, _ in endpoints.asked] == [None, None, None, None, "7", None]
    assert stats["errors"] == 4


@pytest.mark.parametrize("index", ["x", "-1", "1" * 21, "\u0661", ""])
def test_an_index_that_is_no_number_is_an_error(
    index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer(200, b"[]", {"X-Consul-Index": index})
    told, stats = run(Endpoints(answer, ok(7, [1])), monkeypatch)
    assert (told, stats["errors"]) == ([[1]], 1)


async def test_a_large_answer_is_read_away_from_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[bool] = []
    read = Progress.answered

    def answered(progress: Progress, index: int, body: bytes, elapsed: float) -> News | None:
        readers.append(threading.current_thread() is threading.main_thread())
        return read(progress, index, body, elapsed)

    monkeypatch.setattr(Progress, "answered", answered)
    watches = Watches(Endpoints(ok(7, ["x" * LARGE])).ask)
    watches.follow([NODES])
    await eventually(lambda: watches.stats()["handlers_failed"] == 1)  # there is no such program
    await watches.close()
    assert readers == [False]


def test_a_watch_that_is_closed_ends_whatever_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Endpoints(), monkeypatch, seconds=5)[1]["handling"] == 0
    assert run(Endpoints(ok(7, [1])), monkeypatch, seconds=5)[1]["handling"] == 1
    assert run(Endpoints(Answer(500)), monkeypatch, seconds=5)[1]["errors"] == 1


def test_what_is_followed_after_the_end_does_not_begin() -> None:
    endpoints = Endpoints(ok(1, []))

    async def work() -> None:
        watches = Watches(endpoints.ask)
        await watches.close()
        watches.follow([NODES])
        await asyncio.sleep(60)
        assert watches.stats()["watching"] == 0

    in_virtual_time(work())
    assert endpoints.asked == []
