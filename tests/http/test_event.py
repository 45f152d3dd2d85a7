"""/v1/event"""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from contextlib import AsyncExitStack

import pytest

from agent.events import EVENT_PREFIX, UserEvent, encode_event
from agent.http.gate import GateLimits
from tests.helpers_agent import Answer, TestAgent, eventually, running

KEYS = [
    "ID",
    "Name",
    "Payload",
    "NodeFilter",
    "ServiceFilter",
    "TagFilter",
    "Version",
    "LTime",
]


async def listed(agent: TestAgent, count: int = 1, query: str = "") -> Answer:
    """The list, once it has at least so many events."""

    async def enough() -> Answer | None:
        answer = await agent.get("/v1/event/list" + query)
        return answer if len(answer.json) >= count else None

    answer = await eventually(enough)
    assert isinstance(answer, Answer)
    return answer


def index_of(ident: str) -> int:
    value = uuid.UUID(ident).int
    return (value >> 64) ^ (value & (2**64 - 1))


# Fire


async def test_fire_answers_with_the_event_before_it_has_a_lamport_time(one: TestAgent) -> None:
    answer = await one.put("/v1/event/fire/deploy", b"1609030")
    assert answer.status == 200
    assert list(answer.json) == KEYS
    assert str(uuid.UUID(answer.json["ID"])) == answer.json["ID"]
    assert answer.json | {"ID": ""} == {
        "ID": "",
        "Name": "deploy",
        "Payload": "MTYwOTAzMA==",
        "NodeFilter": "",
        "ServiceFilter": "",
        "TagFilter": "",
        "Version": 1,
        "LTime": 0,
    }
    fired = (await listed(one)).json
    assert fired == [answer.json | {"LTime": 1}]


async def test_an_empty_payload_is_null(one: TestAgent) -> None:
    for body in (None, b""):
        assert (await one.put("/v1/event/fire/x", body)).json["Payload"] is None
    assert [event["Payload"] for event in (await listed(one, 2)).json] == [None, None]


async def test_every_byte_makes_the_round_trip(one: TestAgent) -> None:
    for payload in (bytes(range(256)), b"\0", b"\xff" * 3):
        await one.put("/v1/event/fire/x", payload)
    events = (await listed(one, 3)).json
    assert [base64.b64decode(event["Payload"]) for event in events] == [
        bytes(range(256)),
        b"\0",
        b"\xff" * 3,
    ]


async def test_a_chunked_body_is_read(one: TestAgent) -> None:
    answer = await one.put(
        "/v1/event/fire/x", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", **{"Transfer-Encoding": "chunked"}
    )
    assert answer.json["Payload"] == base64.b64encode(b"abcde").decode()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%20b+c", "a b+c"),
        ("%C3%A4", "ä"),
        ("a%3Fb", "a?b"),
        ("_mine", "_mine"),
        ("x/", "x/"),
        ("%252e%252e", "%2e%2e"),
    ],
)
async def test_the_name_is_the_rest_of_the_decoded_path(
    one: TestAgent, path: str, name: str
) -> None:
    assert (await one.put(f"/v1/event/fire/{path}")).json["Name"] == name
    assert (await listed(one)).json[0]["Name"] == name


async def test_a_missing_name_is_400(one: TestAgent) -> None:
    answer = await one.put("/v1/event/fire/")
    assert (answer.status, answer.text) == (400, "Missing name")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_fire_is_put_only(one: TestAgent, method: str) -> None:
    answer = await one.ask(method, "/v1/event/fire/x")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS,PUT")
    assert answer.text == f"method {method} not allowed"
    assert one.agent.cluster.stats()["event_time"] == "1"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("tag=v1", "Cannot provide tag filter without service filter"),
        ("node=(", "Invalid node filter: error parsing regexp: missing ): ("),
        ("service=(", "Invalid service filter: error parsing regexp: missing ): ("),
        ("service=x&tag=(", "Invalid tag filter: error parsing regexp: missing ): ("),
        ("dc=mars", "No known Consul servers"),
        ("dc=mars&node=(", "Invalid node filter: error parsing regexp: missing ): ("),
    ],
)
async def test_what_cannot_be_fired_is_500_with_consuls_text(
    one: TestAgent, query: str, text: str
) -> None:
    answer = await one.put(f"/v1/event/fire/x?{query}")
    assert (answer.status, answer.text) == (500, text)
    assert one.agent.cluster.stats()["event_time"] == "1"


@pytest.mark.parametrize("query", ["", "?dc=", "?dc=dc1", "?node=&service=&tag="])
async def test_our_own_datacenter_and_empty_filters_are_the_default(
    one: TestAgent, query: str
) -> None:
    assert (await one.put(f"/v1/event/fire/x{query}")).status == 200


