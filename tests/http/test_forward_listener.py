"""The port of a server on which members forward: who is answered there, and what others get."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import Any

import pytest

from agent.forward.envelope import open_sealed, seal
from agent.forward.messages import Answer as Forwarded
from agent.forward.messages import Challenge, Request, decode_answer, encode_request
from agent.forward.post import FORWARD_PATH
from agent.http.gate import GateLimits
from agent.http.routing import Call, Reply
from tests.helpers_agent import Answer, TestAgent, eventually, parse_answer, raw_exchange, running
from tests.helpers_forward import (
    KEY,
    NEW_KEY,
    SERVER,
    encrypted,
    join,
    serve,
    server,
    stats,
    two_datacenters,
)

pytestmark = pytest.mark.usefixtures("no_sync")

REFUSED = "This port answers members of the pool only"


async def post(
    agent: TestAgent, envelope: bytes, *, path: str = FORWARD_PATH, source: str = "127.0.0.1"
) -> Answer:
    """Send an envelope to the server port of an agent from some address."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(envelope)}"
    )
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", agent.server_port, local_addr=(source, 0)
        )
        writer.write(head.encode() + b"\r\n\r\n" + envelope)
        answer = parse_answer(await reader.read())
        writer.close()
    return answer


def fire(challenge: str = "", hops: int = 1, target: str = "/v1/event/fire/x") -> bytes:
    return encode_request(Request("PUT", target, {}, b"", hops, challenge))


async def challenge_of(agent: TestAgent, key: bytes = KEY) -> str:
    salt = os.urandom(16)
    answer = await post(agent, seal(fire(), key, salt))
    received = decode_answer(open_sealed(answer.body, [key], answers=salt)[0])
    assert isinstance(received, Challenge)
    return received.value


async def test_without_a_key_members_are_answered_and_strangers_are_not() -> None:
    async with server("one", "dc1") as one:
        clear = seal(fire(), None, b"")
        answer = await post(one, clear, source="127.0.0.99")
        assert (answer.status, answer.text) == (403, REFUSED)
        assert stats(one) == {"refused_strangers": 1}
        assert one.agent.cluster.stats()["event_time"] == "1"
        assert (await post(one, clear)).status == 200
        assert one.agent.cluster.stats()["event_time"] == "2"


async def test_s15_with_a_key_the_clear_is_refused_even_from_a_member() -> None:
    async with server("one", "dc1", KEY) as one:
        answer = await post(one, seal(fire(), None, b""))
        assert (answer.status, answer.text) == (403, REFUSED)
        assert one.agent.cluster.stats()["event_time"] == "1"


async def test_s15_with_a_key_nothing_of_a_request_is_readable_on_the_way() -> None:
    async with server("one", "dc1", KEY) as one, running("web", **encrypted(KEY)) as web:
        await join(web, one)
        serve(lambda _call: None, one, web)
        sent: list[bytes] = []
        real = web.agent.forwarder._poster.post

        async def recorded(address: Any, data: bytes) -> bytes:
            sent.append(data)
            sent.append(await real(address, data))
            return sent[-1]

        async def handler(_call: Call) -> Reply:
            return Reply("hush-answer")

        web.agent.forwarder._poster.post = recorded  # type: ignore[method-assign]
        serve(handler, one, web)
        assert (await web.get("/x?token=hush-token")).json == "hush-answer"
        assert len(sent) == 4  # the first one fetches the challenge
        assert not any(b"hush" in data or b"/x" in data for data in sent)


async def test_a_key_is_needed_and_one_of_the_ring_is_enough_wherever_it_comes_from() -> None:
    async with server("one", "dc1", KEY) as one:
        assert (await post(one, seal(fire(), NEW_KEY, os.urandom(16)))).status == 403
        challenge, salt = await challenge_of(one), os.urandom(16)
        answer = await post(one, seal(fire(challenge), KEY, salt), source="127.0.0.99")
        received = decode_answer(open_sealed(answer.body, [KEY], answers=salt)[0])
        assert isinstance(received, Forwarded)
        assert received.status == 200


async def test_a_copy_of_a_request_does_nothing() -> None:
    async with server("one", "dc1", KEY) as one:
        challenge = await challenge_of(one)
        sealed = seal(fire(challenge), KEY, os.urandom(16))
        assert (await post(one, sealed)).status == 200
        for _ in range(3):
            answer = await post(one, sealed)
            assert (answer.status, answer.text) == (403, REFUSED)
        assert one.agent.cluster.stats()["event_time"] == "2"
        assert stats(one)["refused_malformed"] == 3
    async with server("one", "dc1", KEY) as one:  # and nothing at its successor
        await post(one, sealed)
        assert one.agent.cluster.stats()["event_time"] == "1"


async def test_r46_forwarding_follows_the_keys_while_they_are_rotated() -> None:
    async with two_datacenters(KEY) as (web1, one, two, _):

        def rings() -> list[Any]:
            clusters = [web1.agent.cluster, *one.agent.servers.clusters]
            return [c.node.keyring for c in (*clusters, *two.agent.servers.clusters)]

        async def works() -> bool:
            return (await web1.put("/v1/event/fire/x?dc=dc2")).status == 200

        assert await works()
        for ring in rings():
            ring.install(NEW_KEY)
            assert await works()
        for ring in reversed(rings()):
            ring.use(NEW_KEY)
            assert await works()
        for ring in rings():
            ring.remove(KEY)
            assert await works()
        assert (await post(one, seal(fire(), KEY, os.urandom(16)))).status == 403


