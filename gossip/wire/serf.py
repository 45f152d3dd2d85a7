"""Serf's messages: a Serf type byte, then one msgpack map.

They travel as memberlist user messages (`messages.UserMessage`), as the user state of a push/pull
(`StateSync`), or inside the payload of a query or its response. `SerfMessage` is their union.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gossip.errors import WireError
from gossip.wire.codec import (
    FieldError,
    Fields,
    boolean,
    decode_text,
    int64,
    name,
    pack,
    raw,
    text,
    u8,
    u16,
    u32,
    u64,
    uint,
    unpack,
)
from gossip.wire.limits import U32_MAX
from gossip.wire.messages import field_error, read_fields
from gossip.wire.state import StateSync, decode_state
from gossip.wire.values import decode_tags, encode_tags, text_map

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ConflictResponse",
    "JoinIntent",
    "KeyRequest",
    "KeyResponse",
    "LeaveIntent",
    "MemberInfo",
    "Query",
    "QueryFlag",
    "QueryResponse",
    "Relay",
    "SerfMessage",
    "SerfType",
    "StateSync",
    "UserEvent",
    "decode_serf",
    "decode_tags",
    "encode_tags",
]


class SerfType(IntEnum):
    """The byte in front of every Serf message."""

    LEAVE = 0
    JOIN = 1
    PUSH_PULL = 2
    USER_EVENT = 3
    QUERY = 4
    QUERY_RESPONSE = 5
    CONFLICT_RESPONSE = 6
    KEY_REQUEST = 7
    KEY_RESPONSE = 8
    RELAY = 9


class QueryFlag(IntEnum):
    """Bits of `Query.flags`; `ACK` in a response says that it is an ack, not an answer."""

    ACK = 1
    NO_BROADCAST = 2


@dataclass(slots=True)
class LeaveIntent:
    """A member is about to leave, or is declared gone by force-leave; `prune` forgets it at once."""

    ltime: int
    node: str
    prune: bool = False

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x00" + pack({"LTime": self.ltime, "Node": self.node, "Prune": self.prune})


@dataclass(slots=True)
class JoinIntent:
    """A member joined, or refutes a leave intent about itself."""

    ltime: int
    node: str

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x01" + pack({"LTime": self.ltime, "Node": self.node})


@dataclass(slots=True)
class UserEvent:
    """An application's message to all members; `coalesce` allows merging same-named ones."""

    ltime: int
    name: str
    payload: bytes
    coalesce: bool

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x03" + pack(
            {
                "CC": self.coalesce,
                "LTime": self.ltime,
                "Name": self.name,
                "Payload": self.payload or None,
            }
        )


@dataclass(slots=True)
class Query:
    """A question to all members that pass the filters; answers go to `addr` and `port`.

    `filters` hold encoded `values.Filter`; `flags` are bits of `QueryFlag`.
    """

    ltime: int
    id: int
    addr: bytes
    port: int
    source_node: str
    filters: list[bytes]
    flags: int
    relay_factor: int
    timeout_ns: int
    name: str
    payload: bytes

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x04" + pack(
            {
                "Addr": self.addr or None,
                "Filters": self.filters or None,
                "Flags": self.flags,
                "ID": self.id,
                "LTime": self.ltime,
                "Name": self.name,
                "Payload": self.payload or None,
                "Port": self.port,
                "RelayFactor": self.relay_factor,
                "SourceNode": self.source_node,
                "Timeout": self.timeout_ns,
            }
        )


@dataclass(slots=True)
class QueryResponse:
    """An ack or an answer to the query with this Lamport time and id."""

    ltime: int
    id: int
    sender: str
    flags: int
    payload: bytes

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x05" + pack(
            {
                "Flags": self.flags,
                "From": self.sender,
                "ID": self.id,
                "LTime": self.ltime,
                "Payload": self.payload or None,
            }
        )


@dataclass(slots=True)
class MemberInfo:
    """A member as a node answers about it in a name conflict vote; `status` is Serf's number."""

    name: str
    addr: bytes
    port: int
    tags: dict[str, str]
    status: int
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int


@dataclass(slots=True)
class ConflictResponse:
    """What a node knows about the name in question; None when it knows nobody of that name."""

    member: MemberInfo | None

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        member = self.member
        if member is None:
            return b"\x06\xc0"
        return b"\x06" + pack(
            {
                "Addr": member.addr or None,
                "DelegateCur": member.delegate_cur,
                "DelegateMax": member.delegate_max,
                "DelegateMin": member.delegate_min,
                "Name": member.name,
                "Port": member.port,
                "ProtocolCur": member.protocol_cur,
                "ProtocolMax": member.protocol_max,
                "ProtocolMin": member.protocol_min,
                "Status": member.status,
                "Tags": member.tags,
            }
        )


@dataclass(slots=True)
class KeyRequest:
    """Payload of the key queries; empty to list keys. Its repr does not show the key."""

    key: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x07" + pack({"Key": self.key})


@dataclass(slots=True)
class KeyResponse:
    """Answer to a key query; keys are base64 and not shown in its repr."""

    result: bool
    message: str
    keys: list[str] = field(repr=False)
    primary_key: str = field(repr=False)

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        return b"\x08" + pack(
            {
                "Keys": self.keys or None,
                "Message": self.message,
                "PrimaryKey": self.primary_key,
                "Result": self.result,
            }
        )


