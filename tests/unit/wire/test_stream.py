"""Streams: framing, label, encryption, error replies, slices."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from gossip.errors import LimitError, WireError
from gossip.wire.codec import pack
from gossip.wire.limits import META_MAX, NAME_MAX, STREAM_SLICE
from gossip.wire.lzw import compress
from gossip.wire.messages import (
    Ack,
    ErrorReply,
    Message,
    Ping,
    PushPull,
    PushPullNode,
    UserMessage,
)
from gossip.wire.stream import StreamCodec, StreamReader
from tests.wire_helpers import KEY, OTHER_KEY, lzw_zeros, read_all, stream_codec

ADDR = b"\x0a\x00\x00\x01"
NODES = [PushPullNode(f"n{i}", ADDR, 7946, b"\xff\x80", i, i % 4, bytes(6)) for i in range(50)]
STATE = PushPull(True, NODES, b"\x02\x80" + bytes(300))

MESSAGES: list[Message] = [
    Ping(1, "b", ADDR, 7946, "a"),
    Ack(1),
    STATE,
    PushPull(False, [], b""),
    ErrorReply("no"),
]
SETTINGS: list[tuple[tuple[bytes, ...], dict[str, Any]]] = [
    ((), {}),
    ((), {"label": "prod"}),
    ((), {"compress": True}),
    ((KEY,), {}),
    ((KEY, OTHER_KEY), {"label": "x" * 255, "compress": True}),
]


def encoded(message: Message) -> bytes:
    return message.encode_stream() if isinstance(message, UserMessage) else message.encode()


def refusal(reader: StreamReader, data: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        read_all(reader, [data])
    assert reader.done
    assert not reader.busy
    return caught.value


@pytest.mark.parametrize("message", [*MESSAGES, UserMessage(b"\x03abc")], ids=repr)
@pytest.mark.parametrize(("keys", "settings"), SETTINGS)
@pytest.mark.parametrize("dialer", [True, False])
def test_message_survives_whatever_the_pieces(
    message: Message, keys: tuple[bytes, ...], settings: dict[str, Any], dialer: bool
) -> None:
    codec = stream_codec(*keys, **settings)
    data = codec.encode(encoded(message), dialer=dialer)
    for size in (1, 7, len(data)):
        reader = StreamReader(codec, dialer=not dialer)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert read_all(reader, pieces) == message
        assert reader.done
        assert not reader.busy


def test_only_the_dialer_sends_the_label() -> None:
    codec = stream_codec(label="prod")
    assert codec.encode(b"\x02\x80", dialer=True) == b"\xf4\x04prod\x02\x80"
    assert codec.encode(b"\x02\x80", dialer=False) == b"\x02\x80"
    assert StreamReader(codec, dialer=True).error_reply(WireError("x")) is None


def test_label_in_an_answer_is_refused() -> None:
    codec = stream_codec(label="prod")
    assert "244" in str(
        refusal(StreamReader(codec, dialer=True), codec.encode(b"\x02\x80", dialer=True))
    )


@pytest.mark.parametrize("data", [b"\x02\x80", b"\xf4\x03abc\x02\x80", b"\xf4\x05prodx\x02\x80"])
def test_r24_other_label_is_refused_without_an_answer(data: bytes) -> None:
    reader = StreamReader(stream_codec(label="prod"), dialer=False)
    error = refusal(reader, data)
    assert error.layer == "label"
    assert reader.error_reply(error) is None


def test_behind_a_proxy_a_missing_label_counts_as_ours() -> None:
    behind = stream_codec(KEY, label="prod", skip_inbound_label_check=True)
    data = stream_codec(KEY, label="prod").encode(Ack(1).encode(), dialer=True)
    assert read_all(StreamReader(behind, dialer=False), [data[6:]]) == Ack(1)
    assert refusal(StreamReader(behind, dialer=False), data).layer == "label"


def test_encrypted_header_and_label_are_authenticated() -> None:
    codec = stream_codec(KEY, label="prod")
    sealed = codec.encode(Ack(1).encode(), dialer=False)
    length = len(sealed) - 5
    assert sealed[:5] == b"\x0a" + length.to_bytes(4)
    assert codec.keyring.decrypt(sealed[5:], sealed[:5] + b"prod") == Ack(1).encode()


def reply_to(reader: StreamReader, error: WireError, dialer: StreamCodec) -> Message | None:
    reply = reader.error_reply(error)
    assert reply is not None
    return read_all(StreamReader(dialer, dialer=True), [reply])


def test_encrypted_stream_without_keys_is_refused_as_memberlist_does() -> None:
    reader = StreamReader(stream_codec(), dialer=False)
    error = refusal(reader, stream_codec(KEY).encode(Ack(1).encode(), dialer=True))
    text = "Remote state is encrypted and encryption is not configured"
    assert reply_to(reader, error, stream_codec()) == ErrorReply(text)


def test_plain_stream_with_keys_is_refused_as_memberlist_does() -> None:
    reader = StreamReader(stream_codec(KEY), dialer=False)
    error = refusal(reader, Ack(1).encode())
    text = "Encryption is configured but remote state is not encrypted"
    assert reply_to(reader, error, stream_codec(KEY)) == ErrorReply(text)


def test_r47_stream_of_another_key_is_refused_in_our_key() -> None:
    reader = StreamReader(stream_codec(KEY), dialer=False)
    error = refusal(reader, stream_codec(OTHER_KEY).encode(Ack(1).encode(), dialer=True))
    text = "No installed keys could decrypt the message"
    assert reply_to(reader, error, stream_codec(OTHER_KEY, KEY)) == ErrorReply(text)


def test_r49_plain_stream_is_read_while_verification_is_off() -> None:
    codec = stream_codec(KEY, verify_incoming=False, verify_outgoing=False)
    assert read_all(StreamReader(codec, dialer=False), [Ack(1).encode()]) == Ack(1)
    sealed = stream_codec(KEY).encode(Ack(1).encode(), dialer=True)
    assert read_all(StreamReader(codec, dialer=False), [sealed]) == Ack(1)
    assert codec.encode(Ack(1).encode(), dialer=True) == Ack(1).encode()


def test_dialer_does_not_answer_a_bad_answer() -> None:
    reader = StreamReader(stream_codec(KEY), dialer=True)
    assert reader.error_reply(refusal(reader, Ack(1).encode())) is None


def test_bytes_behind_the_message_are_ignored() -> None:
    codec = stream_codec()
    for data in (Ack(1).encode(), STATE.encode(), UserMessage(b"\x03").encode_stream()):
        reader = StreamReader(codec, dialer=False)
        assert read_all(reader, [data + b"more"]) is not None
        reader.feed(b"more")
        assert not reader.busy
        assert reader.read() is None
        reader.feed_eof()


@pytest.mark.parametrize(("keys", "settings"), SETTINGS)
def test_end_inside_a_message_is_an_error_everywhere(
    keys: tuple[bytes, ...], settings: dict[str, Any]
) -> None:
    codec = stream_codec(*keys, **settings)
    data = codec.encode(PushPull(True, NODES[:1], b"\x02\x80").encode(), dialer=True)
    for size in range(len(data)):
        reader = StreamReader(codec, dialer=False)
        assert read_all(reader, [data[:size]]) is None
        assert not reader.busy
        with pytest.raises(WireError, match="ends inside a message") as caught:
            reader.feed_eof()
        assert caught.value.offset == size
        assert reader.error_reply(caught.value) is None


@pytest.mark.parametrize(("keys", "wrap"), [((KEY,), False), ((), True), ((KEY,), True)])
def test_wrapped_message_that_is_incomplete_is_refused(keys: tuple[bytes, ...], wrap: bool) -> None:
    codec = stream_codec(*keys, compress=wrap)
    cut = STATE.encode()[:-1]
    error = refusal(StreamReader(codec, dialer=False), codec.encode(cut, dialer=True))
    assert "ends inside a message" in str(error)


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 7, 9, 10, 11, 12, 14, 244])
def test_type_that_is_no_message_of_a_stream_is_refused(kind: int) -> None:
    inner = bytes((kind,)) + b"\x80"
    packed = b"\x09" + pack({"Algo": 0, "Buf": compress(inner)})
    assert str(kind) in str(refusal(StreamReader(stream_codec(), dialer=False), packed))


def test_unknown_fields_in_header_and_nodes_are_passed_over() -> None:
    header = pack({"Join": True, "New": [1, {"a": 2}], "Nodes": 1, "UserStateLen": 0})
    node = pack({"Addr": ADDR, "Name": "b", "Newer": None, "Port": 1})
    message = read_all(StreamReader(stream_codec(), dialer=False), [b"\x06" + header + node])
    assert message == PushPull(True, [PushPullNode("b", ADDR, 1, b"", 0, 0, b"")], b"")


def test_records_beyond_our_limits_are_left_out_and_counted() -> None:
    def node(name: str, meta: bytes) -> PushPullNode:
        return PushPullNode(name, ADDR, 7946, meta, 1, 0, bytes(6))

    good = [node("x" * NAME_MAX, b""), node("b", bytes(META_MAX))]
    bad = [node("x" * (NAME_MAX + 1), b""), node("c", bytes(META_MAX + 1)), node("", b"")]
    data = PushPull(True, [bad[0], good[0], bad[1], good[1], bad[2]], b"").encode()

    message = read_all(StreamReader(stream_codec(), dialer=False), [data])

    assert isinstance(message, PushPull)
    assert message.nodes == good
    assert message.skipped == 3


def test_damaged_record_refuses_the_state_and_names_its_place() -> None:
    first = NODES[0].encode()
    header = b"\x06" + pack({"Join": True, "Nodes": 2, "UserStateLen": 0})
    second = pack({"Name": "b", "State": 4})
    error = refusal(StreamReader(stream_codec(), dialer=False), header + first + second)
    assert str(error) == "pushPull: State: 4 is not an integer of 0 to 3"
    assert error.offset == len(header) + len(first)


def test_h6_large_plain_state_is_read_in_slices() -> None:
    state = PushPull(False, NODES * 60, bytes(1_000_000))
    reader = StreamReader(stream_codec(), dialer=False)
    reader.feed(state.encode())
    calls, message = 0, None
    while message is None:
        assert reader.busy
        message = reader.read()
        calls += 1
    assert message == state
    assert calls >= len(state.encode()) // STREAM_SLICE


def test_h6_large_compressed_state_is_read_in_slices_with_bounded_memory() -> None:
    zeros = 20 * 2**20
    header = b"\x06" + pack({"Join": False, "Nodes": 0, "UserStateLen": zeros})
    data = b"\x09" + pack({"Algo": 0, "Buf": lzw_zeros(header, zeros)})
    reader = StreamReader(stream_codec(), dialer=False)
    reader.feed(data)
    calls, message = 0, None
    while message is None:
        assert reader.busy
        message = reader.read()
        calls += 1
    assert isinstance(message, PushPull)
    assert message.user_state == bytes(zeros)
    assert calls > 60  # a slice is 32 KiB and what the last codes add, up to 256 KiB


def test_r26_bomb_inside_a_user_message_costs_no_more_than_it_declares() -> None:
    header = b"\x08" + pack({"UserMsgLen": 1000})
    data = b"\x09" + pack({"Algo": 0, "Buf": lzw_zeros(header, 40 * 2**20)})
    tracemalloc.start()
    try:
        message = read_all(StreamReader(stream_codec(), dialer=False), [data])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message == UserMessage(bytes(1000))
    assert peak < 8 * 2**20


def test_r27_nothing_is_allocated_from_a_declared_length() -> None:
    cases = [
        b"\x06" + pack({"Join": True, "Nodes": 1_048_576, "UserStateLen": 20 * 2**20}),
        b"\x08" + pack({"UserMsgLen": 20 * 2**20}),
        b"\x09\x82\xa4Algo\x00\xa3Buf\xdb\x01\x00\x00\x00",
        b"\x06\x81\xa1x\xdb\x7f\xff\xff\xff",
        b"\x06\x81\xa1x\xdf\x3f\xff\xff\xff",
    ]
    for data in cases:
        tracemalloc.start()
        try:
            reader = StreamReader(stream_codec(), dialer=False)
            reader.feed(data)
            message = reader.read()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert message is None
        assert peak < 128 * 1024, data


def test_message_too_large_for_an_encrypted_stream_is_not_sent() -> None:
    codec = stream_codec(KEY)
    with pytest.raises(LimitError, match="20971549 bytes exceeds the limit of 20971520"):
        codec.encode(bytes(20 * 2**20), dialer=True)
