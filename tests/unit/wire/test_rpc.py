"""Serf's agent RPC in bytes: as a genuine agent and its clients write it, and any other bytes."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import WireError
from gossip.wire.limits import RECORD_MAX
from gossip.wire.rpc import (
    ANSWERS_WITH_BODY,
    REQUESTS_WITH_BODY,
    STREAMS,
    Request,
    RequestReader,
    encode_answer,
    encode_request,
)
from tests.wire_helpers import vectors

REQUESTS = [v for v in vectors("ipc") if v["name"].endswith("_request")]
ANSWERS = [v for v in vectors("ipc") if v["name"].endswith("_response")]


def ids(recorded: dict[str, Any]) -> str:
    return str(recorded["name"])


def read_all(*pieces: bytes) -> list[Request]:
    reader = RequestReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            found.append(request)
    return found


def values_in(data: bytes) -> list[Any]:
    return list(msgpack.Unpacker(io.BytesIO(data)))


@pytest.mark.parametrize("recorded", REQUESTS, ids=ids)
def test_a_recorded_request_is_read_whole_and_byte_by_byte(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])
    header, *_ = recorded["decoded"]["objects"]

    (request,) = read_all(data)
    assert (request.command, request.seq) == (header["Command"], header["Seq"])
    assert read_all(*(bytes((byte,)) for byte in data)) == [request]


@pytest.mark.parametrize("recorded", REQUESTS, ids=ids)
def test_a_recorded_request_is_written_alike(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])
    header, *body = values_in(data)

    assert encode_request(header["Command"], header["Seq"], *body) == data


@pytest.mark.parametrize("recorded", ANSWERS, ids=ids)
def test_recorded_answers_and_records_are_written_alike(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])
    written, values = b"", values_in(data)
    while values:
        header = values.pop(0)
        body = values.pop(0) if values and "Seq" not in values[0] else None
        written += encode_answer(header["Seq"], body, error=header["Error"])

    assert written == data


def test_the_commands_that_carry_bodies_are_known_to_both_sides() -> None:
    assert STREAMS <= REQUESTS_WITH_BODY
    assert not STREAMS & ANSWERS_WITH_BODY
    assert {"leave", "list-keys", "members", "stats"}.isdisjoint(REQUESTS_WITH_BODY)


def test_nil_is_a_body_without_fields() -> None:
    assert read_all(b"\x82\xa7Command\xa5event\xa3Seq\x01\xc0") == [Request("event", 1, {})]


def test_text_that_is_not_utf_8_survives() -> None:
    (request,) = read_all(encode_request("bad\udcff", 1))
    assert request.command == "bad\udcff"


def test_a_request_in_progress_is_told() -> None:
    reader = RequestReader()
    assert not reader.pending
    for piece in (b"\x82\xa7Comm", b"and\xa5event\xa3Seq\x01", b"\x80"):
        reader.feed(piece)
        request = reader.next()
        assert reader.pending == (request is None)
    assert request == Request("event", 1, {})


def test_a_record_that_is_too_long_is_refused_while_it_comes() -> None:
    reader = RequestReader()
    reader.feed(b"\x81\xa7Command\xdb\xff\xff\xff\xff")
    for _ in range(RECORD_MAX // 4096 - 1):
        reader.feed(bytes(4096))
        assert reader.next() is None
    reader.feed(bytes(4096))
    with pytest.raises(WireError, match=str(RECORD_MAX)):
        reader.next()


@given(st.binary(max_size=300), st.integers(1, 300))
def test_any_bytes_give_requests_or_a_wire_error(data: bytes, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    try:
        whole: list[Request] | None = read_all(data)
    except WireError:
        whole = None
    try:
        parts: list[Request] | None = read_all(*pieces)
    except WireError:
        parts = None

    assert whole == parts


BODIES = st.dictionaries(
    st.text(max_size=8), st.one_of(st.none(), st.integers(0, 2**64 - 1), st.binary(max_size=40))
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(REQUESTS_WITH_BODY | {"members", "stats", "bogus"})),
            st.integers(0, 2**64 - 1),
            BODIES,
        ),
        max_size=8,
    ),
    st.integers(1, 64),
)
def test_requests_survive_the_way_in_any_pieces(
    sent: list[tuple[str, int, dict[str, Any]]], size: int
) -> None:
    data = b"".join(
        encode_request(command, seq, body if command in REQUESTS_WITH_BODY else None)
        for command, seq, body in sent
    )
    pieces = [data[start : start + size] for start in range(0, len(data), size)]

    assert [(r.command, r.seq) for r in read_all(*pieces)] == [(c, s) for c, s, _ in sent]
