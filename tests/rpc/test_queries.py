"""Queries over Serf's RPC, and the keys of the pool, which are queries too."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from agent.rpc.errors import RpcError as Refused
from agent.rpc.queries import MAX_PENDING, PendingQueries
from gossip.events import QueryReceived
from gossip.wire.rpc import encode_answer
from simulations.peers import RpcError
from tests.helpers_agent import eventually
from tests.wire_helpers import vectors

if TYPE_CHECKING:
    from tests.rpc.conftest import RpcAgent, StartAgent

HANDSHAKE = ("handshake", 0, {"Version": 1})
RECORDED = {v["name"]: bytes.fromhex(v["hex"]) for v in vectors("ipc")}
KEY, OTHER = (base64.b64encode(bytes([n]) * 16).decode() for n in (1, 2))
DONE = {"From": "", "Payload": None, "Type": "done"}


def query(name: str = "up", timeout: float = 0.3, **settings: Any) -> dict[str, Any]:
    return {"Name": name, "Timeout": int(timeout * 1e9)} | settings


def pending(number: int) -> QueryReceived:
    return QueryReceived(number, number, "up", b"", "two", 0.0)


async def test_a_query_is_serfs_records_byte_for_byte(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(*(RECORDED[f"ipc_{name}_request"] for name in ("handshake", "stream")))
    opened = b"".join(RECORDED[f"ipc_{name}_response"] for name in ("handshake", "stream"))
    assert await raw.exactly(len(opened)) == opened

    # Recorded from an agent of another name, whose Lamport time was as young. First the answer; the
    # record of the ack and that of the event are of two streams and come in any order.
    expected = RECORDED["ipc_query_response"].replace(b"\xa3srv", b"\xa3one")
    header, ack = len(encode_answer(4)), expected.rindex(encode_answer(4))
    raw.send(RECORDED["ipc_query_request"])
    got = await raw.exactly(len(expected))
    event = expected[header:ack]
    assert got in {expected, expected[:header] + expected[ack:] + event}

    raw.send(RECORDED["ipc_stop_request"])
    expected = RECORDED["ipc_stop_response"]
    assert await raw.exactly(len(expected)) == expected


async def test_acks_and_answers_of_the_members_end_with_done(
    one: RpcAgent, start_agent: StartAgent
) -> None:
    two = await start_agent("two")
    two.agent.cluster.on_query("up", lambda received: received.payload + b"!")
    records: list[Any] = []
    async with one.client() as client:
        await client.join([two.gossip])
        await client.subscribe("query", query(Payload=b"ok", RequestAck=True), records.append)
        await eventually(lambda: DONE in records)

    assert records[-1] == DONE
    assert {r["From"] for r in records if r["Type"] == "ack"} == {"one", "two"}
    (response,) = [r for r in records if r["Type"] == "response"]
    assert response == {"From": "two", "Payload": b"ok!", "Type": "response"}


@pytest.mark.parametrize(
    ("filters", "asked"),
    [
        ({"FilterNodes": ["two"]}, {"two"}),
        ({"FilterTags": {"rack": "^7$"}}, {"two"}),
        ({"FilterNodes": ["nobody"]}, set()),
        ({"RelayFactor": 1}, {"one", "two"}),
    ],
)
async def test_filters_and_relays_are_passed_on(
    one: RpcAgent, start_agent: StartAgent, filters: dict[str, Any], asked: set[str]
) -> None:
    two = await start_agent("two")
    await two.agent.cluster.set_tags({"dc": "dc1", "rack": "7"})
    records: list[Any] = []
    async with one.client() as client:
        await client.join([two.gossip])
        await client.subscribe("query", query(RequestAck=True, **filters), records.append)
        await eventually(lambda: DONE in records)

    assert {r["From"] for r in records if r["Type"] == "ack"} == asked


async def test_a_client_answers_a_query_once(one: RpcAgent) -> None:
    events: list[Any] = []
    records: list[Any] = []
    async with one.client() as asking, one.client() as answering:
        await answering.subscribe("stream", {"Type": "query:up"}, events.append)
        await asking.subscribe("query", query("other"), lambda _: None)
        await asking.subscribe("query", query(Payload=b"q", timeout=5), records.append)
        await eventually(lambda: events)
        (event,) = events
        assert event | {"LTime": 0} == {
            "Event": "query",
            "ID": 1,
            "LTime": 0,
            "Name": "up",
            "Payload": b"q",
        }
        await answering.request("respond", {"ID": 1, "Payload": b"yes"})
        await eventually(lambda: records)
        assert records == [{"From": "one", "Payload": b"yes", "Type": "response"}]
        for unknown in (1, 2):
            with pytest.raises(RpcError, match="No pending queries matching ID"):
                await answering.request("respond", {"ID": unknown, "Payload": b"again"})


async def test_an_answer_that_is_too_large_or_too_late_is_an_error(one: RpcAgent) -> None:
    events: list[Any] = []
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "query"}, events.append)
        for _ in range(2):
            await client.subscribe("query", query(timeout=5), lambda _: None)
        await eventually(lambda: len(events) == 2)
        with pytest.raises(RpcError, match="1024"):
            await client.request("respond", {"ID": 1, "Payload": bytes(2000)})
        session = next(c.session for c in one.rpc._connections)
        session.pending._queries[9] = pending(9)
        with pytest.raises(RpcError, match="given up"):
            await client.request("respond", {"ID": 9, "Payload": b"late"})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"Name": "_serf_list-keys"}, "Queries cannot contain the '_serf_' prefix"),
        ({"Name": "_serf_ping", "Payload": b"x"}, "Queries cannot contain the '_serf_' prefix"),
        ({"Name": "up", "Payload": bytes(2000)}, "1024"),
        ({"Name": "up", "Timeout": -1}, "query timeout"),
    ],
)
async def test_a_query_that_cannot_be_sent_is_an_error(
    one: RpcAgent, body: dict[str, Any], error: str
) -> None:
    async with one.client() as client:
        with pytest.raises(RpcError, match=error):
            await client.subscribe("query", body, lambda _: None)


async def test_the_ping_of_serfs_reachability_is_let_through(one: RpcAgent) -> None:
    records: list[Any] = []
    async with one.client() as client:
        body = query("_serf_ping", RequestAck=True, timeout=0.1)
        await client.subscribe("query", body, records.append)
        await eventually(lambda: DONE in records)

    assert {"From": "one", "Payload": None, "Type": "ack"} in records


async def test_a_query_ends_with_its_client(one: RpcAgent) -> None:
    async with one.client() as client:
        await client.subscribe("query", query(timeout=60), lambda _: None)
    await eventually(lambda: len(one.rpc) == 0)

    async with one.client() as client:
        number = await client.subscribe("query", query(timeout=60), lambda _: None)
        await client.request("stop", {"Stop": number})
        (connection,) = one.rpc._connections
        assert not connection.session.streams


def test_pending_queries_have_a_bound_and_the_oldest_goes_first() -> None:
    queries = PendingQueries()
    ids = [queries.add(pending(number)) for number in range(MAX_PENDING + 1)]

    assert len(queries) == MAX_PENDING
    with pytest.raises(Refused, match="No pending queries"):
        queries.take(ids[0])
    assert queries.take(ids[1]) == pending(1)


# Keys


async def test_keys_are_installed_used_listed_and_removed(start_agent: StartAgent) -> None:
    one, two = await start_agent("one", encrypt=KEY), await start_agent("two", encrypt=KEY)
    async with one.client() as client:
        await client.join([two.gossip])
        fine = {"Messages": {}, "NumErr": 0, "NumNodes": 2, "NumResp": 2}
        assert await client.keys("install-key", OTHER) == fine
        assert await client.keys("use-key", OTHER) == fine
        listed = await client.keys("list-keys")
        assert listed["Keys"] == {KEY: 2, OTHER: 2}
        assert listed["PrimaryKeys"] == {OTHER: 2}
        assert await client.keys("remove-key", KEY) == fine
        assert (await client.keys("list-keys"))["Keys"] == {OTHER: 2}


async def test_a_refusal_comes_with_the_words_of_each_member(start_agent: StartAgent) -> None:
    one = await start_agent("one", encrypt=KEY)
    raw = await one.raw()
    raw.send(HANDSHAKE, ("use-key", 1, {"Key": OTHER}))

    _, header, body = await raw.values(3)
    assert header == {"Error": "1/1 nodes reported failure", "Seq": 1}
    assert (body["NumErr"], body["NumNodes"], body["NumResp"]) == (1, 1, 1)
    assert list(body["Messages"]) == ["one"]


@pytest.mark.parametrize("key", ["xx", "", "no key!", KEY[:-4]])
async def test_a_text_that_is_no_key_is_refused_without_repeating_it(
    start_agent: StartAgent, key: str
) -> None:
    one = await start_agent("one", encrypt=KEY)
    async with one.client() as client:
        for command in ("install-key", "use-key", "remove-key"):
            with pytest.raises(RpcError) as caught:
                await client.keys(command, key)
            assert not key or key not in str(caught.value)
        assert (await client.keys("list-keys"))["Keys"] == {KEY: 1}
