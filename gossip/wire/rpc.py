"""Serf's agent RPC: what clients such as the ``serf`` command line and an agent say to each other.

    request   {Command, Seq} and, for most commands, a body     client to agent
    answer    {Error, Seq} and, for some commands, a body        agent to client
    record    {Error, Seq} and a body, again and again           of stream, monitor and query

These are msgpack maps of the current specification on a TCP connection, one behind the other. Requests
may be pipelined; an answer or a record is told by the ``Seq`` of its request. A client reads the body
that belongs to its command even behind an error, unless the error is `AUTH_REQUIRED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gossip.errors import WireError
from gossip.wire.codec import FieldError, Fields, MapStream, pack_current, text, u64

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ANSWERS_WITH_BODY",
    "AUTH_REQUIRED",
    "REQUESTS_WITH_BODY",
    "STREAMS",
    "VERSION",
    "Request",
    "RequestReader",
    "encode_answer",
    "encode_request",
]

VERSION: Final = 1
"""The only version of this protocol."""
AUTH_REQUIRED: Final = "Authentication required"
"""The one error behind which no body follows."""
KEY_COMMANDS: Final = frozenset({"install-key", "use-key", "remove-key"})
STREAMS: Final = frozenset({"stream", "monitor", "query"})
"""Commands whose answer is followed by records."""
REQUESTS_WITH_BODY: Final = (
    KEY_COMMANDS
    | STREAMS
    | {
        "handshake",
        "auth",
        "event",
        "force-leave",
        "get-coordinate",
        "join",
        "members-filtered",
        "respond",
        "stop",
        "tags",
    }
)
ANSWERS_WITH_BODY: Final = KEY_COMMANDS | {
    "get-coordinate",
    "join",
    "list-keys",
    "members",
    "members-filtered",
    "stats",
}


@dataclass(slots=True, frozen=True)
class Request:
    """One request; the body is empty for commands that have none."""

    command: str
    seq: int
    body: Fields


class RequestReader:
    """Reads a client's requests from bytes that arrive in pieces; a record of one is bounded.

    Feed it, then take requests until there is none: not before the next piece, or memory piles up.
    """

    def __init__(self) -> None:
        self._maps = MapStream("rpc")
        self._header: tuple[str, int] | None = None

    @property
    def pending(self) -> bool:
        """Whether a request has begun and is not complete."""
        return self._header is not None or self._maps.pending > 0

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._maps.feed(data)

    def next(self) -> Request | None:
        """The next request, or None while it is incomplete.

        Raises:
            WireError: this is not a request; nothing behind it can be read.
        """
        if self._header is None:
            fields = self._maps.next()
            if fields is None:
                return None
            try:
                self._header = text(fields, b"Command"), u64(fields, b"Seq")
            except FieldError as error:
                raise WireError(f"rpc: {error.key.decode()}: {error.reason}", layer="rpc") from None
        command, seq = self._header
        body: Fields | None = {}
        if command in REQUESTS_WITH_BODY:
            body = self._maps.next()
            if body is None:
                return None
        self._header = None
        return Request(command, seq, body or {})


def encode_request(command: str, seq: int, body: Mapping[str, Any] | None = None) -> bytes:
    """Write a request."""
    return _encode({"Command": command, "Seq": seq}, body)


def encode_answer(seq: int, body: Mapping[str, Any] | None = None, *, error: str = "") -> bytes:
    """Write an answer or a record; byte for byte as Serf does when the body's keys are sorted."""
    return _encode({"Error": error, "Seq": seq}, body)


def _encode(header: Mapping[str, Any], body: Mapping[str, Any] | None) -> bytes:
    return pack_current(header) + (pack_current(body) if body is not None else b"")
