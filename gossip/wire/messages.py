"""memberlist's messages: a type byte, then one msgpack map.

Each class has `encode`, which writes what a genuine member writes, byte for byte: keys in
alphabetical order, empty bytes as nil. Decoding is lenient as Go's decoder is; see `codec`.
`Message` is the union of all of them, to `match` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from gossip.errors import WireError
from gossip.wire.codec import (
    FieldError,
    Fields,
    boolean,
    decode_fields,
    locate,
    meta,
    name,
    pack,
    raw,
    text,
    u16,
    u32,
)
from gossip.wire.push_pull import NodeState, PushPull, PushPullNode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Ack",
    "Alive",
    "Dead",
    "ErrorReply",
    "IndirectPing",
    "Message",
    "MessageType",
    "Nack",
    "NodeState",
    "Ping",
    "PushPull",
    "PushPullNode",
    "Suspect",
    "UserMessage",
    "decode_message",
]


class MessageType(IntEnum):
    """The byte in front of every message and of most wrappers."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESS = 9
    ENCRYPT = 10
    NACK = 11
    HAS_CRC = 12
    ERROR = 13
    HAS_LABEL = 244


@dataclass(slots=True)
class Ping:
    """Liveness probe; `node` is the intended receiver, empty for anybody.

    The source fields tell where the ack goes; empty ones mean the datagram's source.
    """

    seq_no: int
    node: str
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""

    def encode(self) -> bytes:
        """Write the message with its type byte; empty source fields are left out."""
        if self.source_addr and self.source_port and self.source_node:
            return b"\x00" + pack(
                {
                    "Node": self.node,
                    "SeqNo": self.seq_no,
                    "SourceAddr": self.source_addr,
                    "SourceNode": self.source_node,
                    "SourcePort": self.source_port,
                }
            )
        return b"\x00" + pack({"Node": self.node, "SeqNo": self.seq_no} | _source(self))


@dataclass(slots=True)
class IndirectPing:
    """Request to probe `node` at `target` and `port` on the sender's behalf.

    Port 0 means the receiver's own. `nack` asks for a nack when no ack comes in time.
    """

    seq_no: int
    target: bytes
    port: int
    node: str
    nack: bool
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""

    def encode(self) -> bytes:
        """Write the message with its type byte; empty source fields are left out."""
        fields: dict[str, object] = {
            "Nack": self.nack,
            "Node": self.node,
            "Port": self.port,
            "SeqNo": self.seq_no,
        }
        fields |= _source(self)
        fields["Target"] = self.target or None
        return b"\x01" + pack(fields)


def _source(message: Ping | IndirectPing) -> dict[str, object]:
    fields: dict[str, object] = {}
    if message.source_addr:
        fields["SourceAddr"] = message.source_addr
    if message.source_node:
        fields["SourceNode"] = message.source_node
    if message.source_port:
        fields["SourcePort"] = message.source_port
    return fields


@dataclass(slots=True)
class Ack:
    """Answer to a ping; Serf's payload is a network coordinate."""

    seq_no: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x02" + pack({"Payload": self.payload or None, "SeqNo": self.seq_no})


@dataclass(slots=True)
class Nack:
    """News that an indirect probe failed, though the prober itself is well."""

    seq_no: int

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x0b" + pack({"SeqNo": self.seq_no})


@dataclass(slots=True)
class Suspect:
    """Accusation: `sender`, on the wire ``From``, had no answer from `node`."""

    incarnation: int
    node: str
    sender: str

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x03" + pack(
            {"From": self.sender, "Incarnation": self.incarnation, "Node": self.node}
        )


@dataclass(slots=True)
class Dead:
    """News that `node` failed, or that it left when it is its own sender."""

    incarnation: int
    node: str
    sender: str

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x05" + pack(
            {"From": self.sender, "Incarnation": self.incarnation, "Node": self.node}
        )


@dataclass(slots=True)
class Alive:
    """News that a member runs, with where it is, its meta (Serf: tags) and its six versions.

    `addr` and `vsn` are as they came, of any length: what may be believed is the receiver's decision.
    """

    incarnation: int
    node: str
    addr: bytes
    port: int
    meta: bytes
    vsn: bytes

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x04" + pack(
            {
                "Addr": self.addr or None,
                "Incarnation": self.incarnation,
                "Meta": self.meta or None,
                "Node": self.node,
                "Port": self.port,
                "Vsn": self.vsn or None,
            }
        )


