"""``/v1/agent/monitor``: the log as it is written."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from agent.http.gate import GateLimits
from agent.log_stream import LogEntry
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/v1/agent/monitor"


@asynccontextmanager
async def watching(
    one: TestAgent, target: str = PATH
) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """The head of the answer, and what follows it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    try:
        async with asyncio.timeout(10):
            yield (await reader.readuntil(b"\r\n\r\n")).decode(), reader
    finally:
        writer.close()


async def next_line(reader: asyncio.StreamReader) -> str:
    size = int(await reader.readline(), 16)
    data = await reader.readexactly(size + 2)
    return data.decode().removesuffix("\n\r\n")


def entry(message: str, level: int = logging.INFO) -> LogEntry:
    return LogEntry(0.0, level, "agent.test", message)


async def test_the_head_comes_at_once_and_then_each_line(one: TestAgent) -> None:
    async with watching(one) as (head, reader):
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert "Content-Type: text/plain; charset=utf-8\r\n" in head
        assert "X-Content-Type-Options: nosniff\r\n" in head
        one.agent.logs.publish(entry("first"))
        assert await next_line(reader) == "1970-01-01T00:00:00.000Z [INFO]  agent.test: first"
        one.agent.logs.publish(entry("second"))
        assert (await next_line(reader)).endswith("second")


async def test_what_was_written_before_is_not_repeated(one: TestAgent) -> None:
    one.agent.logs.publish(entry("before"))
    async with watching(one) as (_, reader):
        one.agent.logs.publish(entry("after"))
        assert (await next_line(reader)).endswith("after")


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", "info"),
        ("?loglevel=", "info"),
        ("?loglevel=debug", "debug"),
        ("?loglevel=DEBUG", "debug"),
        ("?loglevel=err", "error"),
        ("?loglevel=Error", "error"),
    ],
)
async def test_the_level_is_info_or_what_is_asked_for(
    one: TestAgent, query: str, seen: str
) -> None:
    async with watching(one, PATH + query) as (_, reader):
        for level in (logging.DEBUG, logging.INFO, logging.ERROR):
            one.agent.logs.publish(entry(logging.getLevelName(level).lower(), level))
        assert (await next_line(reader)).endswith(f": {seen}")


async def test_a_line_in_json_is_one_object(one: TestAgent) -> None:
    async with watching(one, PATH + "?logjson") as (_, reader):
        one.agent.logs.publish(entry("first"))
        assert json.loads(await next_line(reader))["@message"] == "first"


async def test_an_unknown_level_is_refused(one: TestAgent) -> None:
    answer = await one.get(PATH + "?loglevel=Loud")

    assert (answer.status, answer.text) == (400, "Unknown log level: Loud")


async def test_head_has_no_lines(one: TestAgent) -> None:
    answer = await one.ask("HEAD", PATH)

    assert (answer.status, answer.body) == (200, b"")
    assert "transfer-encoding" not in answer.headers


async def test_a_browser_keeps_the_log_from_other_sites(one: TestAgent) -> None:
    async with watching(one, PATH) as (head, _):
        assert "access-control-allow-origin" not in head.lower()


async def test_watching_ends_with_the_client(one: TestAgent) -> None:
    async with watching(one):
        assert one.http.gate.blocked == 1
    await eventually(lambda: one.http.gate.blocked == 0)
    await eventually(lambda: not one.agent.logs._watchers)


async def test_watching_ends_with_the_agent() -> None:
    async with running() as one, watching(one) as (_, reader):
        await one.http.close()
        assert await reader.read() == b""


async def test_watchers_take_the_places_of_blocking_queries() -> None:
    async with running(limits=GateLimits(blocking=1)) as one, watching(one):
        answer = await one.get(PATH)

        assert (answer.status, answer.headers["retry-after"]) == (429, "1")


async def test_r42_a_client_that_does_not_read_is_cut_and_holds_up_nobody() -> None:
    limits = GateLimits(write_timeout=0.2)
    async with running(limits=limits) as one, watching(one):
        line = entry("x" * 4000)

        async def cut() -> bool:
            one.agent.logs.publish(line)
            return one.http.gate.blocked == 0

        await eventually(cut)
        assert one.http.gate.timed_out == 1
        assert (await one.get("/v1/agent/members")).status == 200
