"""The entries that are fuzzed, F1 to F7 of reliability.md: everything that reads what others wrote.

Entries of a node are those of a whole node that lives on while it is fed, so that what an input leaves
behind meets the next one; after `LIFE` inputs another node takes its place.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from gossip.config import Config
from gossip.errors import WireError
from gossip.events import MemberFailed, MemberJoined, MemberStatus
from gossip.serf.coordinates import ORIGIN
from gossip.serf.members import describe_member
from gossip.serf.node import Node
from gossip.serf.snapshot import Snapshot
from gossip.swim.members import NodeInfo
from gossip.swim.membership import own_versions
from gossip.wire.address import parse_ip
from gossip.wire.keyring import Keyring
from gossip.wire.lzw import compress, decompress
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Nack,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    UserMessage,
    decode_message,
)
from gossip.wire.packet import LayerSettings, PacketCodec
from gossip.wire.serf import (
    JoinIntent,
    KeyRequest,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    StateSync,
    UserEvent,
    decode_serf,
    encode_tags,
)
from gossip.wire.stream import StreamCodec
from gossip.wire.values import (
    NodeFilter,
    TagFilter,
    decode_coordinate,
    decode_filter,
    decode_tags,
    encode_coordinate,
)
from simulations.fuzz import Target

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAMES", "targets"]

NAMES = ("packet", "compound", "message", "lzw", "sealed", "stream", "snapshot")
"""F1 to F7."""

LIFE = 500
"""Inputs that one node lives through."""
STEP = 0.003
"""Seconds that pass for it between two of them."""
KEY = b"a key of 16 byte"
LABEL = "east"
EXPANDED = 64 * 1024
OURS, FIRST, SECOND = parse_ip("10.0.0.1"), parse_ip("10.0.0.2"), parse_ip("10.0.0.3")
PORT = 7946
VSN = own_versions(5)
META = encode_tags({"role": "web", "dc": "east"})
SOURCE = ("10.0.0.2", PORT)


class Mark:
    """A node that is fed; two members are known to it.

    Args:
        encrypted: it has a key.
        label: of its pool.
    """

    def __init__(self, *, encrypted: bool = False, label: str = "") -> None:
        self._encrypted = encrypted
        self._label = label
        self._fed = 0
        self._begin()

    def _begin(self) -> None:
        rng = Random(1)
        self.now = 1000.0
        self.node = Node(
            Config.lan("me", label=self._label), OURS, PORT, rng=rng,
            new_nonce=lambda: rng.randbytes(12), now=self.now,
            keyring=Keyring([KEY]) if self._encrypted else None,
        )  # fmt: skip
        for name, addr in (("ann", FIRST), ("bob", SECOND)):
            alive = Alive(1, name, addr, PORT, META, VSN)
            self.node.membership.handle_alive(alive, None, self.now)

    def packet(self, data: bytes) -> bool:
        """Have it receive a packet; tells whether any of it was refused."""
        before = self._pass()
        self.node.receive_packet(data, SOURCE, self.now)
        self._drain()
        return self._refusals() > before

    def stream(self, data: bytes) -> bool:
        """Have it accept a stream that brings this, in two pieces; tells whether it was refused."""
        before = self._pass()
        exchange = self.node.accept(SOURCE, self.now)
        assert exchange is not None  # noqa: S101 - every earlier one has ended
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            if not exchange.done:
                exchange.receive_data(piece, self.now)
            while exchange.busy:
                exchange.work(self.now)
        exchange.data_to_send()
        if not exchange.done:
            exchange.receive_eof(self.now)
        if not exchange.done:
            exchange.handle_timeout(self.now + 60)
        self._drain()
        return exchange.error is not None or self._refusals() > before

    def _pass(self) -> int:
        """Let some time pass; tells how much was refused before."""
        self._fed += 1
        if self._fed % LIFE == 0:
            self._begin()
        self.now += STEP
        self.node.handle_timeout(self.now)
        return self._refusals()

    def _refusals(self) -> int:
        return sum(count for what, count in self.node.stats.items() if "refused" in what)

    def _drain(self) -> None:
        self.node.take_packets()
        self.node.take_events()
        self.node.take_notices()
        for exchange in self.node.take_dials():
            exchange.refuse(self.now)


def targets() -> list[Target]:
    """Every entry, with a corpus of its own."""
    packets = [message.encode() for message in _messages()]
    sealed = Mark(encrypted=True, label=LABEL)
    return [
        Target("packet", [*packets, *_compounds(packets), *_with_crc(packets)], Mark().packet),
        Target("compound", _compounds(packets), _checked(Mark().packet)),
        Target("message", packets + _values(), _message),
        Target("lzw", [compress(data) for data in (*packets, bytes(3000), META * 30)], _expand),
        Target("sealed", packets + _sealed(packets), _sealing(sealed)),
        Target("stream", _streams(), Mark().stream),
        Target("snapshot", _snapshots(), _replay),
    ]


# Feeding


def _checked(receive: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Behind a checksum that is right."""
    return lambda data: receive(b"\x0c" + crc32(data).to_bytes(4) + data)


