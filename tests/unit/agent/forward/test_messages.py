"""Requests and answers as bytes."""

from __future__ import annotations

import json
import struct

import pytest

from agent.forward.messages import (
    MAX_BODY,
    MAX_HEAD,
    Answer,
    Challenge,
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_challenge,
    encode_request,
)
from gossip.errors import WireError

GOOD = {"method": "GET", "target": "/x", "headers": {}, "hops": 1, "challenge": ""}


def packed(head: object, body: bytes = b"") -> bytes:
    data = json.dumps(head).encode()
    return struct.pack(">I", len(data)) + data + body


def test_a_request_makes_the_round_trip_byte_for_byte() -> None:
    request = Request(
        "PUT", "/v1/kv/\udcff%00ä?a=b", {"X-Consul-Token": "tä"}, bytes(range(256)), 2, "c"
    )
    assert decode_request(encode_request(request)) == request


def test_a_request_shows_no_secret() -> None:
    request = Request("GET", "/x?token=hush", {"X-Consul-Token": "hush"}, b"hush", 1, "hush")
    assert "hush" not in repr(request)


def test_an_answer_keeps_consuls_headers_and_its_type_only() -> None:
    answer = Answer(
        429,
        b"\0body",
        {
            "Content-Type": "text/plain",
            "X-Consul-Index": "7",
            "Retry-After": "1",
            "Set-Cookie": "a=b",
            "Location": "/x",
        },
    )
    kept = {"Content-Type": "text/plain", "X-Consul-Index": "7", "Retry-After": "1"}
    assert decode_answer(encode_answer(answer)) == Answer(429, b"\0body", kept)
    smuggled = packed({"status": 200, "headers": {"Set-Cookie": "a=b", "X-Consul-Index": "1"}})
    assert decode_answer(smuggled) == Answer(200, b"", {"X-Consul-Index": "1"})


def test_a_challenge_is_no_answer() -> None:
    assert decode_answer(encode_challenge("c")) == Challenge("c")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\0",
        b"\0\0\0\2{}",
        struct.pack(">I", MAX_HEAD + 1) + b" " * (MAX_HEAD + 1),
        b"\xff\xff\xff\xff{}",
        b"\0\0\0\2\xff\xff",
        struct.pack(">I", 5000) + b"[" * 5000,
        packed([]),
        packed(None),
        packed(GOOD | {"hops": 0}),
        packed(GOOD | {"hops": 4}),
        packed(GOOD | {"hops": True}),
        packed(GOOD | {"hops": "1"}),
        packed(GOOD | {"method": None}),
        packed(GOOD | {"target": ["/x"]}),
        packed(GOOD | {"challenge": 1}),
        packed(GOOD | {"headers": []}),
        packed(GOOD | {"headers": {"a": 1}}),
        packed(GOOD | {"headers": {"X-Consul-Token": "a\r\nb: c"}}),
        packed(GOOD, b"x" * (MAX_BODY + 1)),
    ],
)
def test_what_is_no_request_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_request(data)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"status": 199, "headers": {}},
        {"status": 600, "headers": {}},
        {"status": True, "headers": {}},
        {"status": 200},
        {"status": 200, "headers": {"X-Consul-Index": "1\r\n"}},
        {"status": 200, "headers": {"X-Consul-Ä": "1"}},
        {"challenge": 1},
    ],
)
def test_what_is_no_answer_is_a_wire_error(head: object) -> None:
    with pytest.raises(WireError):
        decode_answer(packed(head))
