"""Queries over Serf's RPC: those of a client, with the replies as records, and its answers to others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.rpc.errors import RpcError
from gossip.events import QueryAck
from gossip.serf.queries import INTERNAL_PREFIX
from gossip.wire.codec import boolean, int64, raw, text, text_map, texts, u8, u64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent.rpc.session import Session
    from gossip.events import QueryReceived, QueryReply
    from gossip.queries import QueryReplies
    from gossip.wire.rpc import Request

__all__ = ["COMMANDS", "PendingQueries"]

MAX_PENDING = 512
"""Queries that one client may still answer; the oldest is forgotten for one more."""
PING = f"{INTERNAL_PREFIX}ping"
"""The one query of the protocol's own that clients may send: ``serf reachability``."""
ID_UNKNOWN = "No pending queries matching ID"


class PendingQueries:
    """The queries that a client was told about and has not answered, by the ids it knows them by."""

    def __init__(self) -> None:
        self._queries: dict[int, QueryReceived] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._queries)

    def add(self, query: QueryReceived) -> int:
        """Keep a query; returns its id for this client."""
        if len(self._queries) >= MAX_PENDING:
            del self._queries[next(iter(self._queries))]
        self._last += 1
        self._queries[self._last] = query
        return self._last

    def take(self, id: int) -> QueryReceived:  # noqa: A002 - Serf's word
        """The query of an id, once.

        Raises:
            RpcError: there is none.
        """
        query = self._queries.pop(id, None)
        if query is None:
            raise RpcError(ID_UNKNOWN)
        return query


async def query(session: Session, request: Request) -> None:
    """Ask the members; the replies follow as records, the last of which says that it is over."""
    body = request.body
    name, payload = text(body, b"Name"), raw(body, b"Payload")
    if name.startswith(INTERNAL_PREFIX) and (name != PING or payload):
        raise RpcError(f"Queries cannot contain the '{INTERNAL_PREFIX}' prefix")
    timeout = int64(body, b"Timeout")  # nanoseconds, 0 for the default
    replies = session.agent.cluster.query(
        name,
        payload,
        nodes=texts(body, b"FilterNodes"),
        tags=text_map(body, b"FilterTags"),
        request_ack=boolean(body, b"RequestAck"),
        relay_factor=u8(body, b"RelayFactor"),
        timeout=timeout / 1e9 if timeout else None,
    )
    session.open(request.seq, _send_replies(session, request.seq, replies), replies.close)


async def _send_replies(session: Session, seq: int, replies: QueryReplies) -> None:
    async for reply in replies:
        await session.send(seq, _record(reply))
    await session.send(seq, {"From": "", "Payload": None, "Type": "done"})


def _record(reply: QueryReply) -> Mapping[str, Any]:
    if isinstance(reply, QueryAck):
        return {"From": reply.node, "Payload": None, "Type": "ack"}
    return {"From": reply.node, "Payload": reply.payload or None, "Type": "response"}


async def respond(session: Session, request: Request) -> None:
    """Answer a query that a stream of this client has told of."""
    query = session.pending.take(u64(request.body, b"ID"))
    await session.agent.cluster.respond(query, raw(request.body, b"Payload"))


COMMANDS: Mapping[str, Callable[[Session, Request], Awaitable[None]]] = {
    "query": query,
    "respond": respond,
}
