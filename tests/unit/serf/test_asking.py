"""Queries of our own: what is sent, whose replies count, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gossip.errors import LimitError
from gossip.events import QueryAck, QueryAnswer, QueryReceived, QueryReply
from gossip.serf.asking import MAX_OPEN_QUERIES, SPARE_REPLIES, Question
from gossip.wire.serf import Query, QueryFlag, QueryResponse
from gossip.wire.values import NodeFilter, TagFilter
from tests.rigs import PORT, NodeRig, ip_of

if TYPE_CHECKING:
    from gossip.serf.asking import Collector


class Asked:
    """One query of the rig's, and what came back."""

    def __init__(self, rig: NodeRig, name: str = "uptime", **question: Any) -> None:
        self.replies: list[QueryReply] = []
        self.closed_at: list[float] = []
        self.collector: Collector = rig.node.query(
            Question(name, **question),
            rig.now,
            on_reply=lambda reply, _now: self.replies.append(reply),
            on_closed=self.closed_at.append,
        )

    def answer(self, sender: str, payload: bytes = b"", flags: int = 0) -> QueryResponse:
        return QueryResponse(self.collector.ltime, self.collector.id, sender, flags, payload)

    def ack(self, sender: str) -> QueryResponse:
        return self.answer(sender, flags=QueryFlag.ACK)


def rig_with(*names: str, **settings: Any) -> NodeRig:
    rig = NodeRig(**settings)
    rig.learn(*names)
    return rig


def test_a_query_carries_what_was_asked_and_where_replies_go() -> None:
    rig = rig_with("ann")
    rig.node.query_clock.time = 41

    asked = Asked(
        rig,
        "deploy",
        payload=b"v2",
        nodes=["ann", "bob"],
        tags={"role": "^web", "dc": "east"},
        request_ack=True,
        relay_factor=2,
        timeout=1.5,
    )

    filters = [
        NodeFilter(["ann", "bob"]).encode(),
        TagFilter("role", "^web").encode(),
        TagFilter("dc", "east").encode(),
    ]
    assert rig.queued("queries") == [
        Query(
            41, asked.collector.id, ip_of("me"), PORT, "me", filters, QueryFlag.ACK, 2,
            1_500_000_000, "deploy", b"v2",
        )
    ]  # fmt: skip
    assert 0 <= asked.collector.id < 2**31
    assert rig.node.query_clock.time == 42


@pytest.mark.parametrize(("members", "timeout"), [(1, 3.2), (9, 3.2), (10, 6.4), (120, 9.6)])
def test_the_default_timeout_grows_with_the_pool(members: int, timeout: float) -> None:
    rig = rig_with(*(f"n{index}" for index in range(members - 1)))

    asked = Asked(rig)

    assert asked.collector.deadline - rig.now == pytest.approx(timeout)


def test_acks_and_answers_are_told_once_per_member() -> None:
    rig = rig_with("ann", "bob")
    asked = Asked(rig, request_ack=True, nodes=["ann", "bob"])

    rig.hear_serf(
        asked.ack("ann"), asked.answer("ann", b"1"), asked.ack("ann"),
        asked.answer("ann", b"2"), asked.answer("bob", b""), asked.ack("bob"),
    )  # fmt: skip

    assert asked.replies == [
        QueryAck("ann"),
        QueryAnswer("ann", b"1"),
        QueryAnswer("bob", b""),
        QueryAck("bob"),
    ]
    counted = {name: count for name, count in rig.stats.items() if name.startswith("query_")}
    assert counted == {
        "query_acks": 2,
        "query_responses": 2,
        "query_duplicate_acks": 1,
        "query_duplicate_responses": 1,
    }


def test_replies_of_another_time_or_number_or_without_a_sender_are_counted_and_dropped() -> None:
    rig = rig_with("ann")
    asked = Asked(rig, nodes=["ann"])
    ltime, number = asked.collector.ltime, asked.collector.id

    rig.hear_serf(
        QueryResponse(ltime + 1, number, "ann", 0, b""),
        QueryResponse(ltime, number ^ 1, "ann", 0, b""),
        asked.answer(""),
        asked.ack("ann"),  # which was not asked for
    )

    assert asked.replies == []
    assert rig.stats["query_responses_unexpected"] == 4


def test_a_query_closes_at_its_deadline_and_takes_nothing_afterwards() -> None:
    rig = rig_with("ann")
    asked = Asked(rig, nodes=["ann"], timeout=2.0)
    start = rig.now

    rig.advance(1.9)
    rig.hear_serf(asked.answer("ann"))
    assert asked.closed_at == []
    rig.advance(0.2)
    rig.hear_serf(asked.answer("bob"))

    assert asked.closed_at == [pytest.approx(start + 2.0)]
    assert asked.replies == [QueryAnswer("ann", b"")]


