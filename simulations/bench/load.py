"""HTTP clients that cost little: keep-alive connections that ask again at once, and ones that wait.

A client library would cost more than the servers that are measured. So a connection here only finds
where an answer ends, by its length or by its chunks, and notes when that was.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

__all__ = [
    "Answer",
    "AnswerReader",
    "Client",
    "LoadError",
    "Timing",
    "checked",
    "connected",
    "encode",
    "load",
]

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_INDEX = re.compile(rb"\r\nx-consul-index: *([0-9]+)\r\n", re.IGNORECASE)


class LoadError(RuntimeError):
    """A server answered something else than 200, nothing in time, or closed the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; `index` is 0 when it has none."""

    status: int
    index: int
    body: bytes


class AnswerReader:
    """Finds answers in the bytes of one connection. Looks at a byte of a body once, when it is complete."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._need = 0
        self._head: tuple[int, int, int | None] | None = None
        self._chunks: list[bytes] = []
        self._at = 0

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes in; gives the answer that they complete, of which there is one at a time.

        Raises:
            LoadError: it is not HTTP.
        """
        self._data += data
        if len(self._data) < self._need:
            return None
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None  # noqa: S101 - just read
        status, index, length = self._head
        if length is None:
            body = self._read_chunks()
        else:
            self._need = self._at + length
            body = (
                bytes(self._data[self._at : self._need]) if len(self._data) >= self._need else None
            )
        if body is None:
            return None
        self.__init__()  # type: ignore[misc]  # from the beginning
        return Answer(status, index, body)

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._data[: end + 2])
        length, chunked, index = (p.search(head) for p in (_LENGTH, _CHUNKED, _INDEX))
        if not head.startswith(b"HTTP/1.1 ") or not (length or chunked):
            raise LoadError(f"an answer without an end: {head[:200]!r}")
        self._head = (
            int(head[9:12]),
            int(index[1]) if index else 0,
            int(length[1]) if length else None,
        )
        self._at = end + 4
        return True

    def _read_chunks(self) -> bytes | None:
        while (end := self._data.find(b"\r\n", self._at)) >= 0:
            size = int(self._data[self._at : end], 16)
            following = end + 2 + size + 2
            if len(self._data) < following:
                self._need = following
                return None
            if not size:
                return b"".join(self._chunks)
            self._chunks.append(bytes(self._data[end + 2 : end + 2 + size]))
            self._at = following
        return None


class Client(asyncio.Protocol):
    """One connection, with one request at a time on it."""

    def __init__(self) -> None:
        self._reader = AnswerReader()
        self._done: Callable[[Answer | LoadError], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready for the first request."""
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, done: Callable[[Answer | LoadError], None]) -> None:
        """Send a request; `done` gets the answer, or why there is none."""
        self._done = done
        if self.transport.is_closing():
            self._finish(LoadError("the server closed the connection"))
        else:
            self.transport.write(request)

    async def call(self, request: bytes, *, within: float = 30.0) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            LoadError: its status is not 200, or there is none within so many seconds.
        """
        answered: asyncio.Future[Answer | LoadError] = asyncio.get_running_loop().create_future()
        self.ask(request, answered.set_result)
        try:
            async with asyncio.timeout(within):
                return checked(await answered)
        except TimeoutError:
            raise LoadError(f"no answer in {within:g} s to {request[:100]!r}") from None

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is complete."""
        try:
            answer = self._reader.feed(data)
        except (LoadError, ValueError) as error:
            self.transport.abort()
            self._finish(LoadError(str(error)))
            return
        if answer is not None:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._finish(LoadError(f"the connection was closed: {exc or 'no reason given'}"))

    def _finish(self, result: Answer | LoadError) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


def checked(result: Answer | LoadError) -> Answer:
    """The answer; raises LoadError when there is none or it says anything else than 200."""
    if isinstance(result, LoadError):
        raise result
    if result.status != HTTPStatus.OK:
        raise LoadError(f"{result.status} {result.body[:200].decode(errors='replace')}")
    return result


def encode(address: tuple[str, int], method: str, target: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
    host = join_host_port(*address)
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode() + body


@contextlib.asynccontextmanager
async def connected(
    address: tuple[str, int], count: int, ready: Callable[[Client], None] = lambda _: None
) -> AsyncIterator[list[Client]]:
    """So many connections to a server; `ready` is called with each, as servers do not wait long."""
    loop, clients = asyncio.get_running_loop(), list[Client]()
    try:
        for _ in range(count):
            _, client = await loop.create_connection(Client, *address)
            clients.append(client)
            ready(client)
        yield clients
    finally:
        for client in clients:
            client.transport.abort()
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a load was: seconds from request to answer, in order of size, and for all of it."""

    times: list[float]
    seconds: float


async def load(
    clients: Sequence[Client],
    next_request: Callable[[], bytes | None],
    *,
    within: float,
) -> Timing:
    """Have every connection ask, and ask again with each answer, until there is nothing more to ask.

    Args:
        clients: the connections.
        next_request: gives the next request, None at the end.
        within: seconds after which a missing answer is an error.

    Raises:
        LoadError: an answer is not 200, or missing.
    """
    clock = time.perf_counter
    times: list[float] = []
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asking = len(clients)

    def ask(client: Client) -> None:
        nonlocal asking
        request = None if finished.done() else next_request()
        if request is None:
            asking -= 1
            if not asking and not finished.done():
                finished.set_result(None)
            return
        sent = clock()

        def done(result: Answer | LoadError) -> None:
            times.append(clock() - sent)
            try:
                checked(result)
            except LoadError as error:
                if not finished.done():
                    finished.set_exception(error)
            ask(client)

        client.ask(request, done)

    started = clock()
    for client in clients:
        ask(client)
    try:
        async with asyncio.timeout(within):
            await finished
    except TimeoutError:
        raise LoadError(f"answers are missing after {within:g} s") from None
    return Timing(sorted(times), clock() - started)
