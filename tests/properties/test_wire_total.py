"""Any bytes give a value or WireError, and nothing else (fuzz of each entry to the wire)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import ConfigError, GossipError, WireError
from gossip.wire.address import format_address, is_usable, parse_seed
from gossip.wire.codec import pack
from gossip.wire.describe import describe_packet, describe_stream
from gossip.wire.lzw import compress, decompress
from gossip.wire.messages import decode_message
from gossip.wire.serf import decode_serf
from gossip.wire.stream import StreamReader
from gossip.wire.values import decode_coordinate, decode_filter, decode_tags
from tests import strategies as wire
from tests.wire_helpers import KEY, keys_of, packet_codec, stream_codec, vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.packet import PacketCodec

packets = st.sampled_from([bytes.fromhex(v["hex"]) for v in vectors("udp") if not v.get("key")])
streams = st.sampled_from([bytes.fromhex(v["hex"]) for v in vectors("tcp") if not v.get("key")])
sealed = st.sampled_from([v for v in vectors("udp", "tcp") if v.get("key")])
encoded_messages = wire.packet_messages.map(lambda message: message.encode())
encoded_serf = wire.serf_messages.map(lambda message: message.encode())

# msgpack in all its forms, well-formed but not what anybody sends.
anything_packed = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.binary(max_size=20),
        st.sampled_from((b"Node", b"SeqNo", b"Name", b"LTime", b"Events", b"Algo", b"Buf")),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                (
                    "Node",
                    "SeqNo",
                    "Addr",
                    "Meta",
                    "Port",
                    "LTime",
                    "Events",
                    "Payload",
                    "Nodes",
                    "UserStateLen",
                    "StatusLTimes",
                    "LeftMembers",
                    "Filters",
                    "Tags",
                    "DestAddr",
                    "Buf",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
).map(pack)


def refused(decode: Callable[..., Any], *args: Any, **settings: Any) -> GossipError | None:
    try:
        decode(*args, **settings)
    except (WireError, ConfigError) as error:
        return error
    return None


def attempt(decode: Callable[..., Any], data: bytes, **settings: Any) -> None:
    error = refused(decode, data, **settings)
    if error is not None:
        assert isinstance(error, WireError)
        assert error.layer
        assert str(error)
        # Offsets count in the layer's own input, which compression may have made longer.
        assert 0 <= error.offset <= len(data) + 64 * 1024


def attempt_packet(codec: PacketCodec, data: bytes) -> None:
    with suppress(WireError):
        for leaf in codec.decode(data):
            attempt(decode_message, leaf)
            attempt(decode_serf, leaf[1:])
            attempt(decode_serf, leaf)


def attempt_stream(reader: StreamReader, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        with suppress(WireError):
            while reader.busy:
                reader.read()
    with suppress(WireError):
        reader.feed_eof()
    assert reader.done


any_bytes = st.binary(max_size=300)
typed = st.builds(lambda kind, body: bytes((kind,)) + body, st.integers(0, 15), anything_packed)


@given(st.one_of(any_bytes, wire.damaged(packets), wire.damaged(wire.damaged(packets)), typed))
def test_packet(data: bytes) -> None:
    attempt_packet(packet_codec(), data)
    attempt_packet(packet_codec(label="prod-lbl"), data)
    attempt_packet(packet_codec(KEY, verify_incoming=False), data)
    attempt(describe_packet, data)


@given(st.one_of(any_bytes, wire.damaged(encoded_messages), typed))
def test_message(data: bytes) -> None:
    attempt(decode_message, data)


@given(st.one_of(any_bytes, wire.damaged(encoded_serf), typed))
def test_serf_message(data: bytes) -> None:
    attempt(decode_serf, data)
    attempt(describe_packet, b"\x08" + data)


@given(
    st.one_of(any_bytes, wire.damaged(streams), wire.damaged(wire.damaged(streams)), typed),
    st.integers(1, 400),
)
def test_stream(data: bytes, size: int) -> None:
    attempt_stream(StreamReader(stream_codec(), dialer=False), data, size)
    attempt_stream(StreamReader(stream_codec(label="prod-lbl"), dialer=True), data, size)
    attempt_stream(StreamReader(stream_codec(KEY), dialer=False), data, size)
    attempt(describe_stream, data)


@given(typed, st.booleans())
def test_content_of_authentic_streams_and_packets(inner: bytes, compressed: bool) -> None:
    codec = stream_codec(KEY, compress=compressed)
    attempt_stream(StreamReader(codec, dialer=True), codec.encode(inner, dialer=False), 1 << 16)
    (packet,) = packet_codec(KEY, compress=compressed).encode([inner])
    attempt_packet(packet_codec(KEY), packet)


@given(sealed, st.integers(0, 2**16), st.binary(min_size=1, max_size=4))
def test_damaged_encrypted_traffic(recorded: dict[str, Any], at: int, new: bytes) -> None:
    data = bytes.fromhex(recorded["hex"])
    at %= len(data)
    data = data[:at] + new + data[at + len(new) :]
    keys, label = keys_of(recorded), recorded.get("label", "")
    attempt(describe_packet, data, keys=keys, label=label)
    attempt(describe_stream, data, keys=keys, label=label)


@given(
    st.one_of(
        any_bytes,
        wire.damaged(st.binary(max_size=200).map(compress)),
        st.lists(st.sampled_from((256, 257, 258, 511, 65)), max_size=60).map(
            lambda codes: sum(code << 9 * i for i, code in enumerate(codes)).to_bytes(80, "little")
        ),
    )
)
def test_lzw(data: bytes) -> None:
    error = refused(decompress, data, 1000)
    if error is None:
        assert len(decompress(data, 1000)) <= 1000
    else:
        assert isinstance(error, WireError)
        assert error.layer == "compress"
        assert 0 <= error.offset <= len(data)


@given(st.one_of(any_bytes, anything_packed, anything_packed.map(lambda body: b"\xff" + body)))
def test_values(data: bytes) -> None:
    for decode in (decode_tags, decode_filter, decode_coordinate):
        for kind in (b"", b"\x00", b"\x01"):
            attempt(decode, kind + data)


@given(st.binary(max_size=20), st.integers())
def test_h1_usable_addresses_are_shown_as_text(raw: bytes, port: int) -> None:
    if is_usable(raw, port):
        text, same = format_address(raw, port)
        assert same == port
        assert parse_seed(f"[{text}]:{port}" if ":" in text else f"{text}:{port}", 1)[2] == port
    else:
        attempt(lambda data: format_address(data, port), raw)


@given(st.one_of(st.text(max_size=40), st.text("[]:./%0123456789abcdef-", max_size=40)))
def test_r35_typed_address_is_parsed_or_refused(text: str) -> None:
    error = refused(parse_seed, text, 7946)
    if error is not None:
        assert repr(text) in str(error)
    else:
        _, host, port = parse_seed(text, 7946)
        assert host
        assert 1 <= port <= 65535
