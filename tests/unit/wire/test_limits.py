"""R-27: each declared size at its limit, around it, negative and absurd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gossip.errors import WireError
from gossip.wire import limits
from gossip.wire.codec import pack
from gossip.wire.stream import StreamReader
from tests.wire_helpers import KEY, stream_codec

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1024, 1024 * 1024


def push_pull(nodes: int = 0, user_state: int = 0) -> bytes:
    return b"\x06" + pack({"Join": False, "Nodes": nodes, "UserStateLen": user_state})


def user_message(size: int) -> bytes:
    return b"\x08" + pack({"UserMsgLen": size})


DECLARED: dict[str, tuple[Callable[[int], bytes], int]] = {
    "nodes": (lambda size: push_pull(nodes=size), limits.PUSH_PULL_NODES_MAX),
    "user state": (lambda size: push_pull(user_state=size), limits.USER_STATE_MAX),
    "user message": (user_message, limits.USER_MESSAGE_MAX),
}


def test_limits_are_those_of_the_protocol() -> None:
    assert limits.PACKET_DECOMPRESSED_MAX == 64 * KIB
    assert limits.STREAM_DECOMPRESSED_MAX == 40 * MIB
    assert limits.PUSH_PULL_NODES_MAX == 1_048_576
    assert limits.USER_STATE_MAX == 20 * MIB
    assert limits.USER_MESSAGE_MAX == 20 * MIB
    assert limits.ENCRYPTED_STREAM_MAX == 20 * MIB
    assert limits.NESTING_MAX == 4
    assert limits.META_MAX == 512


@pytest.mark.parametrize("what", DECLARED)
@pytest.mark.parametrize("delta", [-1, 0])
def test_r27_declared_size_within_the_limit_waits_for_the_data(what: str, delta: int) -> None:
    declare, limit = DECLARED[what]
    reader = StreamReader(stream_codec(), dialer=False)
    reader.feed(declare(limit + delta))
    assert reader.read() is None
    assert not reader.done


@pytest.mark.parametrize("what", DECLARED)
@pytest.mark.parametrize("size", [None, -1, -(2**63), 2**31, 2**32, 2**63, 2**64 - 1])
def test_r27_declared_size_beyond_the_limit_is_refused_at_once(what: str, size: int | None) -> None:
    declare, limit = DECLARED[what]
    reader = StreamReader(stream_codec(), dialer=False)
    reader.feed(declare(limit + 1 if size is None else size))
    with pytest.raises(WireError, match=f"is not an integer of 0 to {limit}"):
        reader.read()


@pytest.mark.parametrize(
    ("length", "fits"),
    [
        (limits.ENCRYPTED_STREAM_MAX - 1, True),
        (limits.ENCRYPTED_STREAM_MAX, True),
        (limits.ENCRYPTED_STREAM_MAX + 1, False),
        (2**31, False),
        (2**32 - 1, False),
    ],
)
def test_r27_length_of_an_encrypted_stream_is_bounded(length: int, fits: bool) -> None:
    reader = StreamReader(stream_codec(KEY), dialer=False)
    reader.feed(b"\x0a" + length.to_bytes(4))
    if fits:
        assert reader.read() is None
    else:
        with pytest.raises(WireError, match=f"larger than limit .{length} of 20971520"):
            reader.read()


def test_r27_largest_encrypted_stream_is_read() -> None:
    codec = stream_codec(KEY)
    size = limits.ENCRYPTED_STREAM_MAX - 29
    header = user_message(size - 20)
    message = header + bytes(size - len(header))
    reader = StreamReader(codec, dialer=False)
    reader.feed(codec.encode(message, dialer=True))
    while not reader.done:
        assert reader.busy
        reader.read()


@pytest.mark.parametrize(("extra", "fits"), [(-1, True), (0, True), (1, False)])
def test_r27_compressed_bytes_of_a_stream_are_bounded(extra: int, fits: bool) -> None:
    size = limits.STREAM_COMPRESSED_MAX + extra
    reader = StreamReader(stream_codec(), dialer=False)
    # Data that fails as LZW only once it is looked at: two codes past the table.
    reader.feed(b"\x09" + pack({"Algo": 0, "Buf": b"\xff" * size}))
    expected = "compressed data has the code" if fits else "exceed the limit of 20971520"
    with pytest.raises(WireError, match=expected):
        _drain(reader)


@pytest.mark.parametrize(("extra", "fits"), [(-1, True), (0, True), (1, False)])
def test_r27_one_record_of_a_stream_is_bounded(extra: int, fits: bool) -> None:
    empty = pack({"Join": False, "x": b"x" * 40_000})
    padding = limits.RECORD_MAX - len(empty) + 40_000 + extra
    record = pack({"Join": False, "x": b"x" * padding})
    assert len(record) == limits.RECORD_MAX + extra
    reader = StreamReader(stream_codec(), dialer=False)
    reader.feed(b"\x06" + record)
    if fits:
        _drain(reader)
        assert reader.done
    else:
        with pytest.raises(WireError, match="longer than 65536 bytes"):
            _drain(reader)


def _drain(reader: StreamReader) -> None:
    while reader.busy:
        reader.read()
