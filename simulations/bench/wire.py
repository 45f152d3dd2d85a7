"""What the wire costs: encoding, decoding, layers, compression.

Run ``python -m simulations.bench.wire``; ``--help`` lists the options.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from gossip.wire.coordinate import Coordinate
from gossip.wire.keyring import Keyring
from gossip.wire.lzw import compress, decompress
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    decode_message,
)
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import (
    JoinIntent,
    Query,
    QueryResponse,
    StateSync,
    UserEvent,
    decode_serf,
)
from gossip.wire.stream import StreamCodec, StreamReader
from gossip.wire.values import encode_coordinate, encode_tags
from simulations.bench.timing import Case, main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossip.wire.messages import Message
    from gossip.wire.serf import SerfMessage

ADDR = b"\x0a\x00\x00\x01"
VERSIONS = bytes((1, 5, 2, 2, 5, 5))
META = encode_tags({"role": "web", "dc": "eu-1"})
COORDINATE = encode_coordinate(Coordinate((1e-5,) * 8, 0.5, 1e-6, 1e-5))

MESSAGES: dict[str, Message] = {
    "ping": Ping(1234, "node-b", ADDR, 7946, "node-a"),
    "indirect ping": IndirectPing(
        1234,
        ADDR,
        7946,
        "node-b",
        nack=True,
        source_addr=ADDR,
        source_port=7946,
        source_node="node-a",
    ),
    "ack with coordinate": Ack(1234, COORDINATE),
    "suspect": Suspect(3, "node-b", "node-a"),
    "dead": Dead(3, "node-b", "node-a"),
    "alive": Alive(3, "node-b", ADDR, 7946, META, VERSIONS),
}
SERF_MESSAGES: dict[str, SerfMessage] = {
    "join intent": JoinIntent(17, "node-b"),
    "user event": UserEvent(17, "deploy", b"version 42", coalesce=True),
    "query": Query(17, 99, ADDR, 7946, "node-a", [], 1, 0, 3_200_000_000, "uptime", b""),
    "query response": QueryResponse(17, 99, "node-b", 0, b"up 3 days"),
}


def state_of(members: int) -> bytes:
    """A push/pull as a pool of so many members sends it."""
    names = [f"node-{index}" for index in range(members)]
    nodes = [PushPullNode(name, ADDR, 7946, META, 1, 0, VERSIONS) for name in names]
    events = [(index, [("deploy", b"version 42")]) for index in range(100)]
    serf = StateSync(9, dict.fromkeys(names, 5), [], 9, events, 9)
    return PushPull(join=False, nodes=nodes, user_state=serf.encode(slots=512)).encode()


def read_stream(codec: StreamCodec, data: bytes) -> Message:
    """Read a stream that has arrived whole, to its end."""
    reader = StreamReader(codec, dialer=True)
    reader.feed(data)
    while True:
        message = reader.read()
        if message is not None:
            return message


def nonces() -> Callable[[], bytes]:
    """Nonces that cost nothing to make."""
    numbers = count()
    return lambda: next(numbers).to_bytes(12)


def message_cases() -> Iterator[Case]:
    """Encoding and decoding of single messages."""
    for name, message in MESSAGES.items():
        data = message.encode()
        yield Case(f"encode {name}", message.encode, len(data))
        yield Case(f"decode {name}", partial(decode_message, data), len(data))
    for name, serf in SERF_MESSAGES.items():
        data = serf.encode()
        yield Case(f"encode {name}", serf.encode, len(data))
        yield Case(f"decode {name}", partial(decode_serf, data), len(data))


def packet_cases() -> Iterator[Case]:
    """The layers of packets: one message, and a gossip packet as full as it gets."""
    ping = MESSAGES["ping"].encode()
    gossip = [MESSAGES["alive"].encode()] * 11
    keys = [bytes(16)]
    three = [bytes([index]) * 16 for index in (1, 2, 0)]
    codecs = {
        "plain": PacketCodec(new_nonce=nonces()),
        "labelled": PacketCodec(label="prod", new_nonce=nonces()),
        "encrypted": PacketCodec(keyring=Keyring(keys), new_nonce=nonces()),
    }
    for name, codec in codecs.items():
        for what, parts in (("one ping", [ping]), ("11 alives", gossip)):
            (data,) = codec.encode(parts)
            yield Case(f"wrap {what}, {name}", partial(codec.encode, parts), len(data))
            yield Case(f"unwrap {what}, {name}", partial(codec.decode, data), len(data))
    plain = codecs["plain"]
    (data,) = plain.encode(gossip, crc=True)
    yield Case("wrap 11 alives, crc", partial(plain.encode, gossip, crc=True), len(data))
    yield Case("unwrap 11 alives, crc", partial(plain.decode, data), len(data))
    (data,) = codecs["encrypted"].encode([ping])
    last_of_three = PacketCodec(keyring=Keyring(three), new_nonce=nonces())
    yield Case("unwrap one ping, third of 3 keys", partial(last_of_three.decode, data), len(data))
    packing = PacketCodec(compress=True, new_nonce=nonces())
    (data,) = packing.encode(gossip)
    yield Case("wrap 11 alives, compressed", partial(packing.encode, gossip), len(data))
    yield Case("unwrap 11 alives, compressed", partial(packing.decode, data), len(data))


def stream_cases() -> Iterator[Case]:
    """Push/pull of small and large pools."""
    codec = StreamCodec(new_nonce=nonces())
    sealed = StreamCodec(keyring=Keyring([bytes(16)]), new_nonce=nonces())
    packing = StreamCodec(compress=True, new_nonce=nonces())
    for members in (10, 1000):
        data = state_of(members)
        label = f"push/pull of {members}"
        yield Case(f"read {label}", partial(read_stream, codec, data), len(data))
        encrypted = sealed.encode(data, dialer=False)
        yield Case(
            f"read {label}, encrypted", partial(read_stream, sealed, encrypted), len(encrypted)
        )
        packed = packing.encode(data, dialer=False)
        yield Case(f"read {label}, compressed", partial(read_stream, codec, packed), len(data))
        message = read_stream(codec, data)
        assert isinstance(message, PushPull)  # noqa: S101 - it was encoded above
        yield Case(f"encode {label}", message.encode, len(data))
        yield Case(f"decode serf state of {members}", partial(decode_serf, message.user_state))


def lzw_cases() -> Iterator[Case]:
    """Compression by itself; sizes are those of the plain side."""
    inputs = {
        "gossip packet": b"".join(m.encode() for m in MESSAGES.values())[:1400],
        "state of 1000": state_of(1000),
        "64 KiB random": Random(1).randbytes(65_536),
    }
    for name, plain in inputs.items():
        packed = compress(plain)
        yield Case(f"lzw compress {name}", partial(compress, plain), len(plain))
        yield Case(f"lzw decompress {name}", partial(decompress, packed, len(plain)), len(plain))


def cases() -> Iterator[Case]:
    """All that is measured."""
    yield from message_cases()
    yield from packet_cases()
    yield from stream_cases()
    yield from lzw_cases()


if __name__ == "__main__":
    sys.exit(main("Measure what the wire costs, in ns per operation.", cases))
