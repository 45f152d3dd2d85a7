"""Name conflicts: two nodes use one name, and the pool decides whose it is.

Every other member tells whom it holds for the owner. Serf's rule: whoever is not backed by more than
half of the answers shuts down, without a farewell, which would be about the other node as well. Some
cases are judged otherwise here, because Serf's rule would end both nodes, or one that nobody complains
about:

* no answer at all (Serf: lost). There is nobody else, or nobody can be heard; either way nothing is won
  by going away.
* exactly half (Serf: lost, for either side). The lower address stays, and both sides see it so.
* an owner elsewhere that is failed or left (Serf: a vote for it) owns nothing any more: no vote.

Serf counts any answer; here only known members vote, once each, so that nobody votes for made-up ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import LimitError, WireError
from gossip.events import MemberStatus, NameConflictLost, QueryAnswer, QueryReply
from gossip.serf.asking import Collector, Question
from gossip.serf.leave import Lifecycle
from gossip.serf.tags import tags_of
from gossip.wire.address import format_address
from gossip.wire.serf import ConflictResponse, MemberInfo, Query, decode_serf

if TYPE_CHECKING:
    from gossip.serf.members import SerfMember
    from gossip.serf.node import Node
    from gossip.swim.members import NodeInfo

__all__ = ["NameConflict"]

VOTE_INTERVAL = 5.0
"""Seconds between votes: the other node's news may come with every packet, and while two pools are
merging the first vote hears only some of the voters."""
GONE = {MemberStatus.FAILED, MemberStatus.LEFT}


class NameConflict:
    """The votes of a `Node`: its own about its name, and its answers to those of others."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._next_vote_at = 0.0
        self._booked = False
        self._other: NodeInfo | None = None
        self._collector: Collector | None = None
        self._votes = 0
        self._voters = 0

    def answer(self, query: Query, now: float) -> None:
        """Tell who we think has the name; the member concerned itself has no vote.

        Without any answer a genuine agent concludes that it lost, and shuts down.
        """
        name = query.payload.decode("utf-8", "surrogateescape")
        if name == self._node.config.name:
            return
        member = self._node.members.get(name)
        described = _describe(member) if member is not None else None
        self._node.queries.answer(query, ConflictResponse(described).encode(), now)

    def begin(self, other: NodeInfo, now: float) -> None:
        """Another node claims our name: have the pool vote, later if it just did."""
        node = self._node
        if node.lifecycle is not Lifecycle.ALIVE or self._booked:
            return
        if now < self._next_vote_at:
            self._booked = True
            node.membership.timers.call_at(self._next_vote_at, lambda now: self._resume(other, now))
            return
        name = node.config.name
        question = Question("_serf_conflict", name.encode("utf-8", "surrogateescape"))
        self._next_vote_at = now + VOTE_INTERVAL
        self._other, self._votes, self._voters = other, 0, 0
        try:
            self._collector = node.asking.ask(
                question, now, on_reply=self._count, on_closed=self._decide
            )
        except LimitError as error:
            node.membership.notice(f"name conflict: no vote: {error}")

    def _resume(self, other: NodeInfo, now: float) -> None:
        self._booked = False
        self.begin(other, now)

    def _count(self, reply: QueryReply, _now: float) -> None:
        node = self._node
        if not isinstance(reply, QueryAnswer) or not self._may_vote(reply.node):
            return
        try:
            response = decode_serf(reply.payload)
            if not isinstance(response, ConflictResponse):
                raise WireError("a vote is no conflict response")
            member = response.member
            backed = member is not None and (
                format_address(member.addr, member.port) == node.membership.own.info.address
            )
        except WireError:
            node.stats["votes_refused"] += 1
            return
        if backed or member is None or member.status not in GONE:
            self._voters += 1
            self._votes += backed

    def _may_vote(self, name: str) -> bool:
        member = self._node.members.get(name)
        return member is not None and name != self._node.config.name and member.status not in GONE

    def _decide(self, now: float) -> None:
        node, collector = self._node, self._collector
        closed_early = collector is None or now < collector.deadline
        if closed_early or node.lifecycle is not Lifecycle.ALIVE:
            return
        votes, voters = self._votes, self._voters
        share = f"name conflict: {votes} of {voters} members hold us for {node.config.name!r}"
        if self._stays():
            node.membership.notice(f"{share}: we stay")
            return
        node.membership.notice(f"{share}: we shut down")
        node.lifecycle = Lifecycle.LOST_NAME
        node.notify(NameConflictLost(node.config.name, votes, voters), now)

    def _stays(self) -> bool:
        if 2 * self._votes != self._voters:
            return 2 * self._votes > self._voters
        own, other = self._node.membership.own.info, self._other
        if not self._voters or other is None:
            return True
        return (own.addr, own.port) < (other.addr, other.port)


def _describe(member: SerfMember) -> MemberInfo:
    info = member.info
    versions = info.vsn if len(info.vsn) >= 6 else bytes(6)
    return MemberInfo(
        info.name, info.addr, info.port, tags_of(info.meta), int(member.status), *versions[:6]
    )