def _message(data: bytes) -> bool:
    refused = 0
    for reader in (decode_tags, decode_coordinate, *_READERS):
        try:
            reader(data)
        except WireError:
            refused += reader in _READERS
    return refused == len(_READERS)


_READERS = (decode_message, decode_serf, decode_filter)
"""Those that refuse what is not theirs; to the others it is a legacy role, or no coordinate."""


def _expand(data: bytes) -> bool:
    if len(decompress(data, EXPANDED)) > EXPANDED:
        raise AssertionError(f"it expands to more than {EXPANDED} bytes")
    return False


def _sealing(mark: Mark) -> Callable[[bytes], bool]:
    """As it is, and as the content of a packet that is authentic."""
    codec = _codec(PacketCodec)

    def feed(data: bytes) -> bool:
        refused = mark.packet(data)
        return mark.packet(codec.label_header + codec.seal(data, codec.label_bytes)) and refused

    return feed


def _replay(data: bytes) -> bool:
    skipped = 0
    for rejoin in (False, True):
        snapshot = Snapshot.replay(data, rejoin_after_leave=rejoin)
        again = Snapshot.replay(snapshot.image(), rejoin_after_leave=rejoin)
        if (again.alive, again.failed) != (snapshot.alive, snapshot.failed):
            raise AssertionError("what was read is not what is written")
        skipped += snapshot.skipped
    return skipped > 0


# What is fed


def _messages() -> list[Ack | Alive | Dead | IndirectPing | Nack | Ping | Suspect | UserMessage]:
    ann, bob = (FIRST, PORT, "ann"), (SECOND, PORT, "bob")
    coordinate = encode_coordinate(ORIGIN)
    filters = [NodeFilter(["me"]).encode(), TagFilter("role", "w.b").encode()]
    event = UserEvent(3, "deploy", b"v2", coalesce=True)
    serf = (
        event,
        JoinIntent(4, "bob"),
        LeaveIntent(5, "ann", prune=True),
        Query(6, 7, *ann, filters, 1, 2, 10**10, "uptime", b"x"),
        Query(7, 8, *bob, [], 0, 0, 10**10, "_serf_conflict", b"me"),
        Query(8, 9, *bob, [], 0, 0, 10**10, "_serf_install-key", KeyRequest(KEY).encode()),
        QueryResponse(6, 7, "ann", 0, b"42"),
        Relay(*bob, b"\x05" + event.encode()),
    )
    return [
        Ping(1, "me", *ann),
        IndirectPing(2, SECOND, PORT, "bob", True, *ann),  # noqa: FBT003 - as on the wire
        Ack(1, coordinate),
        Nack(2),
        Suspect(1, "me", "ann"),
        Suspect(1, "bob", "ann"),
        Dead(1, "bob", "ann"),
        Dead(1, "ann", "ann"),
        Alive(2, "bob", SECOND, PORT, META, VSN),
        Alive(1, "new", parse_ip("fe80::1"), PORT, b"role", VSN),
        Alive(3, "me", OURS, PORT, META, VSN),
        *(UserMessage(message.encode()) for message in serf),
    ]


