"""Whatever bytes come, forwarding gives a value or a WireError."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.forward.envelope import open_clear, open_sealed, seal
from agent.forward.messages import (
    MAX_HOPS,
    Answer,
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from gossip.errors import WireError

KEY = b"k" * 16
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
HEADS = st.fixed_dictionaries(
    {},
    optional={
        "method": JSON,
        "target": JSON,
        "headers": JSON | st.dictionaries(st.text(max_size=9), st.text(max_size=9)),
        "hops": JSON,
        "challenge": JSON,
        "status": JSON | st.integers(100, 700),
    },
)


@given(st.binary(max_size=300))
def test_any_bytes_open_or_are_a_wire_error(data: bytes) -> None:
    for attempt in (
        lambda: open_clear(data),
        lambda: open_sealed(data, [KEY]),
        lambda: decode_request(data),
        lambda: decode_answer(data),
    ):
        with contextlib.suppress(WireError):
            attempt()


@given(HEADS, st.binary(max_size=20))
def test_any_object_is_read_or_is_a_wire_error(head: object, body: bytes) -> None:
    packed = json.dumps(head).encode()
    data = struct.pack(">I", len(packed)) + packed + body
    for decode in (decode_request, decode_answer):
        with contextlib.suppress(WireError):
            decode(data)


printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
any_text = st.text(st.characters(), max_size=40)


requests = st.builds(
    Request,
    any_text,
    any_text,
    st.fixed_dictionaries({}, optional={"X-Consul-Token": printable}),
    st.binary(max_size=99),
    st.integers(1, MAX_HOPS),
    any_text,
)


@given(requests)
def test_requests_make_the_round_trip_sealed(request: Request) -> None:
    sealed = seal(encode_request(request), KEY, bytes(16))
    assert decode_request(open_sealed(sealed, [KEY])[0]) == request


@given(st.integers(200, 599), st.binary(max_size=99), printable)
def test_answers_make_the_round_trip(status: int, body: bytes, value: str) -> None:
    answer = Answer(status, body, {"X-Consul-Index": value})
    assert decode_answer(encode_answer(answer)) == answer
