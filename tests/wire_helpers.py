"""What several tests of the wire need: recorded vectors, codecs, hand-made LZW data."""

from __future__ import annotations

import json
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossip.wire.keyring import Keyring
from gossip.wire.packet import PacketCodec
from gossip.wire.stream import StreamCodec, StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossip.wire.messages import Message

DATA = Path(__file__).parent / "data"
KEY = bytes(range(32))
OTHER_KEY = bytes(range(100, 116))


@cache
def vectors(*transports: str) -> list[dict[str, Any]]:
    """Recorded traffic of genuine agents, of the given kinds."""
    every: list[dict[str, Any]] = json.loads((DATA / "vectors.json").read_text())
    return [vector for vector in every if vector["transport"] in transports]


def vector(name: str) -> dict[str, Any]:
    return next(v for v in vectors("udp", "tcp", "lzw") if v["name"] == name)


def keys_of(recorded: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(recorded["key"])] if recorded.get("key") else []


def numbered_nonces() -> Any:
    """A nonce source that never repeats and is the same in each run."""
    numbers = count(1)
    return lambda: next(numbers).to_bytes(12)


def packet_codec(*keys: bytes, **settings: Any) -> PacketCodec:
    return PacketCodec(keyring=Keyring(keys), new_nonce=numbered_nonces(), **settings)


def stream_codec(*keys: bytes, **settings: Any) -> StreamCodec:
    return StreamCodec(keyring=Keyring(keys), new_nonce=numbered_nonces(), **settings)


def read_all(reader: StreamReader, pieces: Iterable[bytes]) -> Message | None:
    """Feed a reader piece by piece as a driver does; gives the message once it is complete."""
    for piece in pieces:
        reader.feed(piece)
        while True:
            message = reader.read()
            if message is not None:
                return message
            if not reader.busy:
                break
    return None


def lzw_zeros(prefix: bytes, zeros: int) -> bytes:
    """Compress a prefix and at least so many zero bytes, without doing that work per byte.

    Each code after a clear stands for one zero more than the one before it.
    """
    bits, bit_count, size = 0, 0, 0

    def emit(code: int) -> None:
        nonlocal bits, bit_count
        width = max(9, min(12, size.bit_length()))
        bits |= code << bit_count
        bit_count += width

    size = 257
    emit(256)
    for byte in prefix:
        emit(byte)
        size += 1
    emit(256)
    size, length = 257, 0
    while zeros > 0:
        if size == 4095:
            emit(256)
            size, length = 257, 0
        emit(size if length else 0)
        length += 1
        zeros -= length
        size += 1
    emit(257)
    return bits.to_bytes((bit_count + 7) // 8, "little")
