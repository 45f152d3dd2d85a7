"""The layers of a packet: order, limits, what is refused and what is left out."""

from __future__ import annotations

import tracemalloc
from typing import Any
from zlib import crc32

import pytest

from gossip.errors import ConfigError, LimitError, WireError
from gossip.wire.codec import pack
from gossip.wire.limits import NESTING_MAX, PACKET_DECOMPRESSED_MAX
from gossip.wire.lzw import compress
from gossip.wire.messages import Nack, Ping, UserMessage
from tests.wire_helpers import KEY, OTHER_KEY, lzw_zeros, packet_codec

PING = Ping(1, "b", b"\x0a\x00\x00\x01", 7946, "a").encode()


def compressed(data: bytes) -> bytes:
    return b"\x09" + pack({"Algo": 0, "Buf": data})


def compound(*parts: bytes) -> bytes:
    lengths = b"".join(len(part).to_bytes(2) for part in parts)
    return bytes((7, len(parts))) + lengths + b"".join(parts)


SETTINGS: list[tuple[tuple[bytes, ...], dict[str, Any]]] = [
    ((), {}),
    ((), {"label": "prod"}),
    ((), {"compress": True}),
    ((KEY,), {}),
    ((KEY, OTHER_KEY), {"label": "x" * 255}),
    ((KEY,), {"label": "prod", "compress": True}),
]


@pytest.mark.parametrize(("keys", "settings"), SETTINGS)
@pytest.mark.parametrize("crc", [False, True])
def test_layers_are_taken_off_in_reverse_order(
    keys: tuple[bytes, ...], settings: dict[str, Any], crc: bool
) -> None:
    codec = packet_codec(*keys, **settings)
    parts = [PING, Nack(2).encode(), UserMessage(b"\x03" + b"a" * 300).encode()]

    (packet,) = codec.encode(parts, crc=crc)

    assert codec.decode(packet) == parts
    layers: list[str] = []
    codec.decode_layers(packet, layers)
    expected = [
        ("label", "label" in settings),
        ("encrypt-v1", bool(keys)),
        ("crc32", crc),
        ("compress-lzw", "compress" in settings),
        ("compound", True),
    ]
    assert layers == [name for name, present in expected if present]


@pytest.mark.parametrize(
    ("keys", "settings", "overhead"),
    [
        ((), {}, 0),
        ((), {"label": "prod"}, 6),
        ((KEY,), {}, 29),
        ((KEY,), {"label": "prod"}, 35),
        ((KEY,), {"label": "prod", "verify_outgoing": False, "verify_incoming": False}, 6),
    ],
)
def test_overhead_is_what_label_and_encryption_add(
    keys: tuple[bytes, ...], settings: dict[str, Any], overhead: int
) -> None:
    codec = packet_codec(*keys, **settings)
    (packet,) = codec.encode([PING])
    assert codec.overhead == overhead
    assert len(packet) == len(PING) + overhead


