"""What travels between two agents: a request of the HTTP interface, and the answer to it.

Both are a JSON object behind its length in four bytes (big-endian), and behind that the body, as it is::

    request   {"method", "target", "headers", "hops", "challenge"}     body
    answer    {"status", "headers"}                                    body
    answer    {"challenge"}          nothing was done: ask again with this challenge

Only what means the same at the other end is taken over: of the headers the token on the way there, and
Consul's own and what describes the body on the way back.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from gossip.errors import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

__all__ = [
    "MAX_BODY",
    "MAX_HOPS",
    "TOKEN_HEADER",
    "Answer",
    "Challenge",
    "Received",
    "Request",
    "decode_answer",
    "decode_request",
    "encode_answer",
    "encode_challenge",
    "encode_request",
]

MAX_BODY = 1024 * 1024
"""Largest body of a request, bytes."""
MAX_HEAD = 128 * 1024
"""Largest JSON object, bytes; the HTTP interface takes 8 KiB of request line and as much of token, and JSON
writes a byte in six at most."""
MAX_HOPS = 3
"""From a client to a server of its datacenter, on to one of another, and on to the leader of that one."""
TOKEN_HEADER = "X-Consul-Token"  # noqa: S105 - the name of a header

_LAYER = "forward"
_LENGTH = struct.Struct(">I")
_ANSWER_HEADERS = frozenset({"content-type", "retry-after", "allow"})


@dataclass(slots=True, frozen=True)
class Request:
    """One request, as a client of the HTTP interface sent it to the agent that forwards it.

    Attributes:
        target: path and query, not decoded.
        headers: those that travel; they may hold a token, so they are not shown.
        hops: agents that it has come through, this journey included.
        challenge: of the server that it is sent to; empty when none is known.
    """

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    hops: int
    challenge: str = field(default="", repr=False)


@dataclass(slots=True)
class Answer:
    """A status, a body and the headers that belong to them.

    Attributes:
        lines: sent one by one instead of the body; such an answer is made for the client at hand and
            does not travel.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lines: AsyncGenerator[str] | None = None


@dataclass(slots=True, frozen=True)
class Challenge:
    """Nothing was done: the request has to be sent again with this challenge."""

    value: str


Received: TypeAlias = Answer | Challenge


def encode_request(request: Request) -> bytes:
    """The bytes of a request."""
    head = {
        "method": request.method,
        "target": request.target,
        "headers": dict(request.headers),
        "hops": request.hops,
        "challenge": request.challenge,
    }
    return _join(head, request.body)


def decode_request(data: bytes) -> Request:
    """Read a request.

    Raises:
        WireError: the bytes are none.
    """
    head, body = _split(data)
    if len(body) > MAX_BODY:
        raise WireError(f"a body of {len(body)} bytes exceeds {MAX_BODY}", layer=_LAYER)
    hops = head.get("hops")
    if type(hops) is not int or not 1 <= hops <= MAX_HOPS:
        raise WireError(f"hops are not from 1 to {MAX_HOPS}", layer=_LAYER)
    texts = [head.get(key) for key in ("method", "target", "challenge")]
    if not all(isinstance(text, str) for text in texts):
        raise WireError("method, target or challenge is not text", layer=_LAYER)
    method, target, challenge = map(str, texts)
    headers = {k: v for k, v in _headers(head).items() if k == TOKEN_HEADER}
    return Request(method, target, headers, body, hops, challenge)


def encode_answer(answer: Answer) -> bytes:
    """The bytes of an answer."""
    headers = {name: value for name, value in answer.headers.items() if _travels_back(name)}
    return _join({"status": answer.status, "headers": headers}, answer.body)


def encode_challenge(challenge: str) -> bytes:
    """The bytes that ask for the request once more."""
    return _join({"challenge": challenge}, b"")


def decode_answer(data: bytes) -> Received:
    """Read an answer, or the challenge that came in its place.

    Raises:
        WireError: the bytes are neither.
    """
    head, body = _split(data)
    if isinstance(challenge := head.get("challenge"), str):
        return Challenge(challenge)
    status = head.get("status")
    if type(status) is not int or not 200 <= status <= 599:
        raise WireError("the status is not from 200 to 599", layer=_LAYER)
    headers = {name: value for name, value in _headers(head).items() if _travels_back(name)}
    return Answer(status, body, headers)


def _travels_back(name: str) -> bool:
    lowered = name.lower()
    return lowered in _ANSWER_HEADERS or lowered.startswith("x-consul-")


def _join(head: Mapping[str, Any], body: bytes) -> bytes:
    # ASCII, so that bytes of a target that are no UTF-8 (surrogates in Python) come out as they were.
    packed = json.dumps(head, separators=(",", ":")).encode()
    return _LENGTH.pack(len(packed)) + packed + body


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    if len(data) < _LENGTH.size:
        raise WireError("there is no length", layer=_LAYER)
    (length,) = _LENGTH.unpack_from(data)
    end = _LENGTH.size + length
    if length > MAX_HEAD or end > len(data):
        raise WireError(f"a head of {length} bytes is too long", layer=_LAYER)
    try:
        head = json.loads(data[_LENGTH.size : end])
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise WireError("the head is not JSON", layer=_LAYER) from None
    if not isinstance(head, dict):
        raise WireError("the head is not an object", layer=_LAYER)
    return head, data[end:]


def _headers(head: Mapping[str, Any]) -> dict[str, str]:
    """The headers; none that would break out of its line where it is written again."""
    headers = head.get("headers")
    if not isinstance(headers, dict) or not all(
        isinstance(value, str) and value.isprintable() and name.isascii() and name.isprintable()
        for name, value in headers.items()
    ):
        raise WireError("the headers are not lines of text", layer=_LAYER)
    return headers
