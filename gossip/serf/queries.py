"""Queries that arrive: which are new, which are for us, who answers them, and how answers travel.

A query is passed on once, whether or not it is meant for us. Names that begin with ``_serf_`` are
questions of the protocol itself and never reach the application; everything else is told to it, and it
may answer once, before the deadline. Queries of our own come here too: see `gossip.serf.asking`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gossip.errors import LimitError, QueryError, WireError
from gossip.events import QueryReceived
from gossip.serf.asking import MAX_QUERY_TIMEOUT
from gossip.serf.tags import tags_of
from gossip.wire.address import format_address, is_usable
from gossip.wire.messages import UserMessage
from gossip.wire.serf import Query, QueryFlag, QueryResponse, Relay, SerfType
from gossip.wire.values import NodeFilter, TagFilter, decode_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gossip.serf.node import Node

__all__ = ["INTERNAL_PREFIX", "Queries", "deadline_of"]

INTERNAL_PREFIX = "_serf_"

RELAY = bytes((SerfType.RELAY,))
MAX_RELAYS = 5
"""Members that a response is relayed through at most, whatever the query asks (Consul's limit)."""
MAX_IDS_PER_TIME = 1024
"""Queries remembered per Lamport time; a further one at that time is dropped and counted."""
MAX_UNANSWERED = 1024
"""Queries that the application may still answer; beyond, the oldest is given up and counted."""


class Queries:
    """The receiving side of queries for a `Node`.

    Args:
        node: whose.
        internal: who answers the protocol's own questions, by what follows ``_serf_`` in their names.
    """

    def __init__(self, node: Node, internal: Mapping[str, Callable[[Query, float], None]]) -> None:
        self._node = node
        self._internal = internal
        self._size = node.config.query_buffer
        self._seen: list[tuple[int, set[int]] | None] = [None] * self._size
        self._unanswered: dict[tuple[int, int], tuple[Query, float]] = {}
        self.min_time = 0

    def receive(self, query: Query, now: float) -> bool:
        """Take in a query whose time has been witnessed; tells whether to pass it on."""
        if not self._is_new(query):
            return False
        if self._is_for_us(query):
            if query.flags & QueryFlag.ACK:
                self.answer(query, b"", now, flags=QueryFlag.ACK)
            if query.name.startswith(INTERNAL_PREFIX):
                self._answer_internal(query, now)
            else:
                self._tell(query, now)
        return not query.flags & QueryFlag.NO_BROADCAST

    def respond(self, query: QueryReceived, payload: bytes, now: float) -> None:
        """The application answers.

        Raises:
            LimitError: the answer is too large; a smaller one may be tried.
            QueryError: it comes too late, or is the second one.
        """
        key = query.ltime, query.id
        asked, deadline = self._unanswered.get(key, (None, 0.0))
        if asked is None:
            raise QueryError(f"query {query.name!r} has been answered already, or given up")
        if now > deadline:
            raise QueryError(f"the deadline of query {query.name!r} has passed")
        self._send(asked, 0, payload, now)
        del self._unanswered[key]

    def answer(self, query: Query, payload: bytes, now: float, *, flags: int = 0) -> None:
        """Send a reply of the protocol's own; one that is too large is counted and dropped."""
        try:
            self._send(query, flags, payload, now)
        except LimitError:
            self._node.stats["query_responses_too_large"] += 1

    def response(self, query: Query, payload: bytes, flags: int = 0) -> bytes | None:
        """Our reply as it travels, or None when it exceeds the limit."""
        config = self._node.config
        response = QueryResponse(query.ltime, query.id, config.name, flags, payload).encode()
        return response if len(response) <= config.query_response_size_limit else None

    def forward(self, relay: Relay) -> None:
        """Pass a relayed response on to where it was going."""
        if relay.payload[:1] == RELAY:  # nobody sends these, and each layer would be one more hop
            self._node.stats["relays_refused"] += 1
            return
        if not is_usable(relay.dest_addr, relay.dest_port):
            self._node.stats["addresses_refused"] += 1
            return
        address = format_address(relay.dest_addr, relay.dest_port)
        self._node.membership.send_packet([UserMessage(relay.payload).encode()], address)

    def _is_new(self, query: Query) -> bool:
        clock = self._node.query_clock.time
        too_old = clock > self._size and query.ltime < clock - self._size
        if query.ltime < self.min_time or too_old:
            self._node.stats["queries_too_old"] += 1
            return False
        index = query.ltime % self._size
        slot = self._seen[index]
        if slot is None or slot[0] != query.ltime:
            slot = self._seen[index] = (query.ltime, set())
        if query.id in slot[1]:
            return False
        if len(slot[1]) >= MAX_IDS_PER_TIME:
            self._node.stats["queries_over_limit"] += 1
            return False
        slot[1].add(query.id)
        return True

    def _is_for_us(self, query: Query) -> bool:
        try:
            return all(self._passes(decode_filter(data)) for data in query.filters)
        except WireError:
            self._node.stats["query_filters_refused"] += 1
            return False

    def _passes(self, query_filter: NodeFilter | TagFilter) -> bool:
        own = self._node.membership.own.info
        match query_filter:
            case NodeFilter(nodes):
                return own.name in nodes
            case TagFilter(tag, expression):
                return self._matches(expression, tags_of(own.meta).get(tag, ""))

    def _matches(self, expression: str, value: str) -> bool:
        # RE2 runs in linear time: the expression comes from the network. Imported at first use,
        # because most nodes never see a tag filter.
        import re2  # noqa: PLC0415

        options = re2.Options()
        options.log_errors = False  # or it writes to stderr whatever anybody sends
        pattern, text = (part.encode("utf-8", "surrogateescape") for part in (expression, value))
        try:
            return re2.search(pattern, text, options) is not None
        except re2.error:
            self._node.stats["query_filters_refused"] += 1
            return False

    def _answer_internal(self, query: Query, now: float) -> None:
        answer = self._internal.get(query.name.removeprefix(INTERNAL_PREFIX))
        if answer is None:
            self._node.stats["queries_unknown"] += 1
        else:
            answer(query, now)

    def _tell(self, query: Query, now: float) -> None:
        """Tell the application, and keep what an answer needs."""
        deadline = deadline_of(query, now)
        if len(self._unanswered) >= MAX_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
            self._node.stats["queries_given_up"] += 1
        kept = replace(query, filters=[], payload=b"")
        self._unanswered[query.ltime, query.id] = kept, deadline
        told = QueryReceived(
            query.id,
            query.ltime,
            query.name,
            query.payload,
            query.source_node,
            self._node.driver_time(deadline),
        )
        self._node.notify(told, now)

    def _send(self, query: Query, flags: int, payload: bytes, now: float) -> None:
        node = self._node
        encoded = self.response(query, payload, flags)
        if encoded is None:
            limit = node.config.query_response_size_limit
            raise LimitError(
                f"answer of {len(payload)} bytes exceeds, encoded, the limit of {limit} bytes"
            )
        if node.asking.is_ours(query):
            own = QueryResponse(query.ltime, query.id, node.config.name, flags, payload)
            node.asking.receive(own, now)
        elif is_usable(query.addr, query.port):
            address = format_address(query.addr, query.port)
            node.membership.send_packet([UserMessage(encoded).encode()], address)
            self._relay(query, encoded)
        else:
            node.stats["addresses_refused"] += 1

    def _relay(self, query: Query, response: bytes) -> None:
        """Send the response through other members too, as the query asks."""
        node = self._node
        if not query.relay_factor or len(node.members) < query.relay_factor + 1:
            return
        relay = Relay(query.addr, query.port, query.source_node, response).encode()
        if len(relay) > node.config.query_response_size_limit:
            node.stats["query_responses_too_large"] += 1
            return
        message = UserMessage(relay).encode()
        membership = node.membership
        for record in membership.table.choose(
            min(query.relay_factor, MAX_RELAYS),
            lambda r: membership.is_reachable(r) and r.info.protocol_max >= 5,
        ):
            membership.send_packet([message], record.info.address)


def deadline_of(query: Query, now: float) -> float:
    """Local time after which a query that has just come takes no answers."""
    return now + min(max(query.timeout_ns, 0) / 1e9, MAX_QUERY_TIMEOUT)
