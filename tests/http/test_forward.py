"""Requests that travel: from a client to a server, and to a server of another datacenter."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import random
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Ports
from agent.forward.envelope import open_sealed, seal
from agent.forward.forwarder import ATTEMPTS
from agent.forward.listener import ForwardListener
from agent.forward.messages import Answer as Forwarded
from agent.forward.messages import (
    Challenge,
    Request,
    decode_answer,
    encode_request,
)
from agent.forward.post import FORWARD_PATH
from agent.http.gate import GateLimits
from agent.http.routing import Call, Forwards, Methods, Reply, Route, Router
from agent.servers import Server
from gossip.errors import GossipError
from tests.helpers_agent import (
    Answer,
    TestAgent,
    eventually,
    parse_answer,
    raw_exchange,
    running,
    wan_pool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY, NEW_KEY = b"k" * 32, b"n" * 16
SERVER: dict[str, Any] = {"server": True, "ports": Ports(http=0, serf_lan=0, server=0)}
REFUSED = "This port answers members of the pool only"


def encrypted(key: bytes | None) -> dict[str, Any]:
    return {"encrypt": base64.b64encode(key).decode()} if key else {}


def server(name: str, dc: str, key: bytes | None = None, **settings: Any) -> Any:
    return running(name, datacenter=dc, **SERVER, **encrypted(key), **settings)


async def join(agent: TestAgent, other: TestAgent) -> None:
    await agent.agent.join(other.gossip)
    await eventually(lambda: len(agent.agent.servers.of(agent.agent.config.datacenter)))


@asynccontextmanager
async def two_datacenters(
    key: bytes | None = None, **client: Any
) -> AsyncIterator[tuple[TestAgent, TestAgent, TestAgent, TestAgent]]:
    """A client and a server of dc1, a server and a client of dc2."""
    async with (
        server("one", "dc1", key) as one,
        server("two", "dc2", key) as two,
        running("web-1", datacenter="dc1", **encrypted(key), **client) as web1,
        running("web-2", datacenter="dc2", **encrypted(key)) as web2,
        wan_pool(one, two, keys=(key,) if key else ()),
    ):
        await join(web1, one)
        await join(web2, two)
        yield web1, one, two, web2


def serve(
    handler: Callable[[Call], Any], *agents: TestAgent, methods: Methods = Methods.READ
) -> None:
    """Give agents one endpoint, /x, that only servers serve."""
    route = Route("/x", methods, handler, True, Forwards.SERVER, 1024)
    for agent in agents:
        agent.http._router = Router([route])
        if agent.forward is not None:
            agent.listener._router = Router([route])


def know(agent: TestAgent, *servers: Server) -> None:
    """Let an agent take these for the servers of every datacenter."""
    agent.agent.servers.of = lambda _dc: list(servers)  # type: ignore[method-assign, assignment]


def stats(agent: TestAgent) -> dict[str, int]:
    return dict(agent.agent.forwarder.stats)


# Across datacenters


@pytest.mark.parametrize("key", [None, KEY])
async def test_an_event_travels_over_a_server_into_the_other_datacenter(key: bytes | None) -> None:
    async with two_datacenters(key) as (web1, one, two, web2):
        answer = await web1.put("/v1/event/fire/deploy?dc=dc2&node=web", b"v2")
        assert (answer.status, answer.json["LTime"]) == (200, 0)
        assert answer.headers["content-type"] == "application/json"
        (event,) = await eventually(web2.agent.events.recent)
        assert (event.id, event.name, event.payload) == (answer.json["ID"], "deploy", b"v2")
        # The filter is applied where the event arrives, and dc1 sees nothing of it.
        assert two.agent.events.recent() == []
        assert one.agent.events.recent() == web1.agent.events.recent() == []
        assert (stats(one)["served"], stats(one)["sent"], stats(two)["served"]) == (1, 1, 1)
        shown = (await one.get("/v1/agent/self")).json["Stats"]
        assert shown["forward"]["served"] == "1"
        assert shown["consul"]["known_datacenters"] == "2"


@pytest.mark.parametrize("key", [None, KEY])
async def test_unknown_datacenters_have_no_path(key: bytes | None) -> None:
    async with two_datacenters(key) as (web1, one, _, _):
        for agent, text in (
            (one, "No path to datacenter"),
            (web1, "rpc error making call: No path to datacenter"),
        ):
            answer = await agent.put("/v1/event/fire/x?dc=mars")
            assert (answer.status, answer.text) == (500, text)


async def test_a_server_without_a_wan_pool_has_no_path() -> None:
    async with server("one", "dc1") as one:
        answer = await one.put("/v1/event/fire/x?dc=dc2")
        assert (answer.status, answer.text) == (500, "No path to datacenter")


async def test_a_client_without_a_server_knows_none(one: TestAgent) -> None:
    answer = await one.put("/v1/event/fire/x?dc=dc2")
    assert (answer.status, answer.text) == (500, "No known Consul servers")


async def test_an_error_is_prefixed_for_each_hop_and_a_mistake_of_the_client_is_not() -> None:
    async with two_datacenters(KEY) as (web1, _, _, _):
        answer = await web1.put("/v1/event/fire/x?dc=dc2", b"a" * 470)
        assert answer.status == 500
        assert answer.text.startswith("rpc error making call: rpc error making call: user event ")
        for target, status in (("/v1/event/fire/?dc=dc2", 400), ("/v1/event/fire/x?dc=dc2", 413)):
            answer = await web1.put(target, b"a" * 513)
            assert answer.status == status
            assert not answer.text.startswith("rpc error")
        answer = await web1.put("/v1/event/fire/x?dc=dc2&node=(")
        assert answer.text.startswith("Invalid node filter")


async def test_genuine_consul_servers_are_never_asked(caplog: pytest.LogCaptureFixture) -> None:
    tags = {"role": "consul", "dc": "dc1", "port": "8300", "id": "x"}
    async with (
        running("genuine", pool={"tags": tags}) as genuine,
        running("web") as web,
    ):
        await join(web, genuine)
        answer = await web.put("/v1/event/fire/x?dc=dc2")
        assert answer.text == "No known Consul servers"
        assert "do not speak our protocol" in caplog.text


async def test_the_port_that_the_system_chose_is_announced() -> None:
    async with server("one", "dc1") as one:
        tags = one.agent.cluster.local_member().tags
        assert (tags["port"], tags["gapi"]) == (str(one.server_port), "1")


# Servers that fail


async def test_a_request_goes_to_another_server_when_one_is_not_reached() -> None:
    async with two_datacenters() as (_, one, two, _), server("three", "dc2") as three:
        await join(three, two)
        (dead,) = one.agent.servers.of("dc2")
        one.agent.servers.__dict__["of"] = lambda _dc: [
            dead,
            dead.__class__("3.dc2", "dc2", ("127.0.0.1", three.server_port), True, False),
        ]
        await two.listener.close()
        for _ in range(10):
            assert (await one.put("/v1/event/fire/x?dc=dc2")).status == 200
        # Found out once at most: a server that failed is asked last from then on.
        assert stats(one).get("failed_attempts", 0) <= 1
        assert stats(three)["served"] == 10


async def test_when_no_server_is_reached_the_last_reason_is_told() -> None:
    async with two_datacenters() as (web1, one, two, _):
        await two.listener.close()
        answer = await one.put("/v1/event/fire/x?dc=dc2")
        where = f"127.0.0.1:{two.server_port}: "
        assert answer.status == 500
        assert answer.text.startswith(f"rpc error getting client: failed to get conn: {where}")
        answer = await web1.put("/v1/event/fire/x?dc=dc2")
        assert answer.text.startswith("rpc error making call: rpc error getting client: ")


@asynccontextmanager
async def hanging_up() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port where requests are read and never answered, and what came."""
    came: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], came
    finally:
        listening.close()
        await listening.wait_closed()