def test_a_query_closed_early_is_closed_once() -> None:
    rig = rig_with("ann")
    asked = Asked(rig, nodes=["ann"])

    rig.node.close_query(asked.collector, rig.now)
    rig.node.close_query(asked.collector, rig.now)
    rig.advance(10)
    rig.hear_serf(asked.answer("ann"))

    assert len(asked.closed_at) == 1
    assert asked.replies == []


def test_we_are_asked_too_and_our_reply_needs_no_network() -> None:
    rig = rig_with("ann")

    asked = Asked(rig, request_ack=True)
    (told,) = rig.events()
    assert isinstance(told, QueryReceived)
    rig.node.respond(told, b"ours", rig.now)

    assert (told.name, told.source, told.deadline) == ("uptime", "me", asked.collector.deadline)
    assert asked.replies == [QueryAck("me"), QueryAnswer("me", b"ours")]
    assert all(to != (rig.m.own.info.address) for _, to in rig.sent())


def test_a_query_that_is_not_for_us_is_sent_and_not_told() -> None:
    rig = rig_with("ann")

    asked = Asked(rig, nodes=["ann"], request_ack=True)

    assert rig.events() == []
    assert asked.replies == []
    assert len(rig.queued("queries")) == 1


def test_our_own_query_that_comes_back_is_not_answered_again() -> None:
    rig = rig_with("ann", "bob")
    asked = Asked(rig, request_ack=True)
    (query,) = rig.queued("queries")
    rig.quiet()

    rig.hear_serf(query)

    assert rig.events() == []
    assert asked.replies == [QueryAck("me")]
    assert rig.sent() == []


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"payload": bytes(1024)}, "exceeds the limit of 1024 bytes"),
        ({"nodes": ["n" * 100] * 11}, "exceeds the limit of 1024 bytes"),
        ({"timeout": 0.0}, "timeout 0.0 s"),
        ({"timeout": -1.0}, "timeout -1.0 s"),
        ({"timeout": float("nan")}, "timeout nan s"),
        ({"timeout": 1e9}, "timeout 1000000000.0 s"),
        ({"relay_factor": 256}, "relay factor 256"),
        ({"relay_factor": -1}, "relay factor -1"),
    ],
)
def test_a_question_out_of_bounds_is_refused_and_leaves_nothing(
    question: dict[str, Any], text: str
) -> None:
    rig = rig_with("ann")

    with pytest.raises(LimitError, match=text):
        Asked(rig, **question)

    assert rig.node.query_clock.time == 1
    assert rig.queued("queries") == []
    assert rig.events() == []


def test_the_largest_query_is_sent() -> None:
    rig = rig_with("ann")
    overhead = len(Query(1, 2**31 - 1, ip_of("me"), PORT, "me", [], 0, 0, 2**33, "q", b"x" * 300).encode()) - 300  # fmt: skip

    Asked(rig, "q", payload=bytes(1024 - overhead))

    assert len(rig.queued("queries")) == 1


def test_r30_a_limit_raised_above_a_packet_does_not_lose_the_query_silently() -> None:
    rig = rig_with("ann", query_size_limit=9000)

    with pytest.raises(LimitError, match="does not fit into a gossip packet"):
        Asked(rig, payload=bytes(2000))


def test_s13_open_queries_are_bounded() -> None:
    rig = rig_with("ann")
    open_queries = [Asked(rig) for _ in range(MAX_OPEN_QUERIES)]

    with pytest.raises(LimitError, match="open already"):
        Asked(rig)
    rig.node.close_query(open_queries[7].collector, rig.now)
    Asked(rig)


def test_s13_invented_senders_are_bounded() -> None:
    rig = rig_with("ann")
    asked = Asked(rig, request_ack=True, nodes=["ann"])

    for index in range(200):
        rig.hear_serf(asked.answer(f"forged-{index}"), asked.ack(f"forged-{index}"))

    most = 2 * 2 + SPARE_REPLIES
    assert len(asked.replies) == 2 * most
    assert rig.stats["query_responses_over_limit"] == 2 * (200 - most)


def test_all_queries_close_when_the_node_stops() -> None:
    rig = rig_with("ann")
    asked = [Asked(rig), Asked(rig)]

    rig.node.close_queries(rig.now)

    assert [len(one.closed_at) for one in asked] == [1, 1]
