"""Packets and streams as plain dictionaries, for people, logs and recorded test data.

The shape is::

    {"layers": ["label", "encrypt-v1", "crc32", "compress-lzw", "compound"],   # outermost first
     "messages": [{"type": 4, "name": "alive", "body": {...}, "tags": {...}}, ...]}

Text fields are strings, the binary ones (`BINARY_FIELDS`) lower-case hex, nil is None, and a body has
the keys that were on the wire. Beside the body may stand ``tags`` of a meta, ``payload_decoded`` of an
ack, query or response, ``filters_decoded`` of a query, ``serf_type`` and ``serf_name`` of a user
message; a push/pull has ``header``, ``nodes`` and ``user_state`` instead of a body. Keys of the
encryption queries are shown as they are: this is a debugging tool.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gossip.errors import WireError
from gossip.wire.body import BodyReader
from gossip.wire.codec import MapStream, StateScanner, decode_fields, unpack
from gossip.wire.keyring import Keyring
from gossip.wire.limits import EVENTS_MAX, PUSH_PULL_NODES_MAX
from gossip.wire.messages import MessageType, UserMessage, decode_message
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import Query, QueryResponse, Relay, SerfMessage, SerfType, decode_serf
from gossip.wire.stream import StreamCodec, StreamReader
from gossip.wire.values import (
    NodeFilter,
    decode_coordinate,
    decode_filter,
    decode_tags,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossip.wire.messages import Message

__all__ = ["BINARY_FIELDS", "describe_packet", "describe_stream"]

BINARY_FIELDS: Final = frozenset(
    {"Addr", "Meta", "Vsn", "Payload", "Target", "SourceAddr", "Key", "IP", "Filters"}
)

_DEPTH_MAX: Final = 32  # of maps and lists inside each other; unknown fields can hold anything

_MESSAGE_NAMES: Final = {
    MessageType.PING: "ping",
    MessageType.INDIRECT_PING: "indirectPing",
    MessageType.ACK: "ackResp",
    MessageType.SUSPECT: "suspect",
    MessageType.ALIVE: "alive",
    MessageType.DEAD: "dead",
    MessageType.PUSH_PULL: "pushPull",
    MessageType.USER: "user",
    MessageType.NACK: "nackResp",
    MessageType.ERROR: "err",
}
_SERF_NAMES: Final = {
    SerfType.LEAVE: "leave",
    SerfType.JOIN: "join",
    SerfType.PUSH_PULL: "pushPull",
    SerfType.USER_EVENT: "userEvent",
    SerfType.QUERY: "query",
    SerfType.QUERY_RESPONSE: "queryResponse",
    SerfType.CONFLICT_RESPONSE: "conflictResponse",
    SerfType.KEY_REQUEST: "keyRequest",
    SerfType.KEY_RESPONSE: "keyResponse",
    SerfType.RELAY: "relay",
}


def describe_packet(data: bytes, *, keys: Iterable[bytes] = (), label: str = "") -> dict[str, Any]:
    """Describe one UDP packet.

    Raises:
        WireError: the packet or a message in it does not decode, with its layer and offset.
    """
    codec = PacketCodec(keyring=Keyring(keys), label=label, new_nonce=_no_nonce)
    layers: list[str] = []
    messages = [_packet_message(leaf) for leaf in codec.decode_layers(data, layers)]
    described: dict[str, Any] = {"layers": layers, "messages": messages}
    if codec.dropped_parts:
        described["dropped_parts"] = codec.dropped_parts
    return described


def describe_stream(data: bytes, *, keys: Iterable[bytes] = (), label: str = "") -> dict[str, Any]:
    """Describe the bytes of one direction of a TCP exchange, the dialer's or the acceptor's.

    Raises:
        WireError: the message does not decode or is incomplete, with its layer and offset.
    """
    codec = StreamCodec(keyring=Keyring(keys), label=label, new_nonce=_no_nonce)
    body = _Recorder()
    answer = data[:1] != bytes((MessageType.HAS_LABEL,))  # only the dialer's side has a label
    reader = StreamReader(codec, dialer=answer, body=body)
    reader.feed(data)
    message = reader.read()
    while message is None and reader.busy:
        message = reader.read()
    if message is None:
        reader.feed_eof()
    return {"layers": reader.layers, "messages": [_stream_message(bytes(body.recorded))]}


def _no_nonce() -> bytes:
    raise AssertionError("nothing is encrypted here")


class _Recorder(BodyReader):
    """Keeps the bytes of the plain message."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded = bytearray()

    def feed(self, piece: bytes) -> Message | None:
        self.recorded += piece
        return super().feed(piece)


def _packet_message(leaf: bytes) -> dict[str, Any]:
    message = decode_message(leaf)
    described: dict[str, Any] = _head(leaf[0])
    if isinstance(message, UserMessage):
        return described | _serf(message.payload)
    described["body"] = _plain(decode_fields(leaf[1:], described["name"]))
    if leaf[0] == MessageType.ALIVE:
        described["tags"] = decode_tags(getattr(message, "meta", b""))
    elif leaf[0] == MessageType.ACK:
        described |= _coordinate(getattr(message, "payload", b""))
    return described