@dataclass(slots=True)
class Relay:
    """A Serf message to be sent on, as it is, to another node as a user message."""

    dest_addr: bytes
    dest_port: int
    dest_name: str
    payload: bytes
    dest_zone: str = ""

    def encode(self) -> bytes:
        """Write the message with its Serf type byte."""
        address = {"IP": self.dest_addr or None, "Port": self.dest_port, "Zone": self.dest_zone}
        return b"\x09" + pack({"DestAddr": address, "DestName": self.dest_name}) + self.payload


SerfMessage: TypeAlias = (
    LeaveIntent
    | JoinIntent
    | StateSync
    | UserEvent
    | Query
    | QueryResponse
    | ConflictResponse
    | KeyRequest
    | KeyResponse
    | Relay
)


def _leave_from(f: Fields) -> LeaveIntent:
    return LeaveIntent(u64(f, b"LTime"), name(f, b"Node"), boolean(f, b"Prune"))


def _join_from(f: Fields) -> JoinIntent:
    return JoinIntent(u64(f, b"LTime"), name(f, b"Node"))


def _user_event_from(f: Fields) -> UserEvent:
    return UserEvent(u64(f, b"LTime"), text(f, b"Name"), raw(f, b"Payload"), boolean(f, b"CC"))


def _query_from(f: Fields) -> Query:
    return Query(
        u64(f, b"LTime"),
        u32(f, b"ID"),
        raw(f, b"Addr"),
        u16(f, b"Port"),
        name(f, b"SourceNode"),
        [raw({b"Filters": item}, b"Filters") for item in _list(f, b"Filters")],
        u32(f, b"Flags"),
        u8(f, b"RelayFactor"),
        int64(f, b"Timeout"),
        text(f, b"Name"),
        raw(f, b"Payload"),
    )


def _query_response_from(f: Fields) -> QueryResponse:
    return QueryResponse(
        u64(f, b"LTime"), u32(f, b"ID"), name(f, b"From"), u32(f, b"Flags"), raw(f, b"Payload")
    )


def _key_request_from(f: Fields) -> KeyRequest:
    return KeyRequest(raw(f, b"Key"))


def _key_response_from(f: Fields) -> KeyResponse:
    return KeyResponse(
        boolean(f, b"Result"),
        text(f, b"Message"),
        [decode_text(item, b"Keys") for item in _list(f, b"Keys")],
        text(f, b"PrimaryKey"),
    )


def _member_from(f: Fields) -> MemberInfo:
    tags = f.get(b"Tags")
    if tags is not None and type(tags) is not dict:
        raise FieldError(b"Tags", "it is not a map")
    return MemberInfo(
        name(f, b"Name"),
        raw(f, b"Addr"),
        u16(f, b"Port"),
        text_map(tags or {}, "conflictResponse"),
        uint(f, b"Status", U32_MAX),
        u8(f, b"ProtocolMin"),
        u8(f, b"ProtocolMax"),
        u8(f, b"ProtocolCur"),
        u8(f, b"DelegateMin"),
        u8(f, b"DelegateMax"),
        u8(f, b"DelegateCur"),
    )


def _list(f: Fields, key: bytes) -> list[Any]:
    value = f.get(key)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise FieldError(key, f"{type(value).__name__} is not a list")


_READERS: Final[dict[int, tuple[str, Callable[[Fields], SerfMessage]]]] = {
    SerfType.LEAVE.value: ("leave", _leave_from),
    SerfType.JOIN.value: ("join", _join_from),
    SerfType.USER_EVENT.value: ("userEvent", _user_event_from),
    SerfType.QUERY.value: ("query", _query_from),
    SerfType.QUERY_RESPONSE.value: ("queryResponse", _query_response_from),
    SerfType.KEY_REQUEST.value: ("keyRequest", _key_request_from),
    SerfType.KEY_RESPONSE.value: ("keyResponse", _key_response_from),
}


def decode_serf(data: bytes) -> SerfMessage:
    """Decode one Serf message: type byte, then the body; bytes behind the body are ignored.

    Raises:
        WireError: it is empty, of unknown type or malformed. `layer` is the message's name and
            `offset` counts from the Serf type byte.
    """
    if not data:
        raise WireError("a Serf message is empty", layer="serf")
    kind = data[0]
    entry = _READERS.get(kind)
    if entry is not None:
        return read_fields(entry[1], data[1:], entry[0])
    if kind == SerfType.CONFLICT_RESPONSE:
        if data[1:2] == b"\xc0":
            return ConflictResponse(None)
        return ConflictResponse(read_fields(_member_from, data[1:], "conflictResponse"))
    if kind not in {SerfType.PUSH_PULL, SerfType.RELAY}:
        raise WireError(f"Serf message type {kind} is unknown", layer="serf")
    try:
        return (decode_state if kind == SerfType.PUSH_PULL else _decode_relay)(data[1:])
    except WireError as error:
        error.offset += 1
        raise


def _decode_relay(body: bytes) -> Relay:
    header, payload = unpack(body, "relay")
    address = header.get(b"DestAddr") if type(header) is dict else None
    if type(address) is not dict:
        raise WireError("relay: it has no destination", layer="relay")
    try:
        return Relay(
            raw(address, b"IP"),
            u16(address, b"Port"),
            name(header, b"DestName"),
            payload,
            text(address, b"Zone"),
        )
    except FieldError as error:
        raise field_error(error, "relay", 0) from None
