"""Queries through the driver: replies as they come, handlers that may be slow or fail."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gossip import (
    Cluster,
    GossipError,
    LimitError,
    MemberStatus,
    NameConflictLost,
    QueryAck,
    QueryAnswer,
    QueryError,
    QueryReceived,
)
from gossip.queries import HANDLER_THREADS, MAX_HANDLING, MAX_HELD_BYTES, QueryReplies

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gossip.queries import QueryHandler
    from tests.driver.conftest import StartNode


def address(cluster: Cluster) -> str:
    return "{}:{}".format(*cluster.local_address)


async def pool(start_node: StartNode, count: int, **settings: Any) -> list[Cluster]:
    clusters = [await start_node(f"n{i}", **settings) for i in range(count)]
    for cluster in clusters[1:]:
        await cluster.join([address(clusters[0])])
    async with asyncio.timeout(10):
        for cluster in clusters:
            while sum(m.status is MemberStatus.ALIVE for m in cluster.members()) < count:
                await cluster.members_changed(cluster.members_version)
    return clusters


async def replies_of(replies: QueryReplies, count: int) -> list[QueryAck | QueryAnswer]:
    """The first `count` replies, in an order of their own."""
    async with asyncio.timeout(5), replies:
        got = [await anext(replies) for _ in range(count)]
    return sorted(got, key=lambda reply: (reply.node, isinstance(reply, QueryAnswer)))


async def test_everybody_acks_and_answers_ourselves_included(start_node: StartNode) -> None:
    clusters = await pool(start_node, 3)
    for cluster in clusters:
        name = cluster.config.name

        async def answer(query: QueryReceived, name: str = name) -> bytes:
            return query.payload + name.encode()

        cluster.on_query("who", answer)

    got = await replies_of(clusters[1].query("who", b"i am ", request_ack=True), 6)

    assert got == [
        reply
        for name in ("n0", "n1", "n2")
        for reply in (QueryAck(name), QueryAnswer(name, b"i am " + name.encode()))
    ]


async def test_filters_choose_who_is_asked(start_node: StartNode) -> None:
    clusters = [
        await start_node("web", tags={"role": "web-1"}),
        await start_node("db", tags={"role": "db"}),
    ]
    await clusters[1].join([address(clusters[0])])
    for cluster in clusters:
        cluster.on_query("ping", lambda _query: b"pong")

    by_tag = await replies_of(clusters[1].query("ping", tags={"role": "^web"}), 1)
    by_name = await replies_of(clusters[0].query("ping", nodes=["db"]), 1)
    nobody = clusters[0].query("ping", nodes=["nobody"], request_ack=True, timeout=0.2)

    assert by_tag == [QueryAnswer("web", b"pong")]
    assert by_name == [QueryAnswer("db", b"pong")]
    assert [reply async for reply in nobody] == []


async def test_a_relayed_answer_counts_once(start_node: StartNode) -> None:
    clusters = await pool(start_node, 4)
    clusters[2].on_query("who", lambda _query: b"me")

    replies = clusters[0].query("who", nodes=["n2"], relay_factor=2, timeout=0.5)
    got = [reply async for reply in replies]

    assert got == [QueryAnswer("n2", b"me")]
    assert clusters[0].node.stats["query_duplicate_responses"] >= 1


async def test_replies_end_at_the_deadline(start_node: StartNode) -> None:
    cluster = await start_node("one")
    cluster.on_query("who", lambda _query: b"me")

    start = time.monotonic()
    replies = cluster.query("who", timeout=0.2)
    got = [reply async for reply in replies]

    assert got == [QueryAnswer("one", b"me")]
    assert replies.deadline - start == pytest.approx(0.2, abs=0.1)
    assert time.monotonic() >= replies.deadline


async def test_a_subscriber_may_answer_itself_once_and_in_time(start_node: StartNode) -> None:
    clusters = await pool(start_node, 2)
    events = clusters[1].subscribe()
    replies = clusters[0].query("who", b"?", nodes=["n1"], timeout=0.3)

    query = await anext(events)
    assert isinstance(query, QueryReceived)
    with pytest.raises(LimitError):
        await clusters[1].respond(query, bytes(1024))
    await clusters[1].respond(query, b"me")
    with pytest.raises(QueryError):
        await clusters[1].respond(query, b"me again")

    assert [reply async for reply in replies] == [QueryAnswer("n1", b"me")]
    assert (query.name, query.payload, query.source) == ("who", b"?", "n0")


async def test_a_cancelled_read_loses_no_reply(start_node: StartNode) -> None:
    cluster = await start_node("one")
    go = asyncio.Event()

    async def answer(_query: QueryReceived) -> bytes:
        await go.wait()
        return b"me"

    cluster.on_query("who", answer)
    replies = cluster.query("who")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(replies)
    go.set()

    assert await replies_of(replies, 1) == [QueryAnswer("one", b"me")]


async def test_closing_the_cluster_ends_replies_and_handlers(start_node: StartNode) -> None:
    cluster = await start_node("one")
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def never(_query: QueryReceived) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    cluster.on_query("who", never)
    replies = cluster.query("who", timeout=60)
    reader = asyncio.create_task(anext(replies, None))
    await began.wait()

    await cluster.close()

    assert await reader is None
    assert cancelled.is_set()
    assert cluster.closed.done()
    replies.close()
    with pytest.raises(GossipError, match="closed"):
        cluster.query("who")


async def test_r42_replies_that_nobody_reads_are_bounded(start_node: StartNode) -> None:
    cluster = await start_node("one")
    replies = QueryReplies(cluster._stats)
    half = bytes(MAX_HELD_BYTES // 2)

    for name in ("a", "b", "c"):
        replies.receive(QueryAnswer(name, half), 0.0)
    first = await anext(replies)
    replies.receive(QueryAnswer("d", half), 0.0)
    replies.ended(0.0)

    assert [reply.node for reply in [first, *[r async for r in replies]]] == ["a", "b", "d"]
    assert cluster.stats()["query_replies_dropped"] == "1"


# Handlers


async def none(_query: QueryReceived) -> bytes | None:
    return None


async def broken(_query: QueryReceived) -> bytes:
    raise RuntimeError("out of order")


def broken_too(_query: QueryReceived) -> bytes:
    raise TimeoutError("out of time")


def returns_a_coroutine(query: QueryReceived) -> Awaitable[bytes | None]:
    return none(query)


@pytest.mark.parametrize(
    ("handler", "logged"),
    [
        (none, ""),
        (returns_a_coroutine, ""),
        (broken, "its handler failed"),
        (broken_too, "its handler failed"),
        (lambda _query: bytes(2000), "exceeds, encoded, the limit"),
    ],
)
async def test_a_handler_that_fails_or_has_nothing_to_say_answers_nothing(
    start_node: StartNode, handler: QueryHandler, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = await start_node("one")
    cluster.on_query("ask", handler)

    got = [r async for r in cluster.query("ask", request_ack=True, timeout=0.2)]

    assert got == [QueryAck("one")]
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(lines) == bool(logged)
    assert logged in "".join(lines)


async def test_a_handler_that_is_too_slow_is_ended_at_the_deadline(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = await start_node("one")
    ended = asyncio.Event()

    async def slow(_query: QueryReceived) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return b"too late"

    cluster.on_query("ask", slow)
    got = [r async for r in cluster.query("ask", timeout=0.1)]
    async with asyncio.timeout(2):
        await ended.wait()
        await asyncio.sleep(0)

    assert got == []
    assert "its handler is too slow" in caplog.text


async def test_h8_a_plain_function_that_blocks_holds_up_nobody(start_node: StartNode) -> None:
    clusters = await pool(start_node, 2)
    release = threading.Event()

    def blocks(_query: QueryReceived) -> bytes:
        release.wait(10)
        return b"slow"

    clusters[0].on_query("slow", blocks)
    clusters[0].on_query("quick", none)
    slow = clusters[1].query("slow", nodes=["n0"], timeout=10)
    quick = await replies_of(clusters[1].query("quick", nodes=["n0"], request_ack=True), 1)
    release.set()

    assert quick == [QueryAck("n0")]
    assert await replies_of(slow, 1) == [QueryAnswer("n0", b"slow")]


async def test_s13_queries_in_hand_are_bounded(start_node: StartNode) -> None:
    cluster = await start_node("one")
    go = asyncio.Event()

    async def wait(_query: QueryReceived) -> bytes:
        await go.wait()
        return b"done"

    cluster.on_query("ask", wait)
    asked = [cluster.query("ask", request_ack=True) for _ in range(MAX_HANDLING + 2)]
    for replies in asked:
        assert await anext(replies) == QueryAck("one")
    go.set()
    answered = [r async for r in asked[0]][:1]

    assert answered == [QueryAnswer("one", b"done")]
    assert cluster.stats()["queries_unhandled"] == "2"
    assert HANDLER_THREADS < MAX_HANDLING


async def test_the_last_handler_of_a_name_counts(start_node: StartNode) -> None:
    cluster = await start_node("one")
    cluster.on_query("who", lambda _query: b"old")
    cluster.on_query("who", lambda _query: b"new")

    assert await replies_of(cluster.query("who"), 1) == [QueryAnswer("one", b"new")]


async def test_names_of_the_protocol_are_not_for_applications(start_node: StartNode) -> None:
    cluster = await start_node("one")

    with pytest.raises(GossipError, match="_serf_conflict"):
        cluster.on_query("_serf_conflict", none)


async def test_a_handler_may_close_its_cluster(start_node: StartNode) -> None:
    cluster = await start_node("one")

    async def stop(_query: QueryReceived) -> None:
        await cluster.close()

    cluster.on_query("stop", stop)
    cluster.query("stop")

    async with asyncio.timeout(5):
        await cluster.closed


# A lost name


async def test_r14_of_two_pools_that_meet_the_holder_of_fewer_votes_ends(
    start_node: StartNode,
) -> None:
    # They learn of one another in exchanges of states.
    often = {"push_pull_interval": 0.5}
    holders = await pool(start_node, 3, **often)
    intruder = await start_node("n0", query_timeout_mult=8, **often)
    friend = await start_node("friend", **often)
    await friend.join([address(intruder)])
    events = intruder.subscribe()

    await friend.join([address(holders[1])])
    async with asyncio.timeout(20):
        await asyncio.shield(intruder.closed)
        seen = [event async for event in events]
        await intruder.leave()  # is over at once

    (lost,) = [event for event in seen if isinstance(event, NameConflictLost)]
    assert (lost.name, lost.votes) == ("n0", 1)
    assert lost.voters >= 2
    assert not holders[0].closed.done()
    for cluster in holders:
        statuses = {m.name: m.status for m in cluster.members()}
        assert statuses["n0"] is MemberStatus.ALIVE
