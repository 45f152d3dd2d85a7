"""Ports, waiting and HTTP for the processes of this machine."""

from __future__ import annotations

import asyncio
import socket

import pytest

from simulations.local.http import HttpError, request
from simulations.local.ports import Ports, is_free
from simulations.local.wait import eventually


def test_ports_are_free_and_never_handed_out_twice() -> None:
    with Ports() as mine, Ports() as others:
        taken = [mine.take() for _ in range(20)]

        assert len(set(taken)) == 20
        assert all(is_free(port) for port in taken)
        assert others.take(taken[0]) != taken[0]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_bound_by_another_is_refused(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other, Ports() as ports:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]

        assert not is_free(port)
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is taken"):
            ports.take_exactly(port)


def test_a_closed_lease_can_be_taken_by_others() -> None:
    with Ports() as first:
        port = first.take()
    with Ports() as second:
        assert second.take_exactly(port) == port


async def test_eventually_returns_the_value_once_it_is_truthy() -> None:
    values = iter([0, 0, 7])

    assert await eventually(lambda: next(values), within=5, what="seven", every=0.001) == 7


async def test_eventually_names_what_was_missing_and_the_last_error() -> None:
    async def refuses() -> bool:
        raise ConnectionRefusedError("refused by test")

    with pytest.raises(TimeoutError, match=r"not within 0\.05 s: an answer.*refused by test"):
        await eventually(refuses, within=0.05, what=lambda: "an answer", every=0.01)


async def test_eventually_bounds_a_condition_that_hangs() -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(TimeoutError, match="not within"):
        await eventually(hangs, within=0.05, what="it")


async def answering(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_a_chunked_answer_is_read_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 42\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with await answering(head + b"3\r\n[1,\r\n3\r\n 2]\r\n0\r\n\r\n") as server:
        response = await request(server.sockets[0].getsockname(), "GET", "/")

    assert response.json() == [1, 2]
    assert response.index == 42


async def test_a_bad_status_is_an_error_with_the_body_unless_allowed() -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nMissing name"
    async with await answering(answer) as server:
        address = server.sockets[0].getsockname()

        with pytest.raises(HttpError, match=r"PUT /x .*: 400 Missing name") as caught:
            await request(address, "PUT", "/x")
        assert caught.value.status == 400
        assert (await request(address, "PUT", "/x", check=False)).status == 400


async def test_what_is_not_http_is_an_error() -> None:
    async with await answering(b"SSH-2.0-nonsense\r\n") as server:
        with pytest.raises(HttpError):
            await request(server.sockets[0].getsockname(), "GET", "/")


async def test_no_answer_is_a_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        with pytest.raises(TimeoutError, match=r"no answer in 0\.1 s"):
            await request(silent.getsockname(), "GET", "/", within=0.1)
