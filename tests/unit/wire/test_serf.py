"""Serf's messages on the wire."""

from __future__ import annotations

import pytest

from gossip.errors import WireError
from gossip.wire.codec import pack, pack_large
from gossip.wire.limits import EVENTS_MAX, LIST_MAX, NAME_MAX
from gossip.wire.serf import (
    ConflictResponse,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    MemberInfo,
    Query,
    QueryResponse,
    Relay,
    StateSync,
    UserEvent,
    decode_serf,
)

ADDR = b"\x0a\x00\x00\x01"


def test_fields_that_old_senders_omit_are_zero() -> None:
    assert decode_serf(b"\x00" + pack({"LTime": 5, "Node": "b"})) == LeaveIntent(5, "b")
    response = decode_serf(b"\x08" + pack({"Keys": ["a"], "Message": "", "Result": True}))
    assert response == KeyResponse(True, "", ["a"], "")
    query = decode_serf(b"\x04" + pack({"LTime": 1, "ID": 2, "Name": "q", "Timeout": 5}))
    assert query == Query(1, 2, b"", 0, "", [], 0, 0, 5, "q", b"")


def test_nil_and_empty_payload_are_equal() -> None:
    nil = b"\x03" + pack({"CC": True, "LTime": 1, "Name": "e", "Payload": None})
    empty = b"\x03" + pack({"CC": True, "LTime": 1, "Name": "e", "Payload": b""})
    assert decode_serf(nil) == decode_serf(empty) == UserEvent(1, "e", b"", coalesce=True)
    assert UserEvent(1, "e", b"", coalesce=True).encode() == nil


def test_lamport_times_have_64_bits() -> None:
    assert decode_serf(JoinIntent(2**64 - 1, "b").encode()) == JoinIntent(2**64 - 1, "b")
    with pytest.raises(WireError, match="LTime: -1"):
        decode_serf(b"\x01" + pack({"LTime": -1, "Node": "b"}))


def test_state_sends_filled_slots_or_the_whole_ring() -> None:
    state = StateSync(3, {"a": 1}, [], 2, [(513, [("e", b"x")]), (4, [("f", b"")])], 1)
    assert len(state.encode(slots=512)) > len(state.encode()) + 500
    assert decode_serf(state.encode()) == state
    ring = decode_serf(state.encode(slots=512))
    assert isinstance(ring, StateSync)
    assert ring.events == [(513, [("e", b"x")]), (4, [("f", b"")])]


def test_state_of_nothing_but_nils_is_empty() -> None:
    nothing = StateSync(0, {}, [], 0, [], 0)
    assert decode_serf(b"\x02\xc0") == nothing
    assert decode_serf(b"\x02\x80") == nothing
    fields = {"Events": None, "LeftMembers": None, "StatusLTimes": None, "LTime": None}
    assert decode_serf(b"\x02" + pack(fields)) == nothing
    assert decode_serf(b"\x02" + pack({"Events": [None] * 512, "Unknown": [[1], {}]})) == nothing


def test_state_lists_may_be_longer_than_those_of_messages() -> None:
    many = 3 * LIST_MAX
    state = StateSync(
        1,
        {f"n{i}": i for i in range(many)},
        [f"n{i}" for i in range(many)],
        1,
        [(7, [("e", b"%d" % i) for i in range(many)])] + [(i, []) for i in range(many)],
        1,
    )
    assert decode_serf(state.encode()) == state


def test_state_has_a_bound_on_slots_and_on_events_in_them() -> None:
    def slots_of(*sizes: int) -> bytes:
        return StateSync(1, {}, [], 1, [(0, [("", b"")] * size) for size in sizes], 1).encode()

    half = EVENTS_MAX // 2
    state = decode_serf(slots_of(half, half))
    assert isinstance(state, StateSync)
    assert [len(events) for _, events in state.events] == [half, half]
    with pytest.raises(WireError, match=f"list of {half + 1} elements exceeds the limit of {half}"):
        decode_serf(slots_of(half, half + 1))
    too_many = b"\x02" + pack_large({"Events": [None] * (EVENTS_MAX + 1)})
    with pytest.raises(WireError, match="exceeds the limit of 65536"):
        decode_serf(too_many)


