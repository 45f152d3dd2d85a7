"""One machine under test at a time; everything around it is played by the test."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from gossip.config import Config
from gossip.serf.node import Node
from gossip.swim.delegate import NullDelegate
from gossip.swim.members import NodeInfo, Status
from gossip.swim.membership import Membership, own_versions
from gossip.wire.address import format_address
from gossip.wire.keyring import Keyring
from gossip.wire.messages import Alive, Message, PushPull, UserMessage, decode_message
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import SerfMessage, StateSync, decode_serf
from gossip.wire.stream import StreamCodec, StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gossip.events import Admit, Event, MemberStatus
    from gossip.serf.key_queries import KeyChange
    from gossip.serf.snapshot import Snapshot
    from gossip.swim.exchange import Exchange
    from gossip.swim.members import Record
    from gossip.wire.address import Address

__all__ = [
    "PORT", "STRANGER", "VSN", "NodeRig", "Recorder", "SwimRig", "address_of", "alive", "answer",
    "info_of", "ip_of", "read_stream", "write_stream",
]  # fmt: skip

PORT = 7946
VSN = own_versions(5)
STRANGER: Address = ("10.250.0.1", PORT)
"""Where packets come from that do not come from a member."""


def ip_of(name: str) -> bytes:
    """The address at which the tests put a member of that name."""
    return b"\x0a" + (crc32(name.encode()) % 0xF00000).to_bytes(3)


def address_of(name: str) -> Address:
    return format_address(ip_of(name), PORT)


def info_of(name: str, **fields: Any) -> NodeInfo:
    given: dict[str, Any] = {"addr": ip_of(name), "port": PORT, "meta": b"", "vsn": VSN}
    return NodeInfo(name, **(given | fields))


def alive(name: str, incarnation: int = 1, **fields: Any) -> Alive:
    given: dict[str, Any] = {"addr": ip_of(name), "port": PORT, "meta": b"", "vsn": VSN}
    return Alive(incarnation, name, **(given | fields))


class Recorder(NullDelegate):
    """A delegate that remembers what it was told and says what the test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.conflicts: list[tuple[NodeInfo, NodeInfo]] = []
        self.messages: list[tuple[bytes, Address | None]] = []
        self.merged: list[tuple[bytes, bool, bool]] = []
        self.rtts: list[tuple[str, float, bytes]] = []
        self.refused: dict[str, str] = {}
        self.asked: list[list[tuple[str, int]]] = []
        self.state = b""
        self.payload = b""

    def admit(self, newcomers: Sequence[tuple[NodeInfo, int]]) -> str | None:
        self.asked.append([(info.name, state) for info, state in newcomers])
        reasons = (self.refused.get(info.name) for info, _ in newcomers)
        return next((reason for reason in reasons if reason), None)

    def notify_join(self, record: Record, now: float) -> None:
        self.calls.append(("join", record.info.name))

    def notify_leave(self, record: Record, now: float) -> None:
        self.calls.append((record.status.name.lower(), record.info.name))

    def notify_update(self, record: Record, now: float) -> None:
        self.calls.append(("update", record.info.name))

    def notify_conflict(self, held: NodeInfo, other: NodeInfo, now: float) -> None:
        self.conflicts.append((held, other))

    def notify_message(self, data: bytes, source: Address | None, now: float) -> None:
        self.messages.append((data, source))

    def local_state(self, *, join: bool) -> bytes:
        return self.state

    def merge_remote_state(self, data: bytes, now: float, *, join: bool, ignore_old: bool) -> None:
        self.merged.append((data, join, ignore_old))

    def ack_payload(self) -> bytes:
        return self.payload

    def notify_ping_complete(self, record: Record, rtt: float, payload: bytes) -> None:
        self.rtts.append((record.info.name, rtt, payload))


class SwimRig:
    """A `Membership` named ``me``, a clock, and everything that it sent."""

    def __init__(self, *, seed: int = 1, start: bool = True, **settings: Any) -> None:
        # No exchanges of its own accord, unless a test asks for them.
        settings = {"push_pull_interval": 0.0} | settings
        keyring = Keyring(settings.get("keys", ()))
        self.config = Config.lan("me", **settings)
        self.now = 100.0
        self.delegate = Recorder()
        nonces = random.Random(seed)
        layers: dict[str, Any] = {
            "keyring": keyring,
            "label": self.config.label,
            "compress": self.config.compress,
            "new_nonce": lambda: nonces.randbytes(12),
        }
        self.packet_codec = PacketCodec(**layers)
        self.stream_codec = StreamCodec(**layers)
        self.m = Membership(
            self.config,
            info_of("me"),
            packet_codec=self.packet_codec,
            stream_codec=self.stream_codec,
            delegate=self.delegate,
            rng=random.Random(seed),
        )
        self.stats = self.m.stats
        if start:
            self.m.start(self.now)

    # What others do

    def hear(self, *messages: Message, source: Address = STRANGER) -> None:
        """One packet with these messages arrives."""
        for packet in self.packet_codec.encode([message.encode() for message in messages]):
            self.m.receive_packet(packet, source, self.now)

    def learn(self, *names: str, incarnation: int = 1, **fields: Any) -> None:
        """Members become known, and what that set off is over."""
        for name in names:
            self.hear(alive(name, incarnation, **fields))
        self.quiet()

    def quiet(self) -> None:
        """Forget all queued news and everything sent or told so far."""
        for queue in self.m.dissemination.queues:
            queue.prune(0, self.now)
        self.m.take_packets()
        self.m.take_notices()
        self.delegate.calls.clear()

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.now + seconds
        while (due := self.m.timers.next_at()) is not None and due <= end:
            self.now = max(self.now, due)
            self.m.handle_timeout(self.now)
        self.now = end

    def advance_until(self, condition: Callable[[], object], limit: float = 60.0) -> None:
        end = self.now + limit
        while not condition():
            due = self.m.timers.next_at()
            assert due is not None, "nothing is left to happen"
            assert due <= end, f"not true after {limit} s"
            self.now = max(self.now, due)
            self.m.handle_timeout(self.now)

    # What it does

    def sent(self) -> list[tuple[Message, Address]]:
        """Every message sent since the last look, with its receiver."""
        return [(message, to) for messages, to in self.packets() for message in messages]

    def packets(self) -> list[tuple[list[Message], Address]]:
        """Every packet sent since the last look, unwrapped, with its receiver."""
        return [
            ([decode_message(part) for part in self.packet_codec.decode(data)], to)
            for data, to in self.m.take_packets()
        ]

    def news(self) -> list[Message]:
        """The queued broadcasts about members."""
        queue = self.m.dissemination.membership
        queued: Iterator[bytes] = (b.message for tier in queue._tiers for b in tier)
        return [decode_message(message) for message in queued]

    def record(self, name: str) -> Record:
        record = self.m.table.get(name)
        assert record is not None
        return record

    def status(self, name: str) -> Status | None:
        record = self.m.table.get(name)
        return None if record is None else record.status

    def dials(self) -> list[Exchange]:
        return self.m.take_dials()


