"""Name conflicts: whose the name is, by the votes of the others."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.events import MemberStatus, NameConflictLost
from gossip.serf.conflict import VOTE_INTERVAL
from gossip.serf.leave import Lifecycle
from gossip.wire.messages import Dead
from gossip.wire.serf import ConflictResponse, MemberInfo, Query, QueryResponse
from tests.rigs import PORT, VSN, NodeRig, alive, info_of, ip_of

OURS = ip_of("me")
HIGHER = b"\xc0\xa8\x00\x01"
LOWER = b"\x01\x00\x00\x01"
assert LOWER < OURS < HIGHER


class Vote:
    """A node whose name somebody at `other` claims too, and the members that judge it."""

    def __init__(self, *voters: str, other: bytes = HIGHER, **settings: Any) -> None:
        self.rig = NodeRig(**settings)
        self.rig.learn(*voters)
        self.other = other
        self.claim()

    def claim(self) -> None:
        self.rig.hear(alive("me", 1, addr=self.other))

    def queries(self) -> list[Query]:
        return [q for q in self.rig.queued("queries") if isinstance(q, Query)]

    def say(
        self, voter: str, addr: bytes | None, *, status: int = 1, payload: bytes | None = None
    ) -> None:
        query = self.queries()[-1]
        member = None if addr is None else MemberInfo("me", addr, PORT, {}, status, *VSN)
        if payload is None:
            payload = ConflictResponse(member).encode()
        self.rig.hear_serf(QueryResponse(query.ltime, query.id, voter, 0, payload))

    def end(self) -> Lifecycle:
        self.rig.advance(4)
        return self.rig.node.lifecycle


def test_r14_a_conflict_about_our_name_asks_everybody() -> None:
    vote = Vote("ann", "bob")

    (query,) = vote.queries()

    assert (query.name, query.payload, query.filters, query.flags) == (
        "_serf_conflict",
        b"me",
        [],
        0,
    )
    assert query.timeout_ns == 3_200_000_000


def test_r14_a_conflict_about_another_name_is_not_ours_to_judge() -> None:
    vote = Vote("ann")
    vote.rig.quiet()

    vote.rig.hear(alive("ann", 9, addr=HIGHER))

    assert vote.queries() == []


def test_r14_no_vote_where_the_pool_does_not_want_any() -> None:
    vote = Vote("ann", resolve_name_conflicts=False)

    assert vote.queries() == []
    assert vote.end() is Lifecycle.ALIVE
    assert vote.rig.stats["name_conflicts"] == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "unknown", "stays"),
    [
        (1, 0, 0, True),
        (0, 1, 0, False),
        (2, 1, 0, True),
        (1, 2, 0, False),
        (2, 0, 1, True),
        (1, 0, 2, False),  # as Serf: who does not know us does not hold us
        (0, 0, 3, False),
    ],
)
def test_r14_more_than_half_decides(ours: int, theirs: int, unknown: int, *, stays: bool) -> None:
    names = [f"n{index}" for index in range(3)]
    vote = Vote(*names)
    says = [OURS] * ours + [vote.other] * theirs + [None] * unknown

    for name, addr in zip(names, says, strict=False):
        vote.say(name, addr)

    assert vote.end() is (Lifecycle.ALIVE if stays else Lifecycle.LOST_NAME)
    lost = [e for e in vote.rig.events() if isinstance(e, NameConflictLost)]
    assert lost == ([] if stays else [NameConflictLost("me", ours, ours + theirs + unknown)])


def test_r14_without_any_answer_nobody_shuts_down() -> None:
    vote = Vote("ann")

    assert vote.end() is Lifecycle.ALIVE
    assert "0 of 0 members hold us" in vote.rig.node.take_notices()[-1]


@pytest.mark.parametrize(("other", "stays"), [(HIGHER, True), (LOWER, False)])
def test_r14_in_a_tie_the_lower_address_stays(other: bytes, *, stays: bool) -> None:
    vote = Vote("ann", "bob", other=other)

    vote.say("ann", OURS)
    vote.say("bob", other)

    assert vote.end() is (Lifecycle.ALIVE if stays else Lifecycle.LOST_NAME)


def test_r14_an_address_counts_in_either_form() -> None:
    vote = Vote("ann")

    vote.say("ann", bytes(10) + b"\xff\xff" + OURS)

    assert vote.end() is Lifecycle.ALIVE


@pytest.mark.parametrize("status", [MemberStatus.LEFT, MemberStatus.FAILED])
def test_r14_an_owner_that_is_gone_owns_nothing(status: MemberStatus) -> None:
    vote = Vote("ann", "bob", "cat")

    vote.say("ann", OURS)
    vote.say("bob", vote.other, status=status)
    vote.say("cat", vote.other, status=status)

    assert vote.end() is Lifecycle.ALIVE


def test_r14_only_living_members_vote_and_once_each() -> None:
    vote = Vote("ann", "bob")
    vote.rig.hear(Dead(1, "bob", "ann"))

    vote.say("ann", OURS)
    for voter in ("ann", "bob", "me", "stranger", "stranger-2"):
        vote.say(voter, vote.other)

    assert vote.end() is Lifecycle.ALIVE


@pytest.mark.parametrize(
    "payload", [b"", b"\x06", b"\x06\xc1", b"\x05\x80", b"\xff", b"\x06\x81\xa4Addr\xa1x"]
)
def test_s20_a_vote_that_makes_no_sense_is_no_vote(payload: bytes) -> None:
    vote = Vote("ann")

    vote.say("ann", None, payload=payload)

    assert vote.rig.stats["votes_refused"] == 1
    assert vote.end() is Lifecycle.ALIVE


def test_r14_a_claim_during_a_vote_leads_to_one_more_vote_later() -> None:
    vote = Vote("ann")
    for _ in range(50):
        vote.claim()
    first = len(vote.queries())
    vote.say("ann", OURS)
    vote.end()
    vote.rig.quiet()
    vote.rig.advance(VOTE_INTERVAL - 4.01)
    early = len(vote.queries())
    vote.rig.advance(0.02)
    second = len(vote.queries())
    vote.say("ann", vote.other)

    assert (first, early, second) == (1, 0, 1)
    assert vote.end() is Lifecycle.LOST_NAME


def test_r14_without_further_claims_there_is_no_further_vote() -> None:
    vote = Vote("ann")
    vote.end()
    vote.rig.quiet()

    vote.rig.advance(10 * VOTE_INTERVAL)

    assert vote.queries() == []


def test_r14_who_leaves_anyway_does_not_vote() -> None:
    rig = NodeRig()
    rig.learn("ann")
    rig.node.leave(rig.now)

    rig.m.delegate.notify_conflict(rig.m.own.info, info_of("me", addr=HIGHER), rig.now)

    assert rig.queued("queries") == []


def test_r14_a_leave_during_the_vote_is_a_leave() -> None:
    vote = Vote("ann")
    vote.say("ann", vote.other)
    vote.rig.node.leave(vote.rig.now)

    assert vote.end() is Lifecycle.LEFT


def test_r14_a_vote_cut_short_decides_nothing() -> None:
    vote = Vote("ann")
    vote.say("ann", vote.other)

    vote.rig.node.close_queries(vote.rig.now)

    assert vote.rig.node.lifecycle is Lifecycle.ALIVE
    assert vote.rig.events() == []
