"""Checks that send HTTP requests."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from agent.check_runners.http import MAX_BODY, HttpClient
from agent.check_runners.names import Names
from agent.decode import Body
from agent.definitions import check_definition
from agent.store.entries import Status
from agent.unreachable import why_unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent.check_runners.periodic import Result

LONG = 30.0


class Site:
    """Answers every request with the same bytes, or those of its path, and keeps what it was asked."""

    def __init__(self, answer: bytes, paths: dict[str, bytes]) -> None:
        self.answer = answer
        self.paths = paths
        self.requests: list[str] = []
        self.port = 0
        self.conversations: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.conversations.append(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (
                    int(x.split(":")[1])
                    for x in head.splitlines()
                    if x.lower().startswith("content-l")
                ),
                0,
            )
            body = (await reader.readexactly(length)).decode()
            self.requests.append(head + body)
            writer.write(self.paths.get(head.split(" ")[1], self.answer))
            await writer.drain()
            if not self.answer:
                await reader.read()  # say nothing until the client has enough
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has enough
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def site(answer: bytes = b"", **paths: bytes) -> AsyncIterator[Site]:
    found = Site(answer, {f"/{path}": data for path, data in paths.items()})
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await asyncio.gather(*found.conversations)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def ask(url: str, *, within: float = LONG, **values: Any) -> Result:
    definition = check_definition(Body({"Name": "x", "HTTP": url, "Interval": "1h"} | values))
    names = Names()
    client = HttpClient(names)
    try:
        return await client.ask(definition, within)
    finally:
        await client.close()
        names.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("200 OK", Status.PASSING),
        ("299 Fine", Status.PASSING),
        ("429 Too Many Requests", Status.WARNING),
        ("404 Not Found", Status.CRITICAL),
        ("500 Oops", Status.CRITICAL),
        ("304 Not Modified", Status.CRITICAL),
    ],
)
async def test_the_status_line_decides(line: str, status: Status) -> None:
    body = b"" if line.startswith("304") else b"body"
    async with site(answer(line, body)) as web:
        assert await ask(web.url) == (status, f"HTTP GET {web.url}: {line} Output: {body.decode()}")


async def test_the_request_is_consuls_and_as_it_was_defined() -> None:
    async with site(answer("200 OK")) as web:
        await ask(web.url)
        await ask(
            web.url, Method="POST", Header={"X-A": ["1", "2"], "user-agent": ["me"]}, Body="hello"
        )
        get, post = web.requests
        assert get.startswith("GET / HTTP/1.1\r\n")
        assert "User-Agent: Consul Health Check\r\n" in get
        assert "Accept: text/plain, text/*, */*\r\n" in get
        assert "Accept-Encoding" not in get
        assert post.startswith("POST / ")
        assert "X-A: 1\r\nX-A: 2\r\n" in post
        assert "user-agent: me\r\n" in post
        assert "Consul" not in post
        assert post.endswith("\r\n\r\nhello")


async def test_of_a_long_body_the_end_is_shown_and_of_an_endless_one_what_was_read() -> None:
    async with site(answer("200 OK", b"x" * 100_000 + b"end")) as web:
        _, output = await ask(web.url)
        assert output.endswith("xend")
        assert len(output) < 4300
    async with site(answer("200 OK", b"x" * 2 * MAX_BODY)) as web:
        status, output = await ask(web.url)
        assert status is Status.PASSING
        assert len(output) < 4300


async def test_who_answers_nothing_is_critical_after_the_timeout() -> None:
    async with site() as web:
        assert await ask(web.url, within=0.3) == (
            Status.CRITICAL,
            f'Get "{web.url}": no answer within 300ms',
        )


async def test_who_is_not_there_is_critical() -> None:
    async with site() as web:
        url = web.url
    assert await ask(url) == (
        Status.CRITICAL,
        f'Get "{url}": dial tcp {url[7:-1]}: connect: connection refused',
    )


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_an_answer_that_is_none_is_critical(data: bytes) -> None:
    async with site(data) as web:
        assert (await ask(web.url)).status is Status.CRITICAL


async def test_redirects_are_followed_on_the_same_host_only() -> None:
    async with site(answer("200 OK", b"there")) as other:
        paths = {
            "here": answer("302 Found", Location="/ok"),
            "ok": answer("200 OK", b"fine"),
            "away": answer("302 Found", Location=other.url),
            "loop": answer("307 Again", Location="/loop"),
            "odd": answer("302 Found", Location="http://[x"),
        }
        async with site(answer("404 Not Found"), **paths) as web:
            assert (await ask(f"{web.url}here")).output.endswith("200 OK Output: fine")
            for path, text in (
                ("away", "302 Found Output: "),
                ("loop", "stopped after 10 redirects"),
            ):
                status, output = await ask(f"{web.url}{path}", Header={"Token": ["s3cret"]})
                assert status is Status.CRITICAL
                assert output.endswith(text)
            assert (await ask(f"{web.url}odd")).status is Status.CRITICAL
        assert other.requests == []


async def test_a_redirect_after_a_post_is_a_get_unless_it_says_otherwise() -> None:
    paths = {
        "a": answer("303 See Other", Location="/ok"),
        "b": answer("307 Again", Location="/ok"),
    }
    async with site(answer("200 OK"), **paths) as web:
        await ask(f"{web.url}a", Method="POST", Body="x")
        await ask(f"{web.url}b", Method="POST", Body="x")
        assert [request.split(" ")[0] for request in web.requests] == [
            "POST",
            "GET",
            "POST",
            "POST",
        ]


async def test_a_server_that_hangs_up_is_told_in_gos_word_for_it() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await ask(url) == (Status.CRITICAL, f'Get "{url}": EOF')


async def test_a_server_that_speaks_no_tls_is_told_as_that() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("400 Bad Request"))
        with suppress(ConnectionError):
            await reader.read()  # until the client has enough
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await ask(f"https://127.0.0.1:{port}/")
    dialled = f"dial tcp 127.0.0.1:{port}: tls: "
    assert result.status is Status.CRITICAL
    assert re.search(f"{re.escape(dialled)}[A-Z_]+$", result.output), result.output


def test_a_certificate_that_does_not_hold_is_told_with_the_reason() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    assert why_unreachable(error) == "tls: certificate has expired"
    assert why_unreachable(ssl.SSLError(8, "EOF occurred")) == "tls: EOF occurred"


async def test_neither_passwords_nor_headers_are_shown() -> None:
    async with site(answer("200 OK")) as web:
        url = web.url.replace("//", "//user:s3cret@")
        headers = {"X": ["t0ken"]}
        good = await ask(url, Header=headers)
    bad = await ask(url, Header=headers)
    for output in (good.output, bad.output):
        assert "s3cret" not in output
        assert "t0ken" not in output
        assert "user:***@" in output
    assert "Authorization: Basic " in web.requests[0]
