"""The plain message inside a stream's wrappers, read piece by piece.

It is a type byte and a map; a push/pull goes on with node records and the user state, a user message
with its payload. Pieces are parsed as they come, each once, and nothing is kept but the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossip.errors import WireError
from gossip.wire.codec import FieldError, Fields, MapStream, boolean, uint
from gossip.wire.limits import (
    META_MAX,
    NAME_MAX,
    PUSH_PULL_NODES_MAX,
    USER_MESSAGE_MAX,
    USER_STATE_MAX,
)
from gossip.wire.messages import (
    Message,
    MessageType,
    UserMessage,
    ack_from,
    error_reply_from,
    field_error,
    ping_from,
)
from gossip.wire.push_pull import PushPull, push_pull_node_from

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BodyReader"]

_NAMES: Final = {
    MessageType.PING.value: "ping",
    MessageType.ACK.value: "ackResp",
    MessageType.PUSH_PULL.value: "pushPull",
    MessageType.USER.value: "user",
    MessageType.ERROR.value: "err",
}
_READERS: Final[dict[int, Callable[[Fields], Message]]] = {
    MessageType.PING.value: ping_from,
    MessageType.ACK.value: ack_from,
    MessageType.ERROR.value: error_reply_from,
}


class BodyReader:
    """Reads one plain stream message; feed it until it gives the message."""

    def __init__(self) -> None:
        self.layer = "stream"
        self._kind = -1
        self._maps = MapStream("stream")
        self._header_read = False
        self._push_pull: PushPull | None = None
        self._nodes_missing = 0
        self._tail: list[bytes] = []
        self._tail_missing = 0

    def feed(self, piece: bytes) -> Message | None:
        """Take the next piece; give the message once it is complete.

        The work is proportional to the piece. Bytes behind the message are ignored.

        Raises:
            WireError: the type does not belong here, or the message is malformed or too large;
                `offset` counts from the type byte.
        """
        if self._kind < 0:
            self._start(piece[0])
            piece = piece[1:]
        if self._header_read and not self._nodes_missing:
            return self._take_tail(piece)
        self._maps.feed(piece)
        try:
            return self._read_maps()
        except FieldError as error:
            raise field_error(error, self.layer, self._maps.offset + 1) from None
        except WireError as error:
            error.offset += 1
            raise

    def _start(self, kind: int) -> None:
        if kind not in _NAMES:
            raise WireError(f"message type {kind} is not valid on a stream", layer="stream")
        self._kind = kind
        self._maps.layer = self.layer = _NAMES[kind]

    def _read_maps(self) -> Message | None:
        """Read the header and the node records that are there."""
        if not self._header_read:
            header = self._maps.next()
            if header is None:
                return None
            self._header_read = True
            reader = _READERS.get(self._kind)
            if reader is not None:
                return reader(header)
            self._read_header(header)
        while self._nodes_missing:
            record = self._maps.next()
            if record is None:
                return None
            self._nodes_missing -= 1
            self._add_node(record)
        return self._take_tail(self._maps.rest())

    def _read_header(self, header: Fields) -> None:
        if self._kind == MessageType.USER:
            self._tail_missing = uint(header, b"UserMsgLen", USER_MESSAGE_MAX)
            return
        self._nodes_missing = uint(header, b"Nodes", PUSH_PULL_NODES_MAX)
        self._tail_missing = uint(header, b"UserStateLen", USER_STATE_MAX)
        self._push_pull = PushPull(boolean(header, b"Join"), [], b"")

    def _add_node(self, record: Fields) -> None:
        assert self._push_pull is not None  # noqa: S101 - only a push/pull has nodes
        name, meta = record.get(b"Name"), record.get(b"Meta")
        if not name or _longer(name, NAME_MAX) or _longer(meta, META_MAX):
            self._push_pull.skipped += 1
            return
        self._push_pull.nodes.append(push_pull_node_from(record))

    def _take_tail(self, piece: bytes) -> Message | None:
        taken = piece[: self._tail_missing]
        self._tail.append(taken)
        self._tail_missing -= len(taken)
        if self._tail_missing:
            return None
        tail = b"".join(self._tail)
        if self._push_pull is None:
            return UserMessage(tail)
        self._push_pull.user_state = tail
        return self._push_pull


def _longer(value: object, limit: int) -> bool:
    return type(value) is bytes and len(value) > limit