def test_overhead_follows_the_keyring() -> None:
    codec = packet_codec()
    assert codec.overhead == 0
    codec.keyring.install(KEY)
    assert codec.overhead == 29


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 1000])
def test_r29_any_number_of_messages_survives(count: int) -> None:
    codec = packet_codec()
    parts = [UserMessage(b"\x03%d" % index).encode() for index in range(count)]

    packets = codec.encode(parts)

    assert len(packets) == -(-count // 255)
    assert [leaf for packet in packets for leaf in codec.decode(packet)] == parts
    assert codec.dropped_parts == 0


@pytest.mark.parametrize(("size", "fits"), [(65_534, True), (65_535, True), (65_536, False)])
def test_r29_part_has_a_16_bit_length(size: int, fits: bool) -> None:
    codec = packet_codec()
    parts = [b"\x08" * size, PING]
    if fits:
        assert codec.decode(codec.encode(parts)[0]) == parts
    else:
        with pytest.raises(LimitError, match="65536 bytes exceeds the limit of 65535"):
            codec.encode(parts)


def test_truncated_compound_gives_what_is_there() -> None:
    codec = packet_codec()
    whole = compound(PING, PING, PING)
    assert codec.decode(whole[:-1]) == [PING, PING]
    assert codec.dropped_parts == 1
    assert codec.decode(whole[: 2 + 6 + len(PING)]) == [PING]
    assert codec.dropped_parts == 3


def test_bad_part_of_a_compound_does_not_harm_the_others() -> None:
    codec = packet_codec()
    damaged = compressed(compress(PING)[:-2])
    assert codec.decode(compound(PING, damaged, b"", b"\x07", PING)) == [PING, PING]
    assert codec.dropped_parts == 3


def test_compression_is_used_when_it_is_smaller_only() -> None:
    codec = packet_codec(compress=True)
    assert codec.encode([PING]) == [PING]
    long = UserMessage(b"\x03" + b"a" * 200).encode()
    (packet,) = codec.encode([long])
    assert packet[0] == 9
    assert len(packet) < len(long)


def test_compression_is_read_though_it_is_off() -> None:
    assert packet_codec().decode(compressed(compress(PING))) == [PING]


def test_checksum_needs_five_bytes_and_stands_once() -> None:
    codec = packet_codec()
    assert codec.decode(b"\x0c123") == [b"\x0c123"]  # a message of an invalid type
    inner = b"\x0c" + crc32(PING).to_bytes(4) + PING
    outer = b"\x0c" + crc32(inner).to_bytes(4) + inner
    assert codec.decode(outer) == [inner]


@pytest.mark.parametrize("depth", range(1, NESTING_MAX + 3))
def test_wrappers_are_nested_to_a_bounded_depth(depth: int) -> None:
    packet = PING
    for level in range(depth):
        packet = compressed(compress(packet)) if level % 2 else compound(packet)
    codec = packet_codec()
    fits = depth <= NESTING_MAX
    if fits:
        assert codec.decode(packet) == [PING]
    elif depth % 2:  # a compound outside: its part is dropped
        assert codec.decode(packet) == []
        assert codec.dropped_parts == 1
    else:  # compression outside, whose content is a compound with a part too deep
        assert codec.decode(packet) == []
        assert codec.dropped_parts == 1


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_r26_packet_expands_to_64_kib_and_not_a_byte_more(extra: int) -> None:
    message = b"\x08" + b"a" * (PACKET_DECOMPRESSED_MAX - 1 + extra)
    packet = compressed(compress(message))
    if extra <= 0:
        assert packet_codec().decode(packet) == [message]
    else:
        with pytest.raises(WireError, match="limit of 65536 bytes"):
            packet_codec().decode(packet)


def test_r26_parts_share_the_limit_of_their_packet() -> None:
    half = b"\x08" + b"a" * (PACKET_DECOMPRESSED_MAX // 2 - 1)
    part = compressed(compress(half))
    codec = packet_codec()
    assert codec.decode(compound(part, part, part)) == [half, half]
    assert codec.dropped_parts == 1


def test_r26_failed_bombs_use_up_the_limit() -> None:
    bomb = compressed(lzw_zeros(b"\x08", 2_000_000))
    small = compressed(compress(PING))
    codec = packet_codec()
    tracemalloc.start()
    try:
        assert codec.decode(compound(*[bomb] * 10, small, PING)) == [PING]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codec.dropped_parts == 11
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("ours", "theirs"), [("", "a"), ("a", ""), ("a", "b"), ("a", "aa"), ("aa", "a")]
)
def test_r24_other_label_is_refused(ours: str, theirs: str) -> None:
    (packet,) = packet_codec(label=theirs).encode([PING])
    with pytest.raises(WireError) as refusal:
        packet_codec(label=ours).decode(packet)
    assert refusal.value.layer == "label"
    assert repr(ours.encode()) in str(refusal.value)


def test_label_is_authenticated_when_encrypted() -> None:
    (packet,) = packet_codec(KEY, label="aa").encode([PING])
    relabelled = packet.replace(b"aa", b"bb", 1)
    with pytest.raises(WireError, match="decrypt"):
        packet_codec(KEY, label="bb").decode(relabelled)


def test_behind_a_proxy_a_label_is_refused_and_missing_ones_count_as_ours() -> None:
    behind = packet_codec(KEY, label="prod", skip_inbound_label_check=True)
    (packet,) = packet_codec(KEY, label="prod").encode([PING])
    assert behind.decode(packet[6:]) == [PING]
    with pytest.raises(WireError, match="unexpected"):
        behind.decode(packet)


def test_label_of_255_bytes_is_the_longest() -> None:
    assert packet_codec(label="é" * 127).label_header[1] == 254
    with pytest.raises(ConfigError, match="256 bytes exceeds the limit of 255"):
        packet_codec(label="é" * 128)


def test_r49_plain_packets_are_refused_unless_verification_is_off() -> None:
    (plain,) = packet_codec().encode([PING])
    with pytest.raises(WireError) as refusal:
        packet_codec(KEY).decode(plain)
    assert refusal.value.layer == "encrypt"

    rolling_out = packet_codec(KEY, verify_incoming=False, verify_outgoing=False)
    assert rolling_out.decode(plain) == [PING]
    assert rolling_out.encode([PING]) == [plain]
    (sealed,) = packet_codec(KEY).encode([PING])
    assert rolling_out.decode(sealed) == [PING]


def test_each_packet_has_its_own_nonce() -> None:
    codec = packet_codec(KEY)
    packets = codec.encode([PING] * 600)
    assert len({packet[1:13] for packet in packets}) == len(packets) == 3


def test_any_installed_key_opens_a_packet() -> None:
    (packet,) = packet_codec(OTHER_KEY).encode([PING])
    assert packet_codec(KEY, OTHER_KEY).decode(packet) == [PING]
    with pytest.raises(WireError, match="No installed keys"):
        packet_codec(KEY).decode(packet)
