"""memberlist's messages on the wire."""

from __future__ import annotations

import pytest

from gossip.errors import WireError
from gossip.wire.codec import decode_fields, pack
from gossip.wire.limits import META_MAX, NAME_MAX
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Nack,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    UserMessage,
    decode_message,
)

ADDR = b"\x0a\x00\x00\x01"


def test_absent_source_fields_are_left_out() -> None:
    assert Ping(1, "b").encode() == b"\x00" + pack({"Node": "b", "SeqNo": 1})
    assert b"SourceAddr" in Ping(1, "b", ADDR).encode()
    assert b"SourcePort" not in Ping(1, "b", ADDR).encode()
    assert b"Source" not in IndirectPing(1, ADDR, 7946, "b", nack=True).encode()


def test_keys_are_written_in_alphabetical_order() -> None:
    for message in (
        Ping(1, "b", ADDR, 7946, "a"),
        IndirectPing(
            1, ADDR, 7946, "b", nack=True, source_addr=ADDR, source_port=1, source_node="a"
        ),
        Alive(1, "b", ADDR, 7946, b"\xff\x80", bytes(6)),
        Suspect(1, "b", "a"),
        Dead(1, "b", "a"),
        Ack(1, b"x"),
    ):
        keys = list(decode_fields(message.encode()[1:], "test"))
        assert keys == sorted(keys)


def test_empty_bytes_are_written_as_nil() -> None:
    assert Ack(1).encode() == b"\x02" + pack({"Payload": None, "SeqNo": 1})
    alive = Alive(1, "b", ADDR, 7946, b"", b"").encode()
    assert alive.count(b"\xc0") == 2


def test_missing_fields_are_zero() -> None:
    assert decode_message(b"\x00\x80") == Ping(0, "")
    assert decode_message(b"\x02\xc0") == Ack(0)
    assert decode_message(b"\x0b\x80") == Nack(0)
    assert decode_message(b"\x03" + pack({"Node": "b"})) == Suspect(0, "b", "")


@pytest.mark.parametrize("kind", [3, 4, 5])
def test_news_about_nobody_is_refused(kind: int) -> None:
    with pytest.raises(WireError, match="Node: it is empty"):
        decode_message(bytes((kind,)) + pack({"Incarnation": 1}))


def test_user_message_is_everything_behind_its_type() -> None:
    assert decode_message(b"\x08") == UserMessage(b"")
    assert decode_message(b"\x08\x03abc") == UserMessage(b"\x03abc")
    assert UserMessage(b"\x03abc").encode() == b"\x08\x03abc"
    assert UserMessage(b"\x03abc").encode_stream() == b"\x08\x81\xaaUserMsgLen\x04\x03abc"


@pytest.mark.parametrize("kind", [6, 7, 9, 10, 12, 13, 14, 100, 244, 255])
def test_type_that_is_no_message_of_a_packet_is_refused(kind: int) -> None:
    with pytest.raises(WireError, match=str(kind)):
        decode_message(bytes((kind, 0x80)))


def test_mapped_address_is_kept_as_it_came() -> None:
    mapped = bytes(10) + b"\xff\xff" + ADDR
    alive = Alive(1, "b", mapped, 7946, b"\xff\x80", bytes(6))
    decoded = decode_message(alive.encode())
    assert isinstance(decoded, Alive)
    assert decoded.addr == mapped
    assert decoded.encode() == alive.encode()


@pytest.mark.parametrize(("size", "fits"), [(META_MAX, True), (META_MAX + 1, False)])
def test_meta_is_bounded(size: int, fits: bool) -> None:
    data = Alive(1, "b", ADDR, 7946, bytes(size), bytes(6)).encode()
    if fits:
        assert len(getattr(decode_message(data), "meta", b"")) == size
    else:
        with pytest.raises(WireError, match="Meta: 513 bytes exceed the limit of 512"):
            decode_message(data)


@pytest.mark.parametrize(("size", "fits"), [(NAME_MAX, True), (NAME_MAX + 1, False)])
def test_names_are_bounded(size: int, fits: bool) -> None:
    for message in (Ping(1, "x" * size), Suspect(1, "x" * size, "a"), Dead(1, "b", "x" * size)):
        if fits:
            assert decode_message(message.encode()) == message
        else:
            with pytest.raises(WireError, match="at most 255"):
                decode_message(message.encode())


def test_error_names_message_field_and_place() -> None:
    data = b"\x00" + pack({"Node": "b", "SeqNo": -1, "SourcePort": 1})
    with pytest.raises(WireError) as refusal:
        decode_message(data)
    assert str(refusal.value) == "ping: SeqNo: -1 is not an integer of 0 to 4294967295"
    assert refusal.value.layer == "ping"
    assert data[refusal.value.offset] == 0xFF


def test_error_shows_no_long_values() -> None:
    with pytest.raises(WireError) as refusal:
        decode_message(b"\x00" + pack({"SeqNo": b"x" * 10_000}))
    assert len(str(refusal.value)) < 120


def test_error_reply_is_written_for_a_stream() -> None:
    assert ErrorReply("no").encode() == b"\x0d\x81\xa5Error\xa2no"


def test_push_pull_header_counts_what_follows() -> None:
    node = PushPullNode("b", ADDR, 7946, b"\xff\x80", 3, 1, bytes(6))
    encoded = PushPull(True, [node, node], b"\x02\x80").encode()
    header = b"\x06" + pack({"Join": True, "Nodes": 2, "UserStateLen": 2})
    assert encoded == header + node.encode() * 2 + b"\x02\x80"
