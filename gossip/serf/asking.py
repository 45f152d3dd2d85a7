"""Asking: queries of our own, and the replies that members send to them.

    ask --> open --deadline, closed early--> closed
             | ^
             v | acks and answers, one of each per member

A query spreads as a broadcast; whoever it is meant for sends an ack (if asked) and an answer straight to
us. We answer too when the query is meant for us; such replies do not touch the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10
from typing import TYPE_CHECKING

from gossip.errors import LimitError
from gossip.events import MemberStatus, QueryAck, QueryAnswer, QueryReply
from gossip.wire.messages import UserMessage
from gossip.wire.serf import Query, QueryFlag, QueryResponse
from gossip.wire.values import NodeFilter, TagFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from gossip.serf.node import Node
    from gossip.swim.timers import Timer

__all__ = ["MAX_QUERY_TIMEOUT", "Asking", "Collector", "Question"]

MAX_OPEN_QUERIES = 256
"""Queries of ours that are open at a time; a further one is refused."""
REPLIES_PER_MEMBER = 2
"""A query takes so many replies of a kind per member known at its start ..."""
SPARE_REPLIES = 64
"""... and so many more, for members that join meanwhile. Whoever forges names gets no further."""
MAX_QUERY_TIMEOUT = 3600.0
"""The longest time that a query may stay open, seconds."""
MAX_RELAY_FACTOR = 255


@dataclass(slots=True, frozen=True)
class Question:
    """What is asked of whom.

    Attributes:
        name: tells the members which handler is meant.
        payload: for that handler.
        nodes: names of the members that are asked; empty for all.
        tags: expressions (RE2, searched unanchored) that the tags of those asked have to match.
        request_ack: everybody asked says at once that the query has arrived.
        relay_factor: each reply comes through so many other members too, 0 to 255 (most send 5 at most).
        timeout: seconds that replies are waited for; None for Serf's default.
    """

    name: str
    payload: bytes = b""
    nodes: Sequence[str] = ()
    tags: Mapping[str, str] | None = None
    request_ack: bool = False
    relay_factor: int = 0
    timeout: float | None = None


class Collector:
    """One query of ours and who has replied.

    Attributes:
        ltime: Lamport time of the query.
        id: its number among those of that time.
        deadline: local time at which it closes.
    """

    def __init__(
        self,
        query: Query,
        deadline: float,
        limit: int,
        on_reply: Callable[[QueryReply, float], None],
        on_closed: Callable[[float], None],
    ) -> None:
        self.ltime = query.ltime
        self.id = query.id
        self.deadline = deadline
        self._limit = limit
        self._takes_acks = bool(query.flags & QueryFlag.ACK)
        self._on_reply = on_reply
        self.on_closed = on_closed
        self._acked: set[str] = set()
        self._answered: set[str] = set()
        self.timer: Timer | None = None

    def receive(self, response: QueryResponse, now: float) -> str:
        """Take a reply in; returns the name of the counter it belongs to."""
        is_ack = bool(response.flags & QueryFlag.ACK)
        kind = "acks" if is_ack else "responses"
        if (is_ack and not self._takes_acks) or not response.sender:
            return "query_responses_unexpected"
        seen = self._acked if is_ack else self._answered
        if response.sender in seen:
            return f"query_duplicate_{kind}"
        if len(seen) >= self._limit:
            return "query_responses_over_limit"
        seen.add(response.sender)
        sender = response.sender
        self._on_reply(QueryAck(sender) if is_ack else QueryAnswer(sender, response.payload), now)
        return f"query_{kind}"


class Asking:
    """The asking side of queries for a `Node`."""

    def __init__(self, node: Node, rng: Random) -> None:
        self._node = node
        self._rng = rng
        self._open: dict[tuple[int, int], Collector] = {}

    def ask(
        self,
        question: Question,
        now: float,
        *,
        on_reply: Callable[[QueryReply, float], None],
        on_closed: Callable[[float], None],
    ) -> Collector:
        """Send a query to everybody, ourselves included.

        Args:
            question: what is asked.
            now: local time.
            on_reply: called with each ack and answer; our own may come before this returns.
            on_closed: called once, when no more will come.

        Raises:
            LimitError: it is too large, or a number is out of range, or too many are open already;
                nothing was sent.
        """
        node = self._node
        query = self._query(question)
        encoded = self._checked(query)
        limit = REPLIES_PER_MEMBER * len(node.members) + SPARE_REPLIES
        deadline = now + query.timeout_ns / 1e9
        collector = Collector(query, deadline, limit, on_reply, on_closed)
        self._open[query.ltime, query.id] = collector
        collector.timer = node.membership.timers.call_at(
            deadline, lambda now: self.close(collector, now)
        )
        node.witness(node.query_clock, query.ltime)
        node.queries.receive(query, now)
        node.broadcast(node.membership.dissemination.queries, encoded, None, now)
        return collector

    def receive(self, response: QueryResponse, now: float) -> None:
        """A member replies; a reply to nothing that is open is counted and dropped."""
        collector = self._open.get((response.ltime, response.id))
        counter = "query_responses_unexpected"
        if collector is not None:
            counter = collector.receive(response, now)
        self._node.stats[counter] += 1

    def is_ours(self, query: Query) -> bool:
        """Whether a query is one of ours that is open: its replies need no network."""
        return (query.ltime, query.id) in self._open

    def close(self, collector: Collector, now: float) -> None:
        """Take no more replies; closing again does nothing."""
        if self._open.pop((collector.ltime, collector.id), None) is not None:
            self._node.membership.timers.cancel(collector.timer)
            collector.on_closed(now)

    def close_all(self, now: float) -> None:
        """Close everything that is open: the node stops."""
        for collector in list(self._open.values()):
            self.close(collector, now)

    def default_timeout(self) -> float:
        """Serf's time for answers, seconds: longer in a larger pool."""
        config = self._node.config
        alive = self._node.members.counts[MemberStatus.ALIVE]
        return config.gossip_interval * config.query_timeout_mult * max(ceil(log10(alive + 1)), 1)

    def _query(self, question: Question) -> Query:
        node = self._node
        timeout = self.default_timeout() if question.timeout is None else question.timeout
        if not 0 < timeout <= MAX_QUERY_TIMEOUT:
            raise LimitError(f"query timeout {timeout} s is not between 0 and {MAX_QUERY_TIMEOUT}")
        if not 0 <= question.relay_factor <= MAX_RELAY_FACTOR:
            raise LimitError(
                f"relay factor {question.relay_factor} is not between 0 and {MAX_RELAY_FACTOR}"
            )
        own = node.membership.own.info
        filters = [NodeFilter(list(question.nodes)).encode()] if question.nodes else []
        filters += [TagFilter(tag, expr).encode() for tag, expr in (question.tags or {}).items()]
        return Query(
            node.query_clock.upcoming,
            self._rng.getrandbits(31),
            own.addr,
            own.port,
            own.name,
            filters,
            QueryFlag.ACK.value if question.request_ack else 0,
            question.relay_factor,
            ceil(timeout * 1e9),
            question.name,
            question.payload,
        )

    def _checked(self, query: Query) -> bytes:
        node = self._node
        encoded = query.encode()
        limit = node.config.query_size_limit
        if len(encoded) > limit:
            raise LimitError(
                f"query of {len(encoded)} bytes, encoded, exceeds the limit of {limit} bytes"
            )
        if not node.membership.broadcast_fits(UserMessage(encoded).encode()):
            raise LimitError(f"query of {len(encoded)} bytes does not fit into a gossip packet")
        if len(self._open) >= MAX_OPEN_QUERIES:
            raise LimitError(f"{MAX_OPEN_QUERIES} queries are open already")
        return encoded
