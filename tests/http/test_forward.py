"""Requests that travel: from a client to a server, and to a server of another datacenter."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from agent.config import Ports
from agent.forward.forwarder import ATTEMPTS
from agent.forward.listener import ForwardListener
from agent.http.routing import Call, Methods, Reply
from gossip.errors import GossipError
from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import (
    KEY,
    encrypted,
    join,
    join_wan,
    know,
    serve,
    server,
    servers_at,
    stats,
    two_datacenters,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("no_sync")


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


async def test_the_leader_of_another_datacenter_is_told_by_it() -> None:
    async with server("one", "dc1") as one, server("two", "dc2", bootstrap=True) as two:
        await join_wan(two, one)
        leader = (await two.get("/v1/status/leader")).json
        assert (await one.get("/v1/status/leader?dc=dc2")).json == leader != ""
        assert (await one.get("/v1/status/peers?dc=dc2")).json == [leader]
        assert (await one.get("/v1/status/leader")).json == ""


async def test_a_client_lists_the_datacenters_that_a_server_of_its_own_knows() -> None:
    async with two_datacenters(KEY) as (web1, one, _, _):
        for query in ("", "?dc=mars"):  # which means nothing here, as in Consul
            assert (await web1.get(f"/v1/catalog/datacenters{query}")).json == ["dc1", "dc2"]
        listed = (await web1.get("/v1/coordinate/datacenters")).json
        assert [(entry["Datacenter"], entry["AreaID"]) for entry in listed] == [
            (entry["Datacenter"], entry["AreaID"])
            for entry in (await one.get("/v1/coordinate/datacenters")).json
        ]
        assert listed[0]["AreaID"] == "wan"
        answer = await web1.get("/v1/catalog/datacenters?stale&consistent")
        assert answer.status == 400  # a mistake is reported without a journey


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
        reason = f"{where}connect: connection refused"
        assert answer.text == f"rpc error getting client: failed to get conn: {reason}"
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
        monkeypatch.setattr(web.agent.forwarder, "_candidates", lambda _dc, **_: only)
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


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.forward.post.MAX_ANSWER", 1000)

    async def handler(call: Call) -> Reply:
        return Reply("x" * int(call.get("size")))

    async with server("one", "dc1", KEY) as one, running("web", **encrypted(KEY)) as web:
        await join(web, one)
        serve(handler, one, web)
        assert (await web.get("/x?size=800")).status == 200
        answer = await web.get("/x?size=1000")
        assert answer.status == 500
        assert answer.text.endswith("the answer exceeds the limit of 1000 bytes")


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


async def test_a_blocking_query_may_take_its_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.http.endpoints.FORWARD_TIMEOUT", 0.2)

    async def handler(_call: Call) -> Reply:
        await asyncio.sleep(0.5)
        return Reply("waited")

    async with server("one", "dc1") as one, running("web") as web:
        await join(web, one)
        serve(handler, one, web)
        assert (await web.get("/x?index=7&wait=5s")).json == "waited"
        assert (await web.get("/x?wait=5s")).status == 500  # nothing waits without an index


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
