"""Who watches the log from outside."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from typing import TYPE_CHECKING

import pytest

from agent.log_stream import KEPT, TRACE, LogEntry, LogStream, lost
from agent.logs import LogHandler, set_up
from gossip.events import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEN = 1_795_557_600.25  # 2026-11-24T22:00:00.25Z


@pytest.fixture
def handler() -> Iterator[LogHandler]:
    """The process's log at INFO, into a string."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made = set_up("INFO", secrets=["hush-hush"], stream=io.StringIO())
    made.open()
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)


def written(handler: LogHandler) -> str:
    assert isinstance(handler._stream, io.StringIO)
    return handler._stream.getvalue()


def entry(message: str = "text", level: int = logging.INFO, trace: str = "") -> LogEntry:
    return LogEntry(WHEN, level, "agent.agent", message, trace)


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("level", "serf", "consul"),
    [
        (TRACE, "[TRACE]", "[TRACE]"),
        (logging.DEBUG, "[DEBUG]", "[DEBUG]"),
        (logging.INFO, "[INFO]", "[INFO] "),
        (logging.WARNING, "[WARN]", "[WARN] "),
        (logging.ERROR, "[ERR]", "[ERROR]"),
        (logging.CRITICAL, "[ERR]", "[ERROR]"),
    ],
)
def test_an_entry_looks_as_in_serf_or_in_consul(
    in_utc: None, level: int, serf: str, consul: str
) -> None:
    shown = entry(level=level)

    assert shown.serf_line() == f"2026/11/24 22:00:00 {serf} agent.agent: text"
    assert shown.line() == f"2026-11-24T22:00:00.250Z {consul} agent.agent: text"


def test_an_entry_in_json_has_consuls_keys() -> None:
    assert json.loads(entry('a="b"').json_line()) == {
        "@level": "info",
        "@message": 'a="b"',
        "@module": "agent.agent",
        "@timestamp": "2026-11-24T22:00:00.250000Z",
    }
    assert json.loads(entry(trace="Traceback\n  x").json_line())["stacktrace"] == "Traceback\n  x"


def test_the_last_entries_are_kept_for_who_attaches() -> None:
    logs = LogStream()
    for number in range(2000):
        logs.publish(entry(str(number)))

    assert [e.message for e in logs.recent(TRACE)] == [str(n) for n in range(2000 - KEPT, 2000)]


def test_recent_entries_below_the_level_are_left_out() -> None:
    logs = LogStream()
    logs.publish(entry("quiet", logging.DEBUG))
    logs.publish(entry("loud", logging.ERROR))

    assert [e.message for e in logs.recent(logging.INFO)] == ["loud"]


async def test_a_watcher_gets_what_the_agent_itself_does_not_write(handler: LogHandler) -> None:
    log = logging.getLogger("gossip.aio")
    log.debug("before")
    with handler.watched.watch(logging.DEBUG) as watcher:
        log.debug("meanwhile")
        logging.getLogger("other").debug("not ours")
    log.debug("after")

    assert [e.message for e in [e async for e in watcher] if isinstance(e, LogEntry)] == [
        "meanwhile"
    ]
    assert "meanwhile" not in written(handler)


async def test_a_watcher_changes_nothing_in_what_the_agent_writes(handler: LogHandler) -> None:
    handler.set_level("DEBUG")
    with handler.watched.watch(logging.ERROR):
        logging.getLogger("agent").debug("detail")
        handler.set_level("WARN")
        logging.getLogger("agent").info("no more")

    assert "detail" in written(handler)
    assert "no more" not in written(handler)


async def test_the_level_of_a_watcher_is_its_own(handler: LogHandler) -> None:
    with handler.watched.watch(logging.DEBUG), handler.watched.watch(logging.WARNING) as other:
        logging.getLogger("agent").debug("detail")
        logging.getLogger("agent").warning("alarm")

    assert [e.message for e in [e async for e in other] if isinstance(e, LogEntry)] == ["alarm"]


async def test_no_secret_reaches_a_watcher_or_what_is_kept(handler: LogHandler) -> None:
    with handler.watched.watch(logging.INFO) as watcher:
        logging.getLogger("agent").info("key=%s", "hush-hush")
        try:
            raise ValueError("it is hush-hush")
        except ValueError:
            logging.getLogger("agent").exception("failed")

    seen = [e.line() for e in [e async for e in watcher] if isinstance(e, LogEntry)]
    kept = [e.json_line() for e in handler.watched.recent(TRACE)]
    assert len(seen) == len(kept) == 2
    assert "hush-hush" not in "".join(seen + kept)
    assert "".join(seen).count("<hidden>") == 3


async def test_r42_a_watcher_that_does_not_read_costs_no_more_than_its_queue() -> None:
    logs = LogStream()
    with logs.watch(TRACE) as watcher:
        for number in range(KEPT + 100):
            logs.publish(entry(str(number)))
        seen = [await anext(watcher) for _ in range(KEPT)]
        logs.publish(entry("later"))
        gap, later = await anext(watcher), await anext(watcher)

    assert all(isinstance(e, LogEntry) for e in seen)
    assert gap == Gap(100)
    assert isinstance(later, LogEntry)
    assert later.message == "later"


def test_what_was_lost_is_a_line_of_its_own() -> None:
    assert re.fullmatch(
        r"....-..-..T..:..:..\....Z \[WARN\]  agent\.log_stream: .* lines_lost=7",
        lost(Gap(7), LogEntry.line),
    )


async def test_a_thread_may_write_to_the_log(handler: LogHandler) -> None:
    with handler.watched.watch(logging.INFO) as watcher:
        await asyncio.to_thread(logging.getLogger("agent").info, "from a thread")
        async with asyncio.timeout(5):
            seen = await anext(watcher)

    assert isinstance(seen, LogEntry)
    assert seen.message == "from a thread"
