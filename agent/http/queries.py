"""``/v1/agent/query``: ask the members of the LAN pool with a Serf query. Consul has no such thing.

Consul's ``/v1/query`` is about prepared queries of its catalog, which these have nothing to do with.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from agent.durations import parse_duration
from agent.http.errors import HttpError
from agent.http.operator import relay_factor_of
from agent.http.routing import Call, Methods, Reply, Route
from agent.patterns import PatternError, compile_pattern
from gossip.events import QueryAck, QueryAnswer
from gossip.serf.queries import INTERNAL_PREFIX

if TYPE_CHECKING:
    from gossip.events import QueryReply

__all__ = ["MAX_PAYLOAD", "MAX_TIMEOUT", "PING", "routes"]

MAX_PAYLOAD = 1024
"""Bytes; Serf's default limit of a whole query, so that a body beyond cannot be sent anyway."""
MAX_TIMEOUT = 60.0
"""Seconds that a request waits for replies; Serf's default is 3.2 for up to 9 members."""
MAX_REPLY_BYTES = 4 * 1024 * 1024
"""Bytes of answers that one reply holds; collecting ends there, and `Truncated` tells."""
PING = "_serf_ping"
"""The one query of the protocol's own that may be sent from here: members only acknowledge it."""


def routes() -> tuple[Route, ...]:
    """The endpoint."""
    return (Route("/v1/agent/query/", Methods.UPDATE, query, check=_check),)


async def query(call: Call) -> Reply:
    """Send a query with the body as its payload, and collect the replies until its deadline.

    ``?node=`` names one member, ``?tag=key=expression`` filters by one tag; ``?ack`` asks for
    acknowledgements, ``?relay-factor=`` and ``?timeout=`` are Serf's.
    """
    payload = await call.read_body(MAX_PAYLOAD)
    name, expression = _tag(call)
    replies: list[dict[str, Any]] = []
    held = 0
    with call.agent.asking():
        async with call.agent.cluster.query(
            call.rest,
            payload,
            nodes=(call.get("node"),) if call.get("node") else (),
            tags={name: expression} if name else None,
            request_ack=call.has("ack"),
            relay_factor=relay_factor_of(call),
            timeout=_timeout(call),
        ) as coming:
            async for reply in coming:
                held += len(reply.payload) if isinstance(reply, QueryAnswer) else 0
                if held > MAX_REPLY_BYTES:
                    break
                replies.append(_render(reply))
    return Reply({"Name": call.rest, "Replies": replies, "Truncated": held > MAX_REPLY_BYTES})


def _check(call: Call) -> None:
    if not call.rest:
        raise HttpError(400, "Missing name")
    if call.rest.startswith(INTERNAL_PREFIX) and call.rest != PING:
        raise HttpError(
            400, f"Queries {INTERNAL_PREFIX}... belong to the protocol; only {PING} may be sent"
        )
    _, expression = _tag(call)
    try:
        if expression:
            compile_pattern(expression)  # sent nevertheless, it would be answered by nobody
    except PatternError as error:
        raise HttpError(400, f"Invalid tag: {error}") from None
    _timeout(call)
    relay_factor_of(call)


def _tag(call: Call) -> tuple[str, str]:
    name, equals, expression = call.get("tag").partition("=")
    if call.get("tag") and not (name and equals):
        raise HttpError(400, "Invalid tag: it has to be name=expression")
    return name, expression


def _timeout(call: Call) -> float | None:
    """Seconds; None for Serf's default, which 0 stands for too, as in Serf."""
    text = call.get("timeout")
    try:
        seconds = parse_duration(text) if text else None
    except ValueError:
        raise HttpError(400, 'Invalid timeout: it has to be a duration such as "5s"') from None
    if seconds is not None and not 0 <= seconds <= MAX_TIMEOUT:
        raise HttpError(400, f"Invalid timeout: it has to be from 0 to {MAX_TIMEOUT:g}s")
    return seconds or None


def _render(reply: QueryReply) -> dict[str, Any]:
    match reply:
        case QueryAck(node=node):
            return {"Type": "ack", "From": node, "Payload": None}
        case QueryAnswer(node=node, payload=payload):
            text = base64.b64encode(payload).decode() if payload else None
            return {"Type": "response", "From": node, "Payload": text}
