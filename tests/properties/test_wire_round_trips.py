"""Whatever is encoded decodes to the same, through every layer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.wire.codec import pack
from gossip.wire.coordinate import Coordinate
from gossip.wire.keyring import Keyring
from gossip.wire.lzw import Decompressor, compress, decompress
from gossip.wire.messages import Message, UserMessage, decode_message
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import SerfMessage, StateSync, decode_serf
from gossip.wire.stream import StreamCodec, StreamReader
from gossip.wire.values import (
    NodeFilter,
    TagFilter,
    decode_coordinate,
    decode_filter,
    decode_tags,
    encode_coordinate,
    encode_tags,
)
from tests import strategies as wire
from tests.wire_helpers import numbered_nonces, read_all

settings_of_layers = st.fixed_dictionaries(
    {
        "keyring": st.lists(wire.aes_keys, max_size=3).map(Keyring),
        "label": st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255),
        "compress": st.booleans(),
    }
)


@given(wire.packet_messages)
def test_packet_message(message: Message) -> None:
    assert decode_message(message.encode()) == message


@given(wire.serf_messages)
def test_serf_message(message: SerfMessage) -> None:
    assert decode_serf(message.encode()) == message


@given(wire.states)
def test_state_in_its_ring_keeps_each_slot(state: StateSync) -> None:
    slots = {ltime % 512: (ltime, events) for ltime, events in state.events}
    decoded = decode_serf(state.encode(slots=512))
    assert isinstance(decoded, StateSync)
    assert decoded.events == [slots[index] for index in sorted(slots)]


@given(wire.tags)
def test_tags(tags: dict[str, str]) -> None:
    assert decode_tags(encode_tags(tags)) == tags


@given(st.lists(wire.texts, max_size=5), wire.texts, wire.texts)
def test_filters(names: list[str], tag: str, expr: str) -> None:
    assert decode_filter(NodeFilter(names).encode()) == NodeFilter(names)
    assert decode_filter(TagFilter(tag, expr).encode()) == TagFilter(tag, expr)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.builds(Coordinate, st.lists(finite, max_size=8).map(tuple), finite, finite, finite))
def test_coordinate(coordinate: Coordinate) -> None:
    assert decode_coordinate(encode_coordinate(coordinate)) == coordinate


@given(
    settings_of_layers,
    st.lists(wire.packet_messages, min_size=1, max_size=6),
    st.booleans(),
)
def test_packet(settings: dict[str, object], messages: list[Message], crc: bool) -> None:
    codec = PacketCodec(new_nonce=numbered_nonces(), **settings)  # type: ignore[arg-type] # drawn
    parts = [message.encode() for message in messages]

    packets = codec.encode(parts, crc=crc)

    leaves = [leaf for packet in packets for leaf in codec.decode(packet)]
    assert [decode_message(leaf) for leaf in leaves] == messages
    assert codec.dropped_parts == 0


@given(settings_of_layers, wire.stream_messages, st.booleans(), st.integers(1, 300))
def test_stream(settings: dict[str, object], message: Message, dialer: bool, size: int) -> None:
    codec = StreamCodec(new_nonce=numbered_nonces(), **settings)  # type: ignore[arg-type] # drawn
    plain = message.encode_stream() if isinstance(message, UserMessage) else message.encode()

    data = codec.encode(plain, dialer=dialer)

    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert read_all(StreamReader(codec, dialer=not dialer), pieces) == message


@given(st.one_of(st.binary(max_size=2000), st.text("ab", max_size=5000).map(str.encode)))
def test_lzw(plain: bytes) -> None:
    assert decompress(compress(plain), len(plain)) == plain


@given(
    st.lists(st.sampled_from((b"member", b"alive", b"\x00" * 50, b"\xc0", b"x")), max_size=2000),
    st.integers(1, 500),
    st.integers(1, 200),
)
def test_lzw_in_steps(words: list[bytes], max_output: int, max_input: int) -> None:
    plain = b"".join(words)
    decompressor = Decompressor(compress(plain), len(plain))
    pieces = []
    while not decompressor.finished:
        pieces.append(decompressor.step(max_output, max_input))
    assert b"".join(pieces) == plain


@given(st.binary(max_size=64))
def test_undecodable_text_keeps_its_bytes(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert pack({"n": text}) == pack({"n": data})
