"""Our agent beside genuine Consul: one pool, the same events, the same answers."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.events import EVENT_PREFIX, decode_event, encode_event
from gossip import UserEvent
from simulations.local.http import Response, request
from simulations.local.wait import eventually
from tests.helpers_agent import FAST, TestAgent, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulations.peers import ConsulAgent

pytestmark = pytest.mark.interop

# Probing as fast as the tests of our own pools do is not what a genuine agent does.
LAN = {key: value for key, value in FAST.items() if key.endswith("delay")}


@contextlib.asynccontextmanager
async def joined(start_consul: Any) -> AsyncIterator[Any]:
    server: ConsulAgent = await start_consul("server")
    await server.elected()
    async with running("ours", pool=LAN) as ours:
        answer = await ours.put("/v1/agent/join/{}:{}".format(*server.gossip))
        assert (answer.status, answer.text) == (200, "")

        async def both() -> bool:
            names = {member.name for member in ours.agent.cluster.members()}
            return names == {"server", "ours"} and await server.alive() == names

        await eventually(both, within=10, what="both see both")
        yield server, ours


async def test_both_show_the_same_members(start_consul: Any) -> None:
    async with joined(start_consul) as (server, ours):
        theirs = await server.member_table()
        mine = sorted((await ours.get("/v1/agent/members")).json, key=lambda m: str(m["Name"]))
        assert mine == theirs
        assert [list(member) for member in mine] == [list(member) for member in theirs]
        assert (await ours.get("/v1/status/leader")).json == (
            await server.call("GET", "/v1/status/leader")
        ).json()
        assert (await ours.get("/v1/status/peers")).json == (
            await server.call("GET", "/v1/status/peers")
        ).json()

        async def catalogued() -> bool:
            nodes = (await server.call("GET", "/v1/catalog/nodes")).json()
            return {node["Node"] for node in nodes} == {"server", "ours"}

        await eventually(catalogued, within=10, what="ours in the catalog as a client")


async def test_an_event_of_consul_reaches_us_and_encodes_to_the_same_bytes(
    start_consul: Any,
) -> None:
    async with joined(start_consul) as (server, ours):
        heard = ours.agent.cluster.subscribe()
        for number, (payload, filters) in enumerate(
            [
                (b"", {}),
                (bytes(range(256)), {}),
                (b"x" * 20, {"node": "ours|server"}),
            ]
        ):
            await server.fire(f"event-{number}", payload, **filters)
        await eventually(
            lambda: len(ours.agent.events.recent()) == 3, within=10, what="the events at ours"
        )
        heard.close()
        payloads = [
            event.payload
            async for event in heard
            if isinstance(event, UserEvent) and event.name.startswith(EVENT_PREFIX)
        ]
        assert len(payloads) == 3
        for payload in payloads:
            assert encode_event(decode_event(payload, 1)) == payload
        theirs = (await server.call("GET", "/v1/event/list")).json()
        mine = (await ours.get("/v1/event/list")).json
        assert by_id(mine) == by_id(theirs), "gossip promises no order"
        assert [list(event) for event in mine] == [list(event) for event in theirs]


async def test_an_event_of_ours_reaches_consul(start_consul: Any) -> None:
    async with joined(start_consul) as (server, ours):
        fired = (await ours.put("/v1/event/fire/deploy", bytes(range(200)))).json

        async def listed() -> list[Any]:
            events: list[Any] = (await server.call("GET", "/v1/event/list")).json()
            return events

        events = await eventually(listed, within=10, what="the event at the server")
        assert [event | {"LTime": 0} for event in events] == [fired]
        assert (await ours.get("/v1/event/list")).json == events
        index = (await server.call("GET", "/v1/event/list")).index
        assert (await ours.get("/v1/event/list")).index == index


async def test_filters_mean_the_same_on_both_sides(start_consul: Any) -> None:
    async with joined(start_consul) as (server, ours):
        web = json.dumps({"Name": "web", "Tags": ["v1", "blue"]}).encode()
        db = json.dumps({"Name": "db", "Tags": ["v2"]}).encode()
        await server.call("PUT", "/v1/agent/service/register", web)
        assert (await ours.put("/v1/agent/service/register", db)).status == 200
        for sender, name, query in (
            (server, "a", "node=^ours$"),
            (ours, "b", "node=^server$"),
            (server, "c", "node=serv"),
            (server, "e", "service=^db$"),
            (ours, "f", "service=^w"),
            (server, "g", "service=.&tag=v2"),
            (ours, "h", "service=web&tag=bl.e"),
            (server, "i", "service=db&tag=v1"),
            (ours, "j", "node=server&service=db"),
            (ours, "d", ""),
        ):
            path = f"/v1/event/fire/{name}?{query}"
            if isinstance(sender, TestAgent):
                assert (await sender.put(path)).status == 200
            else:
                await sender.call("PUT", path)

        async def everything() -> bool:
            theirs = {event["Name"] for event in (await server.events())[0]}
            return theirs == {"b", "c", "d", "f", "h"} and (
                {event.name for event in ours.agent.events.recent()} == {"a", "d", "e", "g"}
            )

        await eventually(everything, within=10, what="each event where it belongs")


async def test_ours_leaves_and_fails_as_consul_expects(start_consul: Any) -> None:
    async with joined(start_consul) as (server, ours):
        assert (await ours.put("/v1/agent/leave")).status == 200

        async def left() -> bool:
            return bool((await server.members()).get("ours") == 3)

        await eventually(left, within=10, what="ours left")


SAME = [
    ("GET", "/"),
    ("GET", "/v1/event/list"),
    ("GET", "/v1/event/list?name=none"),
    ("GET", "/v1/event/list?wait=abc"),
    ("GET", "/v1/event/list?wait=10"),
    ("GET", "/v1/event/list?index=-1"),
    ("GET", "/v1/event/list?index=x&wait=y"),
    ("GET", "/v1/event/list?name=%zz"),
    ("POST", "/v1/event/list"),
    ("DELETE", "/v1/agent/members"),
    ("GET", "/v1/event/fire/x"),
    ("POST", "/v1/event/fire/x"),
    ("PUT", "/v1/event/fire/"),
    ("PUT", "/v1/event/fire/x?tag=y"),
    ("OPTIONS", "/v1/event/fire/x"),
    ("PUT", "/v1/agent/self"),
    ("GET", "/v1/agent/leave"),
    ("GET", "/v1/agent/members?wan=1&segment=x"),
    ("GET", "/v1//agent/members"),
    ("GET", "/v1/agent/../agent/members?a=b"),
    ("GET", "/v1/agent/%2e%2e/agent/members"),
    ("PUT", "/v1/event/fire"),
    ("GET", "/v1/%zz"),
    ("GET", "/v1/agent/a%01b"),
]
# What we answer on purpose besides: HEAD, and what Consul 1.8 leaves empty or says in HTML.
FREE_BODY = {
    "/v1//agent/members",
    "/v1/agent/../agent/members?a=b",
    "/v1/agent/%2e%2e/agent/members",
}


async def test_the_same_requests_get_the_same_answers(start_consul: Any) -> None:
    server: ConsulAgent = await start_consul("server")
    await server.elected()
    async with running("ours") as ours:
        for method, target in SAME:
            theirs = await request(server.http, method, target, b"", within=10, check=False)
            mine = await request(
                ("127.0.0.1", ours.port), method, target, b"", within=10, check=False
            )
            assert essence(mine, target) == essence(theirs, target), (method, target)


def essence(answer: Response, target: str) -> tuple[object, ...]:
    allow = answer.headers.get("allow", "").replace(",HEAD", "")
    body = b"" if target in FREE_BODY else answer.body
    headers = [answer.headers.get(name) for name in ("location", "x-consul-index")]
    return answer.status, allow, body, headers


def by_id(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: str(event["ID"]))
