"""The load generator: answers are found whatever pieces they come in, and none that failed is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat

import pytest

from simulations.bench.load import Answer, AnswerReader, LoadError, connected, encode, load

WITH_LENGTH = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 42\r\nContent-Length: 5\r\n\r\nhello"
IN_CHUNKS = (
    b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhel\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (WITH_LENGTH, Answer(200, 42, b"hello")),
        (IN_CHUNKS, Answer(500, 0, b"hel\r\n0123456789abcdef")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Answer(200, 0, b"")),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_answer_is_found_in_pieces_of_any_size(data: bytes, answer: Answer, size: int) -> None:
    reader = AnswerReader()
    for _ in range(2):  # and the next one on the same connection
        found = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
        assert found[-1] == answer
        assert not any(found[:-1])


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", b"SSH-2.0\r\nContent-Length: 1\r\n\r\n"]
)
def test_what_has_no_end_or_is_not_http_is_an_error(data: bytes) -> None:
    with pytest.raises(LoadError):
        AnswerReader().feed(data)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Callable[[], bytes]) -> AsyncIterator[tuple[str, int]]:
    """A server that answers each request with these bytes, and closes when there are none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n") and (data := answer()):
                writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield host, port


async def test_every_connection_asks_again_until_nothing_is_left() -> None:
    async with serving(lambda: WITH_LENGTH) as address, connected(address, 3) as clients:
        requests = repeat(encode(address, "GET", "/x"), 50)
        timing = await load(clients, lambda: next(requests, None), within=30)
    assert len(timing.times) == 50
    assert timing.times == sorted(timing.times)
    assert 0 < timing.times[-1] <= timing.seconds


async def test_an_answer_that_is_an_error_ends_the_load_with_its_text() -> None:
    answers = [WITH_LENGTH] * 5 + [IN_CHUNKS] * 5
    async with serving(lambda: answers.pop(0)) as address, connected(address, 2) as clients:
        with pytest.raises(LoadError, match="500 hel"):
            await load(clients, lambda: encode(address, "GET", "/x"), within=30)


async def test_a_connection_that_is_closed_ends_the_load() -> None:
    answers = [WITH_LENGTH, b""]
    async with serving(lambda: answers.pop(0)) as address, connected(address, 1) as clients:
        with pytest.raises(LoadError, match="closed"):
            await load(clients, lambda: encode(address, "GET", "/x"), within=30)


async def test_a_missing_answer_is_an_error() -> None:
    async with serving(lambda: b"HTTP/1.1 200 OK\r\n") as address, connected(address, 1) as clients:
        with pytest.raises(LoadError, match="missing after"):
            await load(clients, lambda: encode(address, "GET", "/x"), within=0.1)
    async with serving(lambda: b"HTTP/1.1 200 OK\r\n") as address, connected(address, 1) as clients:
        with pytest.raises(LoadError, match="no answer"):
            await clients[0].call(encode(address, "GET", "/x"), within=0.1)