class NodeRig:
    """A `Node` named ``me``, and what it sent and told."""

    def __init__(
        self,
        *,
        seed: int = 1,
        now: float = 100.0,
        admit: Admit | None = None,
        keys: Sequence[bytes] = (),
        save_keys: Callable[[KeyChange], None] | None = None,
        snapshot: Snapshot | None = None,
        **settings: Any,
    ) -> None:
        settings = {"push_pull_interval": 0.0} | settings
        self.now = now
        rng = random.Random(seed)
        self.node = Node(
            Config.lan("me", **settings),
            ip_of("me"),
            PORT,
            rng=rng,
            new_nonce=lambda: rng.randbytes(12),
            now=self.now,
            keyring=Keyring(keys) if keys else None,
            admit=admit,
            save_keys=save_keys,
            snapshot=snapshot,
        )
        self.m = self.node.membership
        self.stats = self.node.stats

    def hear(self, *messages: Message, source: Address = STRANGER) -> None:
        """One packet with these messages arrives."""
        parts = [message.encode() for message in messages]
        for packet in self.m.packet_codec.encode(parts):
            self.node.receive_packet(packet, source, self.now)

    def hear_serf(self, *messages: SerfMessage, source: Address = STRANGER) -> None:
        """Serf messages arrive, each in a packet of its own."""
        for message in messages:
            self.hear(UserMessage(message.encode()), source=source)

    def learn(self, *names: str, incarnation: int = 1, **fields: Any) -> None:
        """Members become known, and what that set off is over."""
        for name in names:
            self.hear(alive(name, incarnation, **fields))
        self.quiet()

    def quiet(self) -> None:
        """Forget all queued news, everything sent and every event so far."""
        for queue in self.m.dissemination.queues:
            queue.prune(0, self.now)
        self.node.take_packets()
        self.node.take_notices()
        self.node.take_events()

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the node whenever it asks for it."""
        end = self.now + seconds
        while (due := self.node.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.node.handle_timeout(self.now)
        self.now = end

    def events(self) -> list[Event]:
        return self.node.take_events()

    def told(self) -> list[tuple[str, str]]:
        """Member events since the last look, as (kind, name)."""
        return [
            (type(event).__name__.removeprefix("Member").lower(), event.member.name)
            for event in self.node.take_events()
            if hasattr(event, "member")
        ]

    def sent(self) -> list[tuple[Message, Address]]:
        return [
            (decode_message(part), to)
            for data, to in self.node.take_packets()
            for part in self.m.packet_codec.decode(data)
        ]

    def sent_serf(self) -> list[tuple[SerfMessage, Address]]:
        """Every Serf message sent since the last look, with its receiver."""
        return [
            (decode_serf(message.payload), to)
            for message, to in self.sent()
            if isinstance(message, UserMessage)
        ]

    def queued(self, kind: str) -> list[SerfMessage]:
        """The broadcasts waiting in one of Serf's queues: intents, queries or events."""
        queue = getattr(self.m.dissemination, kind)
        return [decode_serf(b.message[1:]) for tier in queue._tiers for b in tier]

    def status(self, name: str) -> MemberStatus | None:
        member = self.node.members.get(name)
        return None if member is None else member.status

    def merge(self, state: StateSync, *, join: bool = False, ignore_old: bool = False) -> None:
        """The Serf part of a push/pull is merged."""
        self.m.delegate.merge_remote_state(
            state.encode(), self.now, join=join, ignore_old=ignore_old
        )


def write_stream(codec: StreamCodec, message: bytes, *, dialer: bool) -> bytes:
    return codec.encode(message, dialer=dialer)


def read_stream(codec: StreamCodec, data: bytes, *, dialer: bool) -> Message | None:
    """What the other end of an exchange reads; `dialer` tells whether that end opened it."""
    reader = StreamReader(codec, dialer=dialer)
    reader.feed(data)
    message = reader.read()
    while message is None and reader.busy:
        message = reader.read()
    return message


def answer(exchange: Exchange, codec: StreamCodec, nodes: Sequence[Any], now: float) -> PushPull:
    """Play the acceptor of a push/pull that `exchange` dialed; returns what it sent."""
    exchange.connected(now)
    request = read_stream(codec, exchange.data_to_send(), dialer=False)
    assert isinstance(request, PushPull)
    reply = PushPull(request.join, list(nodes), b"")
    exchange.receive_data(codec.encode(reply.encode(), dialer=False), now)
    return request
