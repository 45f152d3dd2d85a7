"""Queries of others: which are new, which are for us, and the answers to Serf's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gossip.errors import LimitError, QueryError
from gossip.events import QueryReceived
from gossip.serf.queries import MAX_IDS_PER_TIME, MAX_UNANSWERED
from gossip.wire.messages import Dead, UserMessage
from gossip.wire.serf import (
    ConflictResponse,
    MemberInfo,
    Query,
    QueryFlag,
    QueryResponse,
    Relay,
    UserEvent,
    decode_serf,
    encode_tags,
)
from gossip.wire.values import NodeFilter, TagFilter
from tests.rigs import PORT, VSN, NodeRig, address_of, alive, ip_of

if TYPE_CHECKING:
    from gossip.wire.address import Address

ASKER = address_of("asker")


def query(**changes: Any) -> Query:
    fields: dict[str, Any] = {
        "ltime": 5, "id": 1, "addr": ip_of("asker"), "port": PORT, "source_node": "asker",
        "filters": [], "flags": QueryFlag.ACK, "relay_factor": 0, "timeout_ns": 10**9,
        "name": "_serf_ping", "payload": b"",
    }  # fmt: skip
    return Query(**(fields | changes))


def ack(ltime: int = 5, number: int = 1) -> QueryResponse:
    return QueryResponse(ltime, number, "me", QueryFlag.ACK, b"")


def rig_with(*names: str, **settings: Any) -> NodeRig:
    rig = NodeRig(**settings)
    rig.learn(*names)
    return rig


def answers(rig: NodeRig) -> list[tuple[QueryResponse, Address]]:
    """Responses sent, with their receivers; queries passed on are left out."""
    return [(m, to) for m, to in rig.sent_serf() if isinstance(m, QueryResponse)]


# New or not


def test_a_query_is_acked_to_its_address_and_passed_on_once() -> None:
    rig = rig_with("ann", "bob")

    rig.hear_serf(query())
    passed_on, first = rig.queued("queries"), answers(rig)
    rig.quiet()
    rig.hear_serf(query())

    assert passed_on == [query()]
    assert first == [(ack(), ASKER)]
    assert answers(rig) == []
    assert rig.queued("queries") == []
    assert rig.node.query_clock.time == 6


def test_queries_of_the_same_time_are_told_apart_by_their_ids() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(id=1), query(id=2), query(id=1), query(id=1, ltime=6))

    assert [m for m, _ in answers(rig)] == [ack(5, 1), ack(5, 2), ack(6, 1)]


def test_an_ack_is_sent_only_when_it_is_asked_for() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(flags=0))

    assert answers(rig) == []
    assert rig.queued("queries") == [query(flags=0)]


def test_a_query_may_ask_not_to_be_passed_on() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(flags=QueryFlag.ACK | QueryFlag.NO_BROADCAST))

    assert [m for m, _ in answers(rig)] == [ack()]
    assert rig.queued("queries") == []


@pytest.mark.parametrize(("ltime", "too_old"), [(487, True), (488, False), (999, False)])
def test_queries_a_ring_behind_the_clock_are_too_old(ltime: int, *, too_old: bool) -> None:
    rig = rig_with("ann")
    rig.node.query_clock.time = 1000

    rig.hear_serf(query(ltime=ltime))

    assert len(answers(rig)) == (0 if too_old else 1)
    assert rig.stats["queries_too_old"] == too_old


def test_r37_queries_from_before_our_start_are_not_answered() -> None:
    rig = rig_with("ann")
    rig.node.queries.min_time = 6

    rig.hear_serf(query(ltime=5), query(ltime=6))

    assert [m for m, _ in answers(rig)] == [ack(6)]


def test_r43_a_poisoned_time_is_refused() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(ltime=2**63))

    assert answers(rig) == []
    assert rig.node.query_clock.time == 1
    assert rig.stats["ltimes_refused"] == 1


def test_s13_queries_of_one_time_are_bounded() -> None:
    rig = rig_with("ann")

    for number in range(MAX_IDS_PER_TIME + 3):
        rig.hear_serf(query(id=number))

    assert len(answers(rig)) == MAX_IDS_PER_TIME
    assert rig.stats["queries_over_limit"] == 3


# For us or not


@pytest.mark.parametrize(
    ("filters", "for_us"),
    [
        ([NodeFilter(["ann", "me"])], True),
        ([NodeFilter(["ann"])], False),
        ([NodeFilter([])], False),
        ([TagFilter("role", "db")], True),
        ([TagFilter("role", "b")], True),
        ([TagFilter("role", "^b")], False),
        ([TagFilter("role", "web|db")], True),
        ([TagFilter("none", "^$")], True),
        ([TagFilter("none", "x")], False),
        ([NodeFilter(["me"]), TagFilter("role", "db")], True),
        ([NodeFilter(["me"]), TagFilter("role", "web")], False),
    ],
)
def test_all_filters_have_to_let_us_through_and_the_query_is_passed_on_anyway(
    filters: list[NodeFilter | TagFilter], *, for_us: bool
) -> None:
    rig = rig_with("ann", tags={"role": "db"})
    asked = query(filters=[each.encode() for each in filters])

    rig.hear_serf(asked)

    assert len(answers(rig)) == for_us
    assert rig.queued("queries") == [asked]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x07",
        b"\x01\xc1",
        TagFilter("role", "(").encode(),
        TagFilter("role", r"(a)\1").encode(),
        TagFilter("role", "a{1000}{1000}").encode(),
        TagFilter("role", "\udcff").encode(),
    ],
)
def test_s20_a_filter_that_does_not_work_is_not_for_us_and_stays_quiet(
    bad: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    rig = rig_with("ann", tags={"role": "db"})

    rig.hear_serf(query(filters=[bad]))

    assert answers(rig) == []
    assert rig.stats["query_filters_refused"] == 1
    assert capfd.readouterr().err == ""


def test_an_expression_that_would_run_for_ages_elsewhere_is_answered_at_once() -> None:
    rig = rig_with("ann", tags={"role": "a" * 300})

    rig.hear_serf(query(filters=[TagFilter("role", "(a*)*(a*)*b").encode()]))

    assert answers(rig) == []
    assert rig.stats["query_filters_refused"] == 0


# Serf's own questions


def conflict(name: str, **changes: Any) -> Query:
    return query(name="_serf_conflict", payload=name.encode(), flags=0, **changes)


def vote(rig: NodeRig) -> ConflictResponse:
    """The one answer that was sent."""
    ((response, to),) = answers(rig)
    assert to == ASKER
    assert response.flags == 0
    decoded = decode_serf(response.payload)
    assert isinstance(decoded, ConflictResponse)
    return decoded


def test_r14_we_tell_whom_we_hold_for_the_owner_of_a_name() -> None:
    rig = rig_with()
    rig.learn("ann", meta=encode_tags({"role": "db"}))

    rig.hear_serf(conflict("ann"))

    assert vote(rig).member == MemberInfo("ann", ip_of("ann"), PORT, {"role": "db"}, 1, *VSN)


def test_r14_we_tell_its_status_too() -> None:
    rig = rig_with("ann", "bob")
    rig.hear(Dead(1, "ann", "bob"))

    rig.hear_serf(conflict("ann"))

    member = vote(rig).member
    assert member is not None
    assert member.status == 4


def test_r14_a_name_that_nobody_has_is_answered_with_nobody() -> None:
    rig = rig_with("ann")

    rig.hear_serf(conflict("somebody"))

    assert vote(rig).member is None


def test_r14_the_member_concerned_has_no_vote() -> None:
    rig = rig_with("ann")

    rig.hear_serf(conflict("me"))

    assert answers(rig) == []


@pytest.mark.parametrize("name", ["\udcff", "x" * 400])
def test_s20_a_vote_about_an_odd_name_or_member_does_no_harm(name: str) -> None:
    rig = rig_with()
    rig.learn("ann", meta=b"\xff\xc1")

    rig.hear_serf(query(name="_serf_conflict", payload=name.encode("utf-8", "surrogateescape")))
    rig.hear_serf(conflict("ann", id=2))

    assert len(answers(rig)) == 3


def test_serfs_own_questions_are_not_told_to_the_application() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(), conflict("ann", id=3), query(id=4, name="_serf_new"))

    assert rig.events() == []
    assert rig.stats["queries_unknown"] == 1


# The application's


def told(rig: NodeRig) -> list[QueryReceived]:
    return [event for event in rig.events() if isinstance(event, QueryReceived)]


def test_a_query_is_told_with_its_deadline_and_answered_to_its_address() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(name="uptime", payload=b"-s", flags=0))
    (received,) = told(rig)
    rig.node.respond(received, b"42", rig.now)

    assert received == QueryReceived(1, 5, "uptime", b"-s", "asker", rig.now + 1.0)
    assert answers(rig) == [(QueryResponse(5, 1, "me", 0, b"42"), ASKER)]


def test_a_query_that_is_not_for_us_is_not_told() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(name="uptime", filters=[NodeFilter(["ann"]).encode()]))

    assert told(rig) == []
    assert len(rig.queued("queries")) == 1


def test_a_query_is_told_at_once_where_events_are_coalesced() -> None:
    rig = rig_with("ann", coalesce_period=3.0, quiescent_period=1.0)

    rig.hear_serf(query(name="uptime"))

    assert len(told(rig)) == 1


def test_a_query_takes_one_answer() -> None:
    rig = rig_with("ann")
    rig.hear_serf(query(name="uptime", flags=0))
    (received,) = told(rig)
    rig.node.respond(received, b"first", rig.now)

    with pytest.raises(QueryError, match="'uptime' has been answered"):
        rig.node.respond(received, b"second", rig.now)

    assert [m.payload for m, _ in answers(rig)] == [b"first"]


@pytest.mark.parametrize(("after", "late"), [(1.0, False), (1.001, True)])
def test_an_answer_after_the_deadline_is_refused(after: float, *, late: bool) -> None:
    rig = rig_with("ann")
    rig.hear_serf(query(name="uptime", flags=0))
    (received,) = told(rig)
    rig.advance(after)
    rig.quiet()

    if late:
        with pytest.raises(QueryError, match="deadline of query 'uptime' has passed"):
            rig.node.respond(received, b"42", rig.now)
    else:
        rig.node.respond(received, b"42", rig.now)

    assert len(answers(rig)) == (not late)


def test_r30_an_answer_that_is_too_large_is_refused_and_a_smaller_one_taken() -> None:
    rig = rig_with("ann")
    rig.hear_serf(query(name="uptime", flags=0))
    (received,) = told(rig)
    most = 1024 - len(QueryResponse(5, 1, "me", 0, bytes(300)).encode()) + 300

    with pytest.raises(LimitError, match=f"answer of {most + 1} bytes .* limit of 1024 bytes"):
        rig.node.respond(received, bytes(most + 1), rig.now)
    rig.node.respond(received, bytes(most), rig.now)

    assert [len(m.payload) for m, _ in answers(rig)] == [most]


def test_an_answer_of_the_application_is_relayed_too() -> None:
    rig = rig_with("ann", "bob")
    rig.hear_serf(query(name="uptime", flags=0, relay_factor=1))
    (received,) = told(rig)
    rig.quiet()

    rig.node.respond(received, b"42", rig.now)

    sent = [m for m, _ in rig.sent_serf()]
    answer = QueryResponse(5, 1, "me", 0, b"42")
    assert sent == [answer, Relay(ip_of("asker"), PORT, "asker", answer.encode())]


@pytest.mark.parametrize("timeout_ns", [-(2**63), -1, 0])
def test_a_query_without_any_time_is_told_and_too_late_to_answer(timeout_ns: int) -> None:
    rig = rig_with("ann")
    rig.hear_serf(query(name="uptime", timeout_ns=timeout_ns))
    (received,) = told(rig)
    rig.advance(0.001)

    with pytest.raises(QueryError):
        rig.node.respond(received, b"", rig.now)


def test_a_query_that_would_stay_open_for_ever_stays_an_hour() -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(name="uptime", timeout_ns=2**63 - 1))

    assert told(rig)[0].deadline == rig.now + 3600


def test_s13_queries_that_wait_for_the_application_are_bounded() -> None:
    rig = rig_with("ann")
    for number in range(MAX_UNANSWERED + 1):
        rig.hear_serf(query(name="uptime", flags=0, id=number, ltime=5 + number // 1000))
    received = told(rig)

    with pytest.raises(QueryError, match="given up"):
        rig.node.respond(received[0], b"", rig.now)
    rig.node.respond(received[1], b"", rig.now)

    assert rig.stats["queries_given_up"] == 1


# Where answers go


@pytest.mark.parametrize("addr", [b"", bytes(4), b"\xe0\0\0\1", b"\xff\xff\xff\xff", b"abc"])
def test_h1_no_answer_goes_to_an_address_that_would_do_harm(addr: bytes) -> None:
    rig = rig_with("ann")

    rig.hear_serf(query(addr=addr))

    assert answers(rig) == []
    assert rig.stats["addresses_refused"] == 1


def test_an_answer_over_the_limit_is_not_sent_and_counted() -> None:
    rig = rig_with(query_response_size_limit=200)
    rig.learn("ann", meta=encode_tags({"role": "x" * 200}))

    rig.hear_serf(conflict("ann"))

    assert answers(rig) == []
    assert rig.stats["query_responses_too_large"] == 1


# Relays


def relays(rig: NodeRig) -> list[tuple[Relay, Address]]:
    return [(m, to) for m, to in rig.sent_serf() if isinstance(m, Relay)]


def test_an_answer_goes_through_others_too_when_that_is_asked_for() -> None:
    rig = rig_with("ann", "bob", "cat", "dan")

    rig.hear_serf(query(relay_factor=3))

    sent = relays(rig)
    wanted = Relay(ip_of("asker"), PORT, "asker", ack().encode())
    assert [relay for relay, _ in sent] == [wanted] * 3
    assert len({to for _, to in sent}) == 3


def test_too_small_a_pool_relays_nothing() -> None:
    rig = rig_with("ann", "bob")  # three members with us, relaying to three needs four

    rig.hear_serf(query(relay_factor=3))

    assert relays(rig) == []


def test_a_query_that_asks_for_a_flood_of_relays_gets_five() -> None:
    rig = rig_with(*(f"n{index}" for index in range(300)))

    rig.hear_serf(query(relay_factor=255))

    assert len(relays(rig)) == 5


def test_only_the_alive_who_understand_relay() -> None:
    rig = rig_with("ann", "bob", "cat")
    rig.learn("old", vsn=bytes((1, 4, 2, 2, 4, 4)))
    rig.hear(Dead(1, "bob", "ann"))
    rig.quiet()

    rig.hear_serf(query(relay_factor=4))

    assert {to for _, to in relays(rig)} == {address_of("ann"), address_of("cat")}


def test_a_relayed_answer_is_passed_on_as_it_is() -> None:
    rig = rig_with("ann")

    rig.hear_serf(Relay(ip_of("asker"), PORT, "asker", b"\x05anything"))

    assert rig.sent() == [(UserMessage(b"\x05anything"), ASKER)]


def test_h1_nothing_is_relayed_to_an_address_that_would_do_harm() -> None:
    rig = rig_with("ann")

    rig.hear_serf(Relay(bytes(4), PORT, "asker", b"\x05anything"))

    assert rig.sent() == []
    assert rig.stats["addresses_refused"] == 1


def test_r56_a_relay_of_a_relay_ends_with_us() -> None:
    rig = rig_with("ann")
    inner = Relay(ip_of("asker"), PORT, "asker", UserEvent(1, "x", b"", coalesce=True).encode())

    rig.hear_serf(Relay(ip_of("ann"), PORT, "ann", inner.encode()))

    assert rig.sent() == []
    assert rig.stats["relays_refused"] == 1


def test_an_alive_with_broken_tags_does_not_break_a_vote() -> None:
    rig = rig_with()
    rig.hear(alive("ann", meta=b"\xff\x81\xa1k\xc1"))

    rig.hear_serf(conflict("ann"))

    member = vote(rig).member
    assert member is not None
    assert member.tags == {}