def _values() -> list[bytes]:
    return [
        META,
        encode_coordinate(ORIGIN),
        NodeFilter(["me", "ann"]).encode(),
        TagFilter("role", "^w").encode(),
        _sync().encode(),
        *(m.payload for m in _messages() if isinstance(m, UserMessage)),
    ]


def _compounds(messages: list[bytes]) -> list[bytes]:
    bare, small = _codec(PacketCodec, open_=True), messages[:4]
    whole = [
        *bare.encode(messages),
        *bare.encode(small),
        *bare.encode([small[0]] * 20),
        *bare.encode([bare.encode(small)[0], messages[-1]]),
    ]
    squeezing = PacketCodec(compress=True, new_nonce=lambda: bytes(12))
    return [*whole, *squeezing.encode(messages), *squeezing.encode(small)]


def _with_crc(packets: list[bytes]) -> list[bytes]:
    codec = _codec(PacketCodec, open_=True)
    return codec.encode(packets[:4], crc=True) + codec.encode(packets[-1:], crc=True)


def _sealed(packets: list[bytes]) -> list[bytes]:
    codec = _codec(PacketCodec)
    return [packet for message in packets for packet in codec.encode([message])]


def _sync() -> StateSync:
    events = [(3, [("deploy", b"v2")]), (4, [("a", b""), ("b", b"x" * 40)])]
    return StateSync(9, {"ann": 3, "bob": 4, "new": 5}, ["bob"], 5, events, 6)


def _streams() -> list[bytes]:
    nodes = [
        PushPullNode("ann", FIRST, PORT, META, 2, 0, VSN),
        PushPullNode("bob", SECOND, PORT, b"", 1, 3, VSN),
        PushPullNode("cat", parse_ip("10.0.0.9"), PORT, META, 1, 1, VSN),
        PushPullNode("me", OURS, PORT, META, 4, 2, VSN),
    ]
    states = [PushPull(join, nodes, _sync().encode()).encode() for join in (False, True)]
    messages = [
        *states,
        PushPull(join=False, nodes=[], user_state=b"").encode(),
        Ping(1, "me", FIRST, PORT, "ann").encode(),
        UserMessage(UserEvent(3, "deploy", b"v2", coalesce=True).encode()).encode_stream(),
    ]
    bare = StreamCodec(new_nonce=lambda: bytes(12))
    squeezing = StreamCodec(compress=True, new_nonce=lambda: bytes(12))
    return [codec.encode(m, dialer=True) for codec in (bare, squeezing) for m in messages]


def _snapshots() -> list[bytes]:
    snapshot, images = Snapshot(), []
    for number in range(6):
        info = NodeInfo(f"n{number}", parse_ip(f"10.0.0.{number + 1}"), PORT, META, VSN)
        snapshot.record(MemberJoined(describe_member(info, MemberStatus.ALIVE)))
        if number % 2:
            snapshot.record(MemberFailed(describe_member(info, MemberStatus.FAILED)))
        images.append(snapshot.image() + snapshot.take())
    snapshot.leave()
    return [*images, snapshot.image(), b"alive: a 10.0.0.1:7946\nclock: 5\nevent-clock: 3\nleave\n"]


_Codec = TypeVar("_Codec", bound=LayerSettings)


def _codec(kind: type[_Codec], *, open_: bool = False) -> _Codec:
    nonces = Random(2)
    return kind(
        keyring=None if open_ else Keyring([KEY]),
        label="" if open_ else LABEL,
        new_nonce=lambda: nonces.randbytes(12),
    )
