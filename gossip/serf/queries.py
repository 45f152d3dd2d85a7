"""Queries of other members: which are new, which are for us, and the answers to Serf's own.

A query is passed on once, whether or not it is meant for us. Names that begin with ``_serf_`` are
questions of the protocol itself and never reach the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.serf.tags import tags_of
from gossip.wire.address import format_address, is_usable
from gossip.wire.messages import UserMessage
from gossip.wire.serf import (
    ConflictResponse,
    MemberInfo,
    Query,
    QueryFlag,
    QueryResponse,
    Relay,
    SerfType,
)
from gossip.wire.values import NodeFilter, TagFilter, decode_filter

if TYPE_CHECKING:
    from gossip.serf.members import SerfMember
    from gossip.serf.node import Node

__all__ = ["Queries"]

RELAY = bytes((SerfType.RELAY,))
MAX_RELAYS = 5
"""Members that a response is relayed through at most, whatever the query asks (Consul's limit)."""
MAX_IDS_PER_TIME = 1024
"""Queries remembered per Lamport time; a further one at that time is dropped and counted."""


class Queries:
    """The receiving side of queries for a `Node`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._size = node.config.query_buffer
        self._seen: list[tuple[int, set[int]] | None] = [None] * self._size
        self.min_time = 0

    def receive(self, query: Query) -> bool:
        """Take in a query whose time has been witnessed; tells whether to pass it on."""
        if not self._is_new(query):
            return False
        if self._is_for_us(query):
            if query.flags & QueryFlag.ACK:
                self._respond(query, QueryFlag.ACK, b"")
            if query.name == "_serf_conflict":
                self._answer_conflict(query)
        return not query.flags & QueryFlag.NO_BROADCAST

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

    def _answer_conflict(self, query: Query) -> None:
        """Tell who we think has the name; the member concerned itself has no vote.

        Without any answer a genuine agent concludes that it lost, and shuts down.
        """
        name = query.payload.decode("utf-8", "surrogateescape")
        if name == self._node.config.name:
            return
        member = self._node.members.get(name)
        described = _describe(member) if member is not None else None
        self._respond(query, 0, ConflictResponse(described).encode())

    def _respond(self, query: Query, flags: int, payload: bytes) -> None:
        node = self._node
        if not is_usable(query.addr, query.port):
            node.stats["addresses_refused"] += 1
            return
        response = QueryResponse(query.ltime, query.id, node.config.name, flags, payload).encode()
        if len(response) > node.config.query_response_size_limit:
            node.stats["query_responses_too_large"] += 1
            return
        address = format_address(query.addr, query.port)
        node.membership.send_packet([UserMessage(response).encode()], address)
        self._relay(query, response)

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


def _describe(member: SerfMember) -> MemberInfo:
    info = member.info
    versions = info.vsn if len(info.vsn) >= 6 else bytes(6)
    return MemberInfo(
        info.name, info.addr, info.port, tags_of(info.meta), int(member.status), *versions[:6]
    )