def servers_at(*ports: int, dc: str = "dc1") -> list[Server]:
    return [
        Server(f"at-{port}", dc, ("127.0.0.1", port), ours=True, bootstrap=False) for port in ports
    ]


async def test_a_change_that_may_have_been_made_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    async def handler(call: Call) -> Reply:
        made.append(call.method)
        return Reply("done")

    async with server("one", "dc1") as one, running("web") as web, hanging_up() as (port, came):
        await join(web, one)
        only = servers_at(port, one.server_port)
        monkeypatch.setattr(web.agent.forwarder, "_candidates", lambda _dc: only)
        serve(handler, one, web, methods=Methods.UPDATE)
        answer = await web.put("/x", b"v")
        assert answer.status == 500
        assert answer.text.startswith(f"rpc error making call: 127.0.0.1:{port}: ")
        assert (len(came), made) == (1, [])
        serve(handler, one, web, methods=Methods.READ)
        assert (await web.get("/x")).json == "done"
        assert (len(came), made) == (2, ["GET"])


async def test_no_more_than_a_few_servers_are_asked() -> None:
    async with server("one", "dc1") as one, running("web") as web, AsyncExitStack() as stack:
        await join(web, one)
        taken = [await stack.enter_async_context(hanging_up()) for _ in range(6)]
        (known,) = web.agent.servers.of("dc1")
        kind = type(known)
        web.agent.servers.__dict__["of"] = lambda _dc: [
            kind(f"s{port}", "dc1", ("127.0.0.1", port), True, False) for port, _ in taken
        ]
        serve(lambda _call: None, web)
        assert (await web.get("/x")).status == 500
        assert sum(len(came) for _, came in taken) == ATTEMPTS