@dataclass(slots=True)
class UserMessage:
    """Bytes for the layer above: a Serf message with its Serf type byte."""

    payload: bytes

    def encode(self) -> bytes:
        """Write the message for a packet: type byte, then the payload."""
        return b"\x08" + self.payload

    def encode_stream(self) -> bytes:
        """Write the message for a stream, where a header tells its length."""
        return b"\x08" + pack({"UserMsgLen": len(self.payload)}) + self.payload


@dataclass(slots=True)
class ErrorReply:
    """The acceptor of a stream could not read what was sent; the text is informational."""

    error: str

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        return b"\x0d" + pack({"Error": self.error})


Message: TypeAlias = (
    Ping | IndirectPing | Ack | Nack | Suspect | Dead | Alive | UserMessage | ErrorReply | PushPull
)


def ping_from(f: Fields) -> Ping:
    """Read the map of a ping."""
    return Ping(
        u32(f, b"SeqNo"),
        name(f, b"Node"),
        raw(f, b"SourceAddr"),
        u16(f, b"SourcePort"),
        name(f, b"SourceNode"),
    )


def _indirect_ping_from(f: Fields) -> IndirectPing:
    return IndirectPing(
        u32(f, b"SeqNo"),
        raw(f, b"Target"),
        u16(f, b"Port"),
        name(f, b"Node"),
        boolean(f, b"Nack"),
        raw(f, b"SourceAddr"),
        u16(f, b"SourcePort"),
        name(f, b"SourceNode"),
    )


def ack_from(f: Fields) -> Ack:
    """Read the map of an ack."""
    return Ack(u32(f, b"SeqNo"), raw(f, b"Payload"))


def _nack_from(f: Fields) -> Nack:
    return Nack(u32(f, b"SeqNo"))


def _suspect_from(f: Fields) -> Suspect:
    return Suspect(u32(f, b"Incarnation"), _subject(f), name(f, b"From"))


def _dead_from(f: Fields) -> Dead:
    return Dead(u32(f, b"Incarnation"), _subject(f), name(f, b"From"))


def _alive_from(f: Fields) -> Alive:
    return Alive(
        u32(f, b"Incarnation"),
        _subject(f),
        raw(f, b"Addr"),
        u16(f, b"Port"),
        meta(f, b"Meta"),
        raw(f, b"Vsn"),
    )


def _subject(f: Fields) -> str:
    """Read whom news is about; news about nobody is damaged, genuine members send none."""
    node = name(f, b"Node")
    if not node:
        raise FieldError(b"Node", "it is empty")
    return node


def error_reply_from(f: Fields) -> ErrorReply:
    """Read the map of an error reply."""
    return ErrorReply(text(f, b"Error"))


_READERS: Final[dict[int, tuple[str, Callable[[Fields], Message]]]] = {
    MessageType.PING.value: ("ping", ping_from),
    MessageType.INDIRECT_PING.value: ("indirectPing", _indirect_ping_from),
    MessageType.ACK.value: ("ackResp", ack_from),
    MessageType.SUSPECT.value: ("suspect", _suspect_from),
    MessageType.ALIVE.value: ("alive", _alive_from),
    MessageType.DEAD.value: ("dead", _dead_from),
    MessageType.NACK.value: ("nackResp", _nack_from),
}

_T = TypeVar("_T")


def decode_message(data: bytes) -> Message:
    """Decode one message as `PacketCodec.decode` gives it: type byte, then the body.

    Bytes that follow the body are ignored.

    Raises:
        WireError: there is no message, its type does not belong into a packet, or it is malformed.
            `layer` is the message's name and `offset` counts from the type byte.
    """
    if not data:
        raise WireError("a message is empty")
    entry = _READERS.get(data[0])
    if entry is not None:
        return read_fields(entry[1], data[1:], entry[0])
    if data[0] == MessageType.USER:
        return UserMessage(data[1:])
    raise WireError(f"message type {data[0]} is not valid in a packet")


def read_fields(reader: Callable[[Fields], _T], body: bytes, layer: str) -> _T:
    """Decode a map and read it into a message; offsets in errors count a type byte in front.

    Raises:
        WireError: as `decode_message`.
    """
    try:
        return reader(decode_fields(body, layer))
    except FieldError as error:
        raise field_error(error, layer, locate(body, error.key) + 1) from None
    except WireError as error:
        error.offset += 1
        raise


def field_error(error: FieldError, layer: str, offset: int) -> WireError:
    """Turn a field's error into the message's."""
    return WireError(f"{layer}: {error.key.decode()}: {error.reason}", layer=layer, offset=offset)
