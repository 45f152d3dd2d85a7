"""Streams of Serf's RPC: events, the log, and clients that are too slow for them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.log_stream import KEPT, LogEntry
from agent.rpc.errors import RpcError as Refused
from agent.rpc.streams import QUEUE, Filter, parse_filters
from gossip import MemberFailed, MemberJoined, MemberUpdated, UserEvent
from simulations.peers import RpcError
from tests.helpers_agent import eventually
from tests.wire_helpers import vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rpc.conftest import Raw, RpcAgent, StartAgent

HANDSHAKE = ("handshake", 0, {"Version": 1})
RECORDED = {v["name"]: bytes.fromhex(v["hex"]) for v in vectors("ipc")}


def answer(seq: int, error: str = "") -> dict[str, Any]:
    return {"Error": error, "Seq": seq}


def entry(message: str, level: int = logging.INFO) -> LogEntry:
    return LogEntry(0.0, level, "agent.test", message)


# Filters


@pytest.mark.parametrize(
    ("expression", "filters"),
    [
        ("", [Filter("*")]),
        ("*", [Filter("*")]),
        ("member-join,member-leave", [Filter("member-join"), Filter("member-leave")]),
        ("member-failed,member-update", [Filter("member-failed"), Filter("member-update")]),
        ("member-reap,user", [Filter("member-reap"), Filter("user")]),
        ("user:deploy,query:up", [Filter("user", "deploy"), Filter("query", "up")]),
        ("user:a:b", [Filter("user", "a:b")]),
        ("query:", [Filter("query")]),
    ],
)
def test_filters_are_kinds_and_names(expression: str, filters: list[Filter]) -> None:
    assert parse_filters(expression) == filters


@pytest.mark.parametrize(
    "expression", ["members", "user,", "member-join:x", "*:x", " user", "User"]
)
def test_an_unknown_kind_is_refused_in_serfs_words(expression: str) -> None:
    with pytest.raises(Refused, match=r"^Invalid event filter$"):
        parse_filters(expression)


# Events


def besides_own_join(seen: list[Any]) -> Callable[[Any], None]:
    """Takes records but that of the agent itself, which has just become a member."""

    def take(record: Any) -> None:
        if [member["Name"] for member in record.get("Members", [])] != ["one"]:
            seen.append(record)

    return take


async def test_a_user_event_is_serfs_record_byte_for_byte(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(*(RECORDED[f"ipc_{name}_request"] for name in ("handshake", "stream")))
    opened = b"".join(RECORDED[f"ipc_{name}_response"] for name in ("handshake", "stream"))
    assert await raw.exactly(len(opened)) == opened

    raw.send(RECORDED["ipc_event_request"])
    expected = RECORDED["ipc_event_response"]
    assert await raw.exactly(len(expected)) == expected


async def test_members_come_and_go_as_events(one: RpcAgent, start_agent: StartAgent) -> None:
    seen: list[Any] = []
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "*"}, besides_own_join(seen))
        two = await start_agent("two")
        await client.join([two.gossip])
        await eventually(lambda: len(seen) == 1)
        await two.agent.cluster.set_tags({"dc": "dc1", "rack": "7"})
        await eventually(lambda: len(seen) == 2)
        await two.agent.leave()
        await eventually(lambda: len(seen) == 3)

    assert [e["Event"] for e in seen] == ["member-join", "member-update", "member-leave"]
    assert [e["Members"][-1]["Name"] for e in seen] == ["two"] * 3
    assert [e["Members"][-1]["Status"] for e in seen] == ["alive", "alive", "left"]
    assert seen[1]["Members"][0]["Tags"] == {"dc": "dc1", "rack": "7"}


async def test_a_burst_is_one_record_per_kind_for_all_streams(one: RpcAgent) -> None:
    first: list[Any] = []
    second: list[Any] = []
    own = one.agent.cluster.local_member()
    ann, bob, cid = (replace(own, name=name) for name in ("ann", "bob", "cid"))
    burst = [MemberJoined(ann), MemberFailed(bob), MemberJoined(cid), MemberFailed(cid)]
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "*"}, besides_own_join(first))
        await client.subscribe("stream", {"Type": "member-failed"}, second.append)
        for event in [*burst, MemberUpdated(ann), MemberJoined(ann)]:
            for subscription in one.agent.cluster._subscriptions:
                subscription.publish(event)
        await eventually(lambda: len(first) == 2 and second)

    shown = {e["Event"]: [m["Name"] for m in e["Members"] if m["Name"] != "one"] for e in first}
    assert shown == {"member-join": ["ann"], "member-failed": ["bob", "cid"]}
    assert second == [e for e in first if e["Event"] == "member-failed"]


async def test_of_user_events_that_may_be_merged_the_last_is_shown(one: RpcAgent) -> None:
    seen: list[Any] = []
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "user"}, seen.append)
        # In order, and without a pause between them that could be taken for the end.
        fires = [
            fire
            for number in (b"0", b"1", b"2")
            for fire in (client.fire("deploy", number, coalesce=True), client.fire("other", number))
        ]
        await asyncio.gather(*fires)
        await eventually(lambda: len(seen) == 4)

    assert [(e["Name"], e["Payload"]) for e in seen] == [
        ("other", b"0"),
        ("other", b"1"),
        ("other", b"2"),
        ("deploy", b"2"),
    ]


async def test_only_what_passes_the_filter_is_sent(one: RpcAgent, start_agent: StartAgent) -> None:
    seen: list[Any] = []
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "user:deploy,member-failed"}, seen.append)
        two = await start_agent("two")
        await client.join([two.gossip])
        for name in ("other", "deploy"):
            await client.fire(name)
        await eventually(lambda: seen)

    assert [(e["Event"], e["Name"], e["Payload"]) for e in seen] == [("user", "deploy", None)]


async def test_streams_are_told_apart_by_their_number_and_stop_alone(one: RpcAgent) -> None:
    first: list[Any] = []
    second: list[Any] = []
    async with one.client() as client:
        number = await client.subscribe("stream", {"Type": "*"}, first.append)
        await client.subscribe("stream", {"Type": "*"}, second.append)
        await client.fire("a")
        await eventually(lambda: first and second)
        await client.request("stop", {"Stop": number})
        await client.fire("b")
        await eventually(lambda: len(second) == 2)
        await client.request("stop", {"Stop": 4711})  # to end none is no error

    assert len(first) == 1


async def test_a_number_has_one_stream(one: RpcAgent) -> None:
    raw = await one.raw()
    stream = ("stream", 5, {"Type": "*"})
    raw.send(HANDSHAKE, stream, stream, ("stop", 6, {"Stop": 5}), stream)

    exists = "Stream with given sequence exists"
    assert await raw.values(5) == [answer(0), answer(5), answer(5, exists), answer(6), answer(5)]


async def test_a_refused_stream_leaves_nothing_behind(one: RpcAgent) -> None:
    async with one.client() as client:
        with pytest.raises(RpcError, match="Invalid event filter"):
            await client.subscribe("stream", {"Type": "nothing"}, lambda _: None)
        assert one.streams == 0


async def test_streams_end_with_their_client(one: RpcAgent) -> None:
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "*"}, lambda _: None)
        await client.subscribe("monitor", {"LogLevel": "DEBUG"}, lambda _: None)
        await eventually(lambda: one.agent.logs._watchers)
        assert one.streams == 1

    await eventually(lambda: one.streams == 0)
    assert not one.agent.logs._watchers


async def test_a_stream_ends_with_the_cluster(one: RpcAgent) -> None:
    async with one.client() as client:
        await client.subscribe("stream", {"Type": "*"}, lambda _: None)
        await one.agent.cluster.close()
        (connection,) = one.rpc._connections
        await eventually(lambda: not connection.session.streams)


# The log


async def test_the_monitor_begins_with_the_recent_lines(one: RpcAgent) -> None:
    lines: list[Any] = []
    for number in range(KEPT + 10):
        one.agent.logs.publish(entry(str(number)))
    one.agent.logs.publish(entry("detail", logging.DEBUG))
    async with one.client() as client:
        await client.subscribe("monitor", {"LogLevel": "info"}, lines.append)
        await eventually(lambda: len(lines) == KEPT - 1)
        one.agent.logs.publish(entry("more detail", logging.DEBUG))
        one.agent.logs.publish(entry("trouble", logging.ERROR))
        await eventually(lambda: len(lines) == KEPT)

    assert lines[0]["Log"].endswith(" [INFO] agent.test: 11")
    assert lines[-2]["Log"].endswith(f" [INFO] agent.test: {KEPT + 9}")
    assert lines[-1]["Log"].endswith(" [ERR] agent.test: trouble")


@pytest.mark.parametrize("level", ["loud", ""])
async def test_an_unknown_level_is_refused_in_serfs_words(one: RpcAgent, level: str) -> None:
    async with one.client() as client:
        with pytest.raises(RpcError) as caught:
            await client.subscribe("monitor", {"LogLevel": level}, lambda _: None)

    assert str(caught.value) == f"Unknown log level: {level.upper()}"


async def test_a_client_has_one_monitor_at_a_time(one: RpcAgent) -> None:
    async with one.client() as client:
        number = await client.subscribe("monitor", {"LogLevel": "INFO"}, lambda _: None)
        with pytest.raises(RpcError, match="Monitor already exists"):
            await client.subscribe("monitor", {"LogLevel": "INFO"}, lambda _: None)
        await client.request("stop", {"Stop": number})
        await client.subscribe("monitor", {"LogLevel": "INFO"}, lambda _: None)


# Slow clients


async def stuck(one: RpcAgent, command: str, body: dict[str, Any], publish: Any) -> Raw:
    """A client whose stream has overflowed, because it does not read."""
    raw = await one.raw()
    raw.send(HANDSHAKE, (command, 1, body))
    await raw.values(2)
    async with one.client() as other, asyncio.timeout(20):
        while not any("dropped" in name for name in one.rpc.stats):
            for _ in range(QUEUE):
                publish()
            assert await other.members()  # others are served meanwhile
    return raw


def backlog(one: RpcAgent) -> int:
    """Bytes that the agent holds for its clients."""
    return sum(c._writer.transport.get_write_buffer_size() for c in one.rpc._connections)


async def test_r42_a_client_that_does_not_read_events_loses_some_and_goes_on_later(
    one: RpcAgent,
) -> None:
    cluster = one.agent.cluster
    numbers = iter(range(10**9))

    def publish() -> None:
        # As many as go at once: real ones keep a pace.
        event = UserEvent(next(numbers), "x", bytes(400), coalesce=False)
        for subscription in cluster._subscriptions:
            subscription.publish(event)

    raw = await stuck(one, "stream", {"Type": "user"}, publish)
    assert backlog(one) < 256 * 1024
    dropped = one.rpc.stats["rpc_events_dropped"]
    async with one.client() as other:
        assert (await other.stats())["agent"]["rpc_events_dropped"] == str(dropped)

    raw.send(("stop", 2, {"Stop": 1}))
    got = 0
    while (value := (await raw.values(1))[0]) != answer(2):
        got += value.get("Event") == "user"
    assert got >= QUEUE


async def test_r42_a_watcher_that_does_not_read_is_told_what_it_lost(one: RpcAgent) -> None:
    line = entry("x" * 400)
    raw = await stuck(one, "monitor", {"LogLevel": "INFO"}, lambda: one.agent.logs.publish(line))
    assert backlog(one) < 256 * 1024

    lost = ""
    while "lines_lost=" not in lost:
        lost = (await raw.values(1))[0].get("Log", "")
    assert int(lost.rpartition("=")[2]) <= one.rpc.stats["rpc_log_lines_dropped"]