async def test_a_request_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.http.endpoints.FORWARD_TIMEOUT", 0.2)
    ended = asyncio.Event()

    async def slow(_call: Call) -> Reply:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return Reply()

    async with server("one", "dc1") as one, running("web") as web:
        await join(web, one)
        serve(slow, one, web)
        answer = await web.get("/x")
        assert (answer.status, answer.text) == (500, "rpc error making call: no answer in time")
        async with asyncio.timeout(5):
            await ended.wait()


# Loops


async def test_agents_that_disagree_do_not_pass_a_request_around() -> None:
    async with two_datacenters() as (web1, one, two, _):
        (first,), (second,) = one.agent.servers.of("dc1"), two.agent.servers.of("dc2")
        know(one, second)
        know(two, first)
        answer = await web1.put("/v1/event/fire/x?dc=mars")
        assert answer.status == 500
        assert answer.text.endswith(
            "No path to datacenter: the request came through 2 agents already"
        )
        assert stats(one)["served"] == stats(two)["served"] == stats(two)["loops"] == 1


# Blocking queries


async def test_a_blocking_query_waits_at_the_server_and_its_end_comes_back() -> None:
    change = asyncio.Event()

    async def handler(call: Call) -> Reply:
        if call.get("index"):
            await change.wait()
        return Reply(call.get("index"), {"X-Consul-Index": "8"})

    async with two_datacenters(KEY) as (web1, one, two, _):
        serve(handler, web1, one, two)
        asking = asyncio.create_task(web1.get("/x?dc=dc2&index=7&wait=60s"))
        await eventually(lambda: two.listener.gate.blocked)
        assert web1.http.gate.blocked == 1
        assert not asking.done()
        change.set()
        answer = await asking
        assert (answer.json, answer.index) == ("7", 8)


async def test_a_client_that_hangs_up_frees_the_whole_chain() -> None:
    ended = asyncio.Event()

    async def handler(_call: Call) -> Reply:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return Reply()

    async with two_datacenters(KEY) as (web1, one, two, _):
        serve(handler, web1, one, two)
        _, writer = await asyncio.open_connection("127.0.0.1", web1.port)
        writer.write(b"GET /x?dc=dc2&index=7&wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: two.listener.gate.blocked)
        writer.close()
        async with asyncio.timeout(5):
            await ended.wait()
        for gate in (web1.http.gate, two.listener.gate):
            await eventually(lambda gate=gate: not gate.blocked)


async def test_a_wrong_wait_is_refused_where_it_is_asked() -> None:
    async with two_datacenters() as (web1, one, two, _):
        serve(lambda _call: None, web1, one, two)
        answer = await web1.get("/x?dc=dc2&index=7&wait=soon")
        assert (answer.status, answer.text) == (400, "Invalid wait time")
        assert "served" not in stats(one)


# Tokens


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("", {}, "default-secret"),
        ("?token=query-secret", {"X-Consul-Token": "header-secret"}, "query-secret"),
        ("", {"X-Consul-Token": "header-secret"}, "header-secret"),
        ("", {"Authorization": "Bearer bearer-secret"}, "bearer-secret"),
    ],
)
async def test_tokens_travel_and_are_never_logged(
    key: bytes | None,
    query: str,
    headers: dict[str, str],
    token: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def handler(call: Call) -> Reply:
        seen.append(call.headers["X-Consul-Token"])
        return Reply()

    async with (
        server("one", "dc1", key) as one,
        running("web", acl_token="default-secret", **encrypted(key)) as web,
    ):
        await join(web, one)
        serve(handler, one, web)
        assert (await web.get(f"/x{query}", **headers)).status == 200
        assert seen == [token]
    assert "forwarded request method=GET" in caplog.text
    assert "secret" not in caplog.text


async def test_a_token_that_is_none_is_refused_where_it_is_given() -> None:
    async with server("one", "dc1") as one, running("web") as web:
        await join(web, one)
        serve(lambda _call: None, one, web)
        assert (await web.get("/x?token=%00")).status == 400
        assert stats(web) == {}


# Who is answered


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


# The parts themselves


async def test_a_closed_forwarder_asks_nobody() -> None:
    async with server("one", "dc1") as one, running("web") as web:
        await join(web, one)
        await web.agent.forwarder.close()
        with pytest.raises(GossipError, match="stopping"):
            await web.agent.forwarder.request("dc2", "GET", "/x")


async def test_a_busy_port_is_an_error_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports(http=0, serf_lan=0, server=taken.getsockname()[1])
        async with running("one", server=True, ports=ports) as one:
            listener = ForwardListener(one.agent)
            with pytest.raises(OSError, match="in use"):
                await listener.start()
            assert listener.addresses == []