async def test_an_event_beyond_the_limit_is_500_and_leaves_the_clock_alone(
    one: TestAgent,
) -> None:
    sizes = {size: await one.put("/v1/event/fire/x", b"a" * size) for size in (512, 470, 430)}
    for answer in sizes.values():
        assert answer.status == 500
        assert "configured limit of 512 bytes" in answer.text
    assert sizes[512].text.endswith("before encoding")
    assert sizes[430].text.endswith("after encoding")
    assert one.agent.cluster.stats()["event_time"] == "1"
    assert (await one.put("/v1/event/fire/x", b"a" * 400)).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_cve_2025_11375_a_body_beyond_the_limit_is_413(chunked: bool) -> None:
    async with running(limits=GateLimits(body_timeout=0.2)) as agent:
        body, headers = b"a" * 513, {}
        if chunked:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            headers["Transfer-Encoding"] = "chunked"
        answer = await agent.put("/v1/event/fire/x", body, **headers)
        assert (answer.status, answer.text) == (
            413,
            "The body of the request exceeds the limit of 512 bytes",
        )
        assert agent.agent.cluster.stats()["event_time"] == "1"


async def test_cve_2025_11375_an_endless_chunked_body_is_refused_while_it_comes() -> None:
    async with running(limits=GateLimits(body_timeout=0.3)) as agent:
        reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
        writer.write(
            b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        async def pour() -> None:
            try:
                while True:
                    writer.write(b"1000\r\n" + b"a" * 4096 + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                pass

        pouring = asyncio.ensure_future(pour())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 413 " in head.split(b"\r\n")[0]
            await pouring
        writer.close()


async def test_cve_2025_11374_a_broken_length_is_a_bad_request(one: TestAgent) -> None:
    for length in ("-1", "abc", "1, 2", "99999999999999999999"):
        answer = await one.ask(
            "PUT", "/v1/event/fire/x", body=b"", headers={"Content-Length": length}
        )
        assert answer.status in {400, 413}
    assert one.agent.cluster.stats()["event_time"] == "1"


async def test_too_many_waiting_events_are_told_to_come_back(
    one: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.user_events.MAX_FIRING", 0)
    answer = await one.put("/v1/event/fire/x")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert one.agent.cluster.stats()["event_time"] == "1"


# List


async def test_an_empty_list_has_index_one(one: TestAgent) -> None:
    answer = await one.get("/v1/event/list")
    assert (answer.status, answer.text, answer.headers["x-consul-index"]) == (200, "[]", "1")
    for header in ("x-consul-knownleader", "x-consul-lastcontact"):
        assert header not in answer.headers


async def test_three_hundred_events_leave_the_newest_256_in_order(one: TestAgent) -> None:
    for number in range(300):
        await one.agent.fire("even" if number % 2 == 0 else "odd", str(number).encode())

    async def complete() -> Answer | None:
        answer = await one.get("/v1/event/list")
        last = answer.json[-1:]
        return answer if last and base64.b64decode(last[0]["Payload"]) == b"299" else None

    answer = await eventually(complete)
    numbers = [int(base64.b64decode(event["Payload"])) for event in answer.json]
    assert numbers == list(range(44, 300))
    times = [event["LTime"] for event in answer.json]
    assert times[0] >= 1
    assert times == sorted(set(times))
    assert answer.index == index_of(answer.json[-1]["ID"])
    odd = await one.get("/v1/event/list?name=odd&node=x&service=y&tag=z")
    assert [int(base64.b64decode(e["Payload"])) for e in odd.json] == list(range(45, 300, 2))
    assert odd.index == answer.index
    even = await one.get("/v1/event/list?name=even")
    assert even.index == index_of(even.json[-1]["ID"])


async def test_the_name_filter_is_equality(one: TestAgent) -> None:
    await one.put("/v1/event/fire/deploy")
    await listed(one)
    for name in ("depl", "deplo.", "Deploy", "deploy2"):
        answer = await one.get(f"/v1/event/list?name={name}")
        assert (answer.json, answer.index) == ([], 1)


async def test_an_index_of_one_blocks_on_an_empty_ring_until_an_event(one: TestAgent) -> None:
    waiting = asyncio.ensure_future(one.get("/v1/event/list?index=1&wait=30s"))
    await eventually(lambda: one.agent.events.waiting == 1)
    fired = (await one.put("/v1/event/fire/x")).json
    answer = await asyncio.wait_for(waiting, 5)
    assert [event["ID"] for event in answer.json] == [fired["ID"]]
    assert answer.index == index_of(fired["ID"])


async def test_an_unchanged_list_is_answered_when_the_wait_is_over(one: TestAgent) -> None:
    await one.put("/v1/event/fire/x")
    current = await listed(one)
    started = time.monotonic()
    answer = await one.get(f"/v1/event/list?index={current.index}&wait=300ms")
    assert 0.25 < time.monotonic() - started < 5
    assert (answer.status, answer.body, answer.index) == (200, current.body, current.index)


async def test_another_index_is_answered_at_once(one: TestAgent) -> None:
    await one.put("/v1/event/fire/x")
    current = await listed(one)
    for index in (1, current.index - 1, current.index + 1, 2**64 - 1):
        async with asyncio.timeout(5):
            answer = await one.get(f"/v1/event/list?index={index}&wait=60s")
        assert answer.index == current.index


async def test_a_foreign_event_neither_releases_nor_extends_a_named_query(
    one: TestAgent,
) -> None:
    started = time.monotonic()
    waiting = asyncio.ensure_future(one.get("/v1/event/list?name=mine&index=1&wait=400ms"))
    await eventually(lambda: one.agent.events.waiting == 1)
    while not waiting.done():
        await one.put("/v1/event/fire/other")
        assert time.monotonic() - started < 5
    assert time.monotonic() - started > 0.35
    assert (waiting.result().json, waiting.result().index) == ([], 1)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("wait=abc", "Invalid wait time"),
        ("wait=10", "Invalid wait time"),
        ("index=-1", "Invalid index"),
        ("index=1x", "Invalid index"),
        ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
        ("index=x&wait=y", "Invalid wait time"),
    ],
)
async def test_parameters_that_do_not_parse_are_400(one: TestAgent, query: str, text: str) -> None:
    answer = await one.get(f"/v1/event/list?{query}")
    assert (answer.status, answer.text) == (400, text)


async def test_a_query_that_cannot_be_decoded_is_500_without_text(one: TestAgent) -> None:
    answer = await one.get("/v1/event/list?name=%zz")
    assert (answer.status, answer.body) == (500, b"")


async def test_l10_events_wake_a_hundred_waiting_clients_within_50_ms(one: TestAgent) -> None:
    clients = [
        asyncio.ensure_future(one.get("/v1/event/list?index=1&wait=30s")) for _ in range(100)
    ]
    await eventually(lambda: one.agent.events.waiting == 100)
    arrived: list[float] = []
    for client in clients:
        client.add_done_callback(lambda _: arrived.append(time.monotonic()))
    started = time.monotonic()
    await one.agent.fire("x")
    await asyncio.gather(*clients)
    # Clients and server share this process, and the machine: half of them, with room for noise.
    assert sorted(arrived)[50] - started < 0.25


# Between agents


async def test_filters_choose_the_agents_that_keep_an_event() -> None:
    async with AsyncExitStack() as stack:
        web1, web2, db = [
            await stack.enter_async_context(running(name)) for name in ("web-1", "web-2", "db")
        ]
        for agent in (web2, db):
            assert (await agent.put(f"/v1/agent/join/{web1.gossip}")).status == 200
        for agent in (web1, web2, db):
            await eventually(lambda agent=agent: len(agent.agent.cluster.members()) == 3)
        for name, query in (
            ("web", "?node=^web-"),
            ("one", "?node=1$"),
            ("service", "?service=."),
            ("tagged", "?service=.&tag=v1"),
            ("all", ""),
        ):
            # db fires all of them, and keeps only what is for it.
            assert (await db.put(f"/v1/event/fire/{name}{query}")).status == 200
        kept = {}
        for agent in (web1, web2, db):
            await eventually(lambda agent=agent: agent.agent.events.recent("all"))
            kept[agent.name] = {event.name for event in agent.agent.events.recent()}
        assert kept == {"web-1": {"web", "one", "all"}, "web-2": {"web", "all"}, "db": {"all"}}
        seen = (await web1.get("/v1/event/list?name=one")).json[0]
        assert seen["NodeFilter"] == "1$"


async def test_joining_replays_no_events() -> None:
    async with running("a") as a, running("b") as b:
        await a.put("/v1/event/fire/before")
        await listed(a)
        assert (await b.put(f"/v1/agent/join/{a.gossip}")).status == 200
        await eventually(lambda: len(a.agent.cluster.members()) == 2)
        await a.put("/v1/event/fire/after")
        assert [event["Name"] for event in (await listed(b)).json] == ["after"]


async def test_events_of_others_are_dropped_when_they_are_not_consuls(
    one: TestAgent, caplog: pytest.LogCaptureFixture
) -> None:
    ident = str(uuid.uuid4())
    cluster = one.agent.cluster
    await cluster.fire("deploy", b"a plain Serf event")
    await cluster.fire("consul:new-leader", b"server-1")
    await cluster.fire("consul:unknown", b"")
    await cluster.fire(EVENT_PREFIX + "garbage", b"\xc1")
    await cluster.fire(EVENT_PREFIX + "bad", encode_event(UserEvent(ident, "bad", b"", "(")))
    await cluster.fire(EVENT_PREFIX + "_rexec", encode_event(UserEvent(ident, "_rexec")))
    newer = UserEvent(ident, "newer", version=2)
    await cluster.fire(EVENT_PREFIX + "newer", encode_event(newer))
    assert [event["Name"] for event in (await listed(one)).json] == ["newer"]
    for part in ("unknown internal event", "name=consul:event:garbage", "name=consul:event:bad"):
        assert part in caplog.text
    assert "newer version" in caplog.text
    assert "new-leader" not in caplog.text