def test_state_passes_over_names_beyond_the_limit() -> None:
    long, fits = "x" * (NAME_MAX + 1), "x" * NAME_MAX
    state = StateSync(1, {long: 1, fits: 2}, [long, fits], 1, [], 1)
    decoded = decode_serf(state.encode())
    assert isinstance(decoded, StateSync)
    assert decoded.status_ltimes == {fits: 2}
    assert decoded.left_members == [fits]


def test_state_with_nested_list_headers_reserves_nothing() -> None:
    bomb = b"\x02\x81\xa6Events\x91" + b"\xdd\x00\x0f\xff\xff" * 400
    with pytest.raises(WireError) as refusal:
        decode_serf(bomb)
    assert refusal.value.layer == "pushPull"
    assert 0 < refusal.value.offset <= len(bomb)


@pytest.mark.parametrize(
    "fields",
    [
        {"LTime": "x"},
        {"StatusLTimes": [1]},
        {"StatusLTimes": {"a": -1}},
        {"LeftMembers": {"a": 1}},
        {"LeftMembers": [1]},
        {"Events": 5},
        {"Events": [5]},
        {"Events": [{"Events": 5}]},
        {"Events": [{"Events": [5]}]},
        {"Events": [{"Events": [{"Name": 5}]}]},
        {"Events": [{"LTime": -1}]},
    ],
)
def test_state_of_another_shape_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(WireError) as refusal:
        decode_serf(b"\x02" + pack_large(fields))
    assert refusal.value.layer == "pushPull"


def test_a_status_time_that_is_none_is_refused_whatever_bytes_its_members_name_is() -> None:
    with pytest.raises(WireError, match="pushPull: StatusLTimes: 1 bytes is not") as refusal:
        decode_serf(b"\x02" + pack_large({"StatusLTimes": {"a\udcbd\n": b"x"}}))

    assert refusal.value.layer == "pushPull"


def test_relay_carries_the_inner_message_untouched() -> None:
    inner = QueryResponse(1, 2, "a", 1, b"").encode()
    relay = Relay(ADDR, 7946, "b", inner)
    assert relay.encode().endswith(inner)
    assert decode_serf(relay.encode()) == relay
    assert decode_serf(b"\x09" + pack({"DestAddr": {"IP": ADDR, "Port": 7946}}) + b"x") == Relay(
        ADDR, 7946, "", b"x"
    )


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x80", b"\x81\xa8DestAddr\xc0", b"\x90"])
def test_relay_without_destination_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="relay"):
        decode_serf(b"\x09" + body)


def test_relay_with_damaged_destination_is_refused() -> None:
    with pytest.raises(WireError, match="Port"):
        decode_serf(b"\x09" + pack({"DestAddr": {"IP": ADDR, "Port": 65536}}))


def test_conflict_response_tells_a_member_or_nobody() -> None:
    member = MemberInfo("b", ADDR, 7946, {"role": "web"}, 1, 1, 5, 2, 2, 5, 5)
    assert decode_serf(ConflictResponse(member).encode()) == ConflictResponse(member)
    assert ConflictResponse(None).encode() == b"\x06\xc0"
    assert decode_serf(b"\x06\xc0") == ConflictResponse(None)


@pytest.mark.parametrize("tags", [5, [1], {"a": 1}, "text"])
def test_conflict_response_with_damaged_tags_is_refused(tags: object) -> None:
    with pytest.raises(WireError) as refusal:
        decode_serf(b"\x06" + pack({"Name": "b", "Tags": tags}))
    assert refusal.value.layer == "conflictResponse"


@pytest.mark.parametrize(
    ("field", "wrong"), [("Filters", 5), ("Filters", [5]), ("Filters", [None])]
)
def test_query_filters_are_a_list_of_bytes(field: str, wrong: object) -> None:
    data = b"\x04" + pack({field: wrong})
    if wrong == [None]:
        decoded = decode_serf(data)
        assert isinstance(decoded, Query)
        assert decoded.filters == [b""]
    else:
        with pytest.raises(WireError, match="Filters"):
            decode_serf(data)


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(KeyRequest(b"secret-key-bytes"))
    assert "secret" not in repr(KeyResponse(True, "", ["secret"], "secret"))


@pytest.mark.parametrize("data", [b"", b"\x0a\x80", b"\xff\x80", b"\x03", b"\x03\x90", b"\x02"])
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_serf(data)


def test_bytes_behind_a_message_are_ignored() -> None:
    assert decode_serf(JoinIntent(1, "b").encode() + b"\xc1") == JoinIntent(1, "b")