async def test_only_endpoints_that_declare_it_are_served() -> None:
    async with server("one", "dc1") as one:
        for method, target, status in (
            ("PUT", "/v1/agent/leave", 404),
            ("GET", "/v1/agent/self", 404),
            ("PUT", "/v1/agent/join/127.0.0.1", 404),
            ("GET", "/v1/event/fire/x", 405),
            ("PUT", "no path", 400),
            ("PUT", "/v1/event/fire/%zz", 400),
            ("PUT", "/v1/event/fire/x?%zz", 500),
            ("PUT", "http://[/v1/event/fire/x", 400),
        ):
            request = encode_request(Request(method, target, {}, b"", 1))
            answer = await post(one, seal(request, None, b""))
            received = decode_answer(answer.body[1:])
            assert isinstance(received, Forwarded)
            assert received.status == status
        assert not one.agent.finished.done()
        assert one.agent.cluster.stats()["event_time"] == "1"


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    "request_line",
    ["GET / ", "GET /v1/agent/self ", "PUT /v1/agent/leave ", "OPTIONS * ", f"GET {FORWARD_PATH} "],
)
async def test_the_http_interface_is_not_served_there(key: bytes | None, request_line: str) -> None:
    async with server("one", "dc1", key) as one:
        request = f"{request_line}HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        answer = parse_answer(await raw_exchange(one.server_port, request))
        assert (answer.status, answer.text) == (403, REFUSED)
        assert answer.headers["connection"] == "close"
        assert not one.agent.finished.done()


@pytest.mark.parametrize("key", [None, KEY])
async def test_s20_whatever_bytes_come_the_answer_is_a_short_refusal(
    key: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(4)
    good = seal(fire(), key, bytes(16))
    async with server("one", "dc1", key) as one:
        for round_ in range(150):
            data = bytearray(good)
            if round_ % 3 == 0:
                data = bytearray(rng.randbytes(rng.randrange(200)))
            elif round_ % 3 == 1:
                data[rng.randrange(1, len(data))] ^= 1 << rng.randrange(8)
            else:
                del data[rng.randrange(len(data)) :]
            answer = await post(one, bytes(data))
            assert answer.status in {200, 403}  # 200 in the clear, where one letter may be another
            if answer.status == 403:
                assert answer.text == REFUSED
            raw = await raw_exchange(one.server_port, bytes(data) + b"\r\n\r\n")
            assert len(raw) < 500
        assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
        await eventually(lambda: not len(one.listener.gate))


async def test_h10_slow_and_silent_connections_are_cut() -> None:
    limits = GateLimits(header_timeout=0.1, body_timeout=0.1)
    async with running("one", forward_limits=limits, **SERVER) as one:
        for sent in (
            b"",
            b"POST ",
            b"\x00",
            f"POST {FORWARD_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc".encode(),
        ):
            assert len(await raw_exchange(one.server_port, sent)) < 500
        await eventually(lambda: one.forward and not len(one.listener.gate))


async def test_h10_connections_are_counted() -> None:
    async with running("one", forward_limits=GateLimits(per_client=3), **SERVER) as one:
        held = [await asyncio.open_connection("127.0.0.1", one.server_port) for _ in range(3)]
        await eventually(lambda: one.forward and len(one.listener.gate) == 3)
        assert b" 429 " in await raw_exchange(one.server_port, b"")
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("length", [None, 2**40])
async def test_an_envelope_says_how_long_it_is(length: int | None) -> None:
    header = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    async with server("one", "dc1", KEY) as one:
        request = f"POST {FORWARD_PATH} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()
        answer = parse_answer(await raw_exchange(one.server_port, request))
        assert (answer.status, answer.text) == (403, REFUSED)


async def test_what_strangers_are_sending_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.forward.listener.STRANGERS_BYTES", 1000)
    head = f"POST {FORWARD_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n".encode()
    async with server("one", "dc1", KEY) as one:
        stranger = ("127.0.0.99", 0)
        first = await asyncio.open_connection("127.0.0.1", one.server_port, local_addr=stranger)
        first[1].write(head)
        await eventually(lambda: one.listener._strangers == 600)
        second = await asyncio.open_connection("127.0.0.1", one.server_port, local_addr=stranger)
        second[1].write(head)
        assert b" 429 " in await second[0].readline()
        await challenge_of(one)  # members go on
        for _, writer in (first, second):
            writer.close()
        await eventually(lambda: one.listener._strangers == 0)


async def test_without_a_key_the_body_of_a_stranger_is_not_even_read() -> None:
    head = f"POST {FORWARD_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n".encode()
    async with server("one", "dc1") as one, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", one.server_port, local_addr=("127.0.0.99", 0)
        )
        writer.write(head)
        assert b" 403 " in await reader.readline()
        writer.close()