def _head(kind: int) -> dict[str, Any]:
    return {"type": kind, "name": _MESSAGE_NAMES[MessageType(kind)]}


def _stream_message(data: bytes) -> dict[str, Any]:
    kind = data[0]
    described = _head(kind)
    maps = MapStream(described["name"], len(data))
    maps.feed(data[1:])
    header = maps.next() or {}
    if kind not in {MessageType.PUSH_PULL, MessageType.USER}:
        return described | {"body": _plain(header)}
    described["header"] = _plain(header)
    if kind == MessageType.USER:
        return described | _serf(maps.rest()[: header.get(b"UserMsgLen") or 0])
    described["nodes"] = [_plain(maps.next() or {}) for _ in range(header.get(b"Nodes") or 0)]
    user_state = maps.rest()[: header.get(b"UserStateLen") or 0]
    if user_state:
        described["user_state"] = _serf(user_state)
    return described


def _serf(data: bytes) -> dict[str, Any]:
    message = decode_serf(data)
    described: dict[str, Any] = {"serf_type": data[0], "serf_name": _SERF_NAMES[SerfType(data[0])]}
    if data[0] == SerfType.PUSH_PULL:
        return described | {"body": _state(StateScanner(data[1:], "pushPull"))}
    if isinstance(message, Relay):
        header, inner = unpack(data[1:], "relay")
        # A relay within a relay has no use, and following them could recurse without end.
        relayed = inner.hex() if inner[:1] == bytes((SerfType.RELAY,)) else _serf(inner)
        return described | {"body": _plain(header), "relayed": relayed}
    value, _ = unpack(data[1:], described["serf_name"])
    return described | {"body": _plain(value)} | _extras(message)


def _extras(message: SerfMessage) -> dict[str, Any]:
    """Decode what a query or a response carries, as far as it is Serf's own."""
    extras: dict[str, Any] = {}
    if isinstance(message, Query):
        if message.name.startswith("_serf_") and message.name.endswith(("-key", "-keys")):
            extras["payload_decoded"] = _serf(message.payload)
        if message.filters:
            extras["filters_decoded"] = [_filter(item) for item in message.filters]
    elif isinstance(message, QueryResponse) and message.payload[:1] in {b"\x06", b"\x08"}:
        with suppress(WireError):  # an application's answer may begin with the same byte
            extras["payload_decoded"] = _serf(message.payload)
    return extras


def _filter(data: bytes) -> dict[str, Any]:
    decoded = decode_filter(data)
    if isinstance(decoded, NodeFilter):
        return {"type": data[0], "body": decoded.names}
    return {"type": data[0], "body": {"Expr": decoded.expr, "Tag": decoded.tag}}


def _coordinate(payload: bytes) -> dict[str, Any]:
    coordinate = decode_coordinate(payload)
    if coordinate is None:
        return {}
    numbers = {name.capitalize(): value for name, value in coordinate._asdict().items()}
    numbers["Vec"] = list(coordinate.vec)
    return {"payload_decoded": {"version": payload[0], "coordinate": numbers}}


def _state(scanner: StateScanner) -> dict[str, Any]:
    """Walk Serf's state; lists in it may be longer than `unpack` allows."""
    body: dict[str, Any] = {}
    for _ in range(scanner.map_header()):
        key = _text(scanner.value())
        match key:
            case "Events":
                body[key] = _events(scanner)
            case "StatusLTimes":
                entries = [(scanner.value(), scanner.value()) for _ in range(scanner.map_header())]
                body[key] = {_text(name): ltime for name, ltime in entries}
            case "LeftMembers":
                count = scanner.array_header(PUSH_PULL_NODES_MAX)
                body[key] = [_text(scanner.value()) for _ in range(count)]
            case _:
                body[key] = _plain(scanner.value())
    return body


def _events(scanner: StateScanner) -> dict[str, Any]:
    slots = scanner.array_header(EVENTS_MAX)
    filled: dict[str, Any] = {}
    index = 0
    while index < slots:
        if nils := scanner.skip_nils(slots - index):
            index += nils
            continue
        entry: dict[str, Any] = {}
        for _ in range(scanner.map_header()):
            key = _text(scanner.value())
            if key == "Events":
                count = scanner.array_header(EVENTS_MAX)
                entry[key] = [_plain(scanner.value()) for _ in range(count)]
            else:
                entry[key] = _plain(scanner.value())
        filled[str(index)] = entry
        index += 1
    return {"slots": slots, "non_nil": filled}


def _plain(value: Any, key: str = "", depth: int = _DEPTH_MAX) -> Any:
    """Turn a decoded value into one that JSON can hold."""
    if isinstance(value, bytes):
        return value.hex() if key in BINARY_FIELDS else _text(value)
    if isinstance(value, (dict, list)) and not depth:
        return "..."
    if isinstance(value, dict):
        return {_text(name): _plain(item, _text(name), depth - 1) for name, item in value.items()}
    if isinstance(value, list):
        if key in BINARY_FIELDS - {"Filters"}:
            with suppress(ValueError, TypeError):
                return bytes(value).hex()
        return [_plain(item, key, depth - 1) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return repr(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
