"""Recorded traffic of genuine Serf agents: decodes to what it said, re-encodes to the same bytes."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.wire import lzw
from gossip.wire.describe import describe_packet, describe_stream
from gossip.wire.keyring import Keyring
from gossip.wire.messages import PushPull, UserMessage, decode_message
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import QueryResponse, StateSync, decode_serf
from gossip.wire.stream import StreamReader
from gossip.wire.values import (
    decode_coordinate,
    decode_filter,
    decode_tags,
    encode_coordinate,
    encode_tags,
)
from tests.wire_helpers import keys_of, packet_codec, read_all, stream_codec, vectors

GO = "serf 0.9.4"


def ids(recorded: dict[str, Any]) -> str:
    return str(recorded["name"])


def from_serf_094(*transports: str) -> list[dict[str, Any]]:
    return [v for v in vectors(*transports) if v["origin"].startswith(GO)]


def read_stream(recorded: dict[str, Any], pieces: list[bytes]) -> Any:
    codec = stream_codec(*keys_of(recorded), label=recorded.get("label", ""))
    labelled = "label" in recorded["decoded"]["layers"]
    return read_all(StreamReader(codec, dialer=not labelled), pieces)


@pytest.mark.parametrize("recorded", vectors("udp"), ids=ids)
def test_packet_decodes_to_what_was_recorded(recorded: dict[str, Any]) -> None:
    described = describe_packet(
        bytes.fromhex(recorded["hex"]), keys=keys_of(recorded), label=recorded.get("label", "")
    )
    assert described == recorded["decoded"]


@pytest.mark.parametrize("recorded", vectors("tcp"), ids=ids)
def test_stream_decodes_to_what_was_recorded(recorded: dict[str, Any]) -> None:
    described = describe_stream(
        bytes.fromhex(recorded["hex"]), keys=keys_of(recorded), label=recorded.get("label", "")
    )
    assert described == recorded["decoded"]


@pytest.mark.parametrize("recorded", vectors("lzw"), ids=ids)
def test_lzw_agrees_with_go_both_ways(recorded: dict[str, Any]) -> None:
    packed, plain = bytes.fromhex(recorded["hex"]), bytes.fromhex(recorded["decoded"]["hex"])

    assert lzw.decompress(packed, len(plain)) == plain
    assert lzw.compress(plain) == packed


@pytest.mark.parametrize("recorded", from_serf_094("udp"), ids=ids)
def test_packet_messages_of_serf_encode_to_the_same_bytes(recorded: dict[str, Any]) -> None:
    leaves = packet_codec(*keys_of(recorded)).decode(bytes.fromhex(recorded["hex"]))
    for leaf in leaves:
        message = decode_message(leaf)
        assert message.encode() == leaf
        if isinstance(message, UserMessage):
            serf = decode_serf(message.payload)
            assert serf.encode() == message.payload
            if isinstance(serf, QueryResponse) and serf.payload:
                assert decode_serf(serf.payload).encode() == serf.payload
            for item in getattr(serf, "filters", []):
                assert decode_filter(item).encode() == item
        if meta := getattr(message, "meta", b""):
            assert encode_tags(decode_tags(meta)) == meta
        if payload := getattr(message, "payload", b"") if leaf[0] == 2 else b"":
            coordinate = decode_coordinate(payload)
            assert coordinate is not None
            assert encode_coordinate(coordinate) == payload


@pytest.mark.parametrize("recorded", from_serf_094("udp"), ids=ids)
def test_packet_of_serf_is_rebuilt_layer_by_layer(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])
    layers = recorded["decoded"]["layers"]
    encrypted = layers[:1] == ["encrypt-v1"]
    codec = PacketCodec(
        keyring=Keyring(keys_of(recorded)),
        compress="compress-lzw" in layers,
        new_nonce=lambda: data[1:13],
    )
    assert encrypted == bool(recorded.get("key"))

    assert codec.encode(codec.decode(data), crc="crc32" in layers) == [data]


@pytest.mark.parametrize("recorded", vectors("tcp"), ids=ids)
def test_stream_read_byte_by_byte_gives_the_same_message(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])

    whole = read_stream(recorded, [data])
    pieces = read_stream(recorded, [data[i : i + 1] for i in range(len(data))])

    assert whole is not None
    assert pieces == whole


@pytest.mark.parametrize("recorded", from_serf_094("tcp"), ids=ids)
def test_stream_of_serf_is_rebuilt_from_its_message(recorded: dict[str, Any]) -> None:
    data = bytes.fromhex(recorded["hex"])
    codec = stream_codec(
        *keys_of(recorded), compress="compress-lzw" in recorded["decoded"]["layers"]
    )
    codec.new_nonce = lambda: data[6:18]
    message = read_stream(recorded, [data])
    if isinstance(message, PushPull):
        state = decode_serf(message.user_state)
        assert isinstance(state, StateSync)
        assert state.encode(slots=512) == message.user_state

    assert codec.encode(message.encode(), dialer=True) == data


def test_encryption_version_0_is_reproduced_with_its_nonce() -> None:
    (recorded,) = (v for v in vectors("udp") if v["name"] == "ping_encrypted_v0_pkcs7")
    data = bytes.fromhex(recorded["hex"])
    keyring = Keyring(keys_of(recorded))

    plain = keyring.decrypt(data, b"")

    assert keyring.encrypt(plain, b"", data[1:13], version=0) == data


@pytest.mark.parametrize(
    "name", ["head_label_encrypted_ping", "head_label_encrypted_push_pull_dialer"]
)
def test_label_of_newer_agents_is_authenticated_data(name: str) -> None:
    (recorded,) = (v for v in vectors("udp", "tcp") if v["name"] == name)
    data = bytes.fromhex(recorded["hex"])
    header = data[: 2 + data[1]]
    body = data[len(header) :]
    aad = (body[:5] if recorded["transport"] == "tcp" else b"") + header[2:]
    sealed = body[5:] if recorded["transport"] == "tcp" else body
    keyring = Keyring(keys_of(recorded))

    plain = keyring.decrypt(sealed, aad)

    assert keyring.encrypt(plain, aad, sealed[1:13]) == sealed


def test_signed_integers_of_newer_agents_are_read_and_written_unsigned() -> None:
    (recorded,) = (v for v in vectors("udp") if v["name"] == "head_query_timeout_signed_int")
    (leaf,) = packet_codec().decode(bytes.fromhex(recorded["hex"]))
    message = decode_message(leaf)
    assert isinstance(message, UserMessage)

    again = decode_serf(message.payload).encode()

    assert b"Timeout\xd2" in message.payload
    assert b"Timeout\xce" in again
    assert decode_serf(again) == decode_serf(message.payload)


def test_vectors_hold_every_kind() -> None:
    assert len(vectors("udp")) == 33
    assert len(vectors("tcp")) == 10
    assert len(vectors("lzw")) == 5
