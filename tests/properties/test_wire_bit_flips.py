"""R-36: with a checksum or encryption no packet with a flipped bit is taken for another message."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from gossip.errors import WireError
from gossip.wire.messages import Alive, Dead, Message, Ping, Suspect, UserMessage, decode_message
from gossip.wire.serf import JoinIntent, UserEvent, decode_serf
from tests.wire_helpers import KEY, packet_codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossip.wire.packet import PacketCodec


def random_message(random: Random) -> Message:
    name = f"node-{random.randrange(1000)}"
    match random.randrange(6):
        case 0:
            return Ping(random.randrange(2**32), name)
        case 1:
            return Suspect(random.randrange(100), name, "a")
        case 2:
            return Dead(random.randrange(100), name, "a")
        case 3:
            return Alive(1, name, random.randbytes(4), 7946, b"\xff\x80", bytes((1, 5, 2, 2, 5, 5)))
        case 4:
            return UserMessage(JoinIntent(random.randrange(2**40), name).encode())
        case _:
            return UserMessage(UserEvent(random.randrange(2**40), "deploy", b"x", True).encode())


def flips(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def accepted(codec: PacketCodec, data: bytes) -> list[Any]:
    """What a receiver would act on: messages that decode down to Serf's."""
    try:
        messages = [decode_message(leaf) for leaf in codec.decode(data)]
        return [
            decode_serf(message.payload) if isinstance(message, UserMessage) else message
            for message in messages
        ]
    except WireError:
        return []


def wrongly_accepted(codec: PacketCodec, count: int, *, crc: bool) -> list[str]:
    random = Random(36)
    found: list[str] = []
    for _ in range(count):
        messages = [random_message(random).encode() for _ in range(random.choice((1, 1, 2)))]
        (packet,) = codec.encode(messages, crc=crc)
        original = accepted(codec, packet)
        assert len(original) == len(messages)
        found += [
            flipped.hex()
            for flipped in flips(packet)
            if any(message not in original for message in accepted(codec, flipped))
        ]
    return found


def test_r36_flipped_bit_behind_a_checksum_is_refused() -> None:
    assert wrongly_accepted(packet_codec(), 1000, crc=True) == []


@pytest.mark.parametrize("settings", [{}, {"label": "prod"}])
def test_r36_flipped_bit_under_encryption_is_refused(settings: dict[str, Any]) -> None:
    assert wrongly_accepted(packet_codec(KEY, **settings), 100, crc=False) == []


def test_without_checksum_flipped_bits_do_get_through() -> None:
    assert wrongly_accepted(packet_codec(), 5, crc=False) != []
