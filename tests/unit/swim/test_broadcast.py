"""The transmit-limited queue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from gossip.swim import broadcast as module
from gossip.swim.broadcast import LOOKAHEAD, MAX_TOLD, Broadcast, TransmitQueue, retransmit_limit

if TYPE_CHECKING:
    from types import FrameType

    from gossip.wire.address import Address

ANN: Address = ("10.0.0.1", 7946)
BOB: Address = ("10.0.0.2", 7946)
CAT: Address = ("10.0.0.3", 7946)


def queue_for(*audience: Address, limit: int = 4) -> TransmitQueue:
    """A queue of a node that has these members to tell."""
    queue = TransmitQueue({}, lambda known: known.issuperset(audience))
    queue.limit = limit
    return queue


def take(queue: TransmitQueue, target: Address = ANN, *, room: int = 1400) -> list[bytes]:
    out: list[bytes] = []
    queue.take(out, room, target, 0.0)
    return out


def only(queue: TransmitQueue) -> Broadcast:
    (broadcast,) = queue._index.values()
    return broadcast


# Who has it already


def test_what_came_from_a_member_is_not_sent_back_and_its_copies_go_to_others() -> None:
    queue = queue_for(ANN, BOB, limit=2)
    queue.push(b"news", 0.0, source=ANN)

    sent = [take(queue, target) for target in (ANN, BOB, ANN, BOB)]

    assert sent == [[], [b"news"], [], [b"news"]]
    assert len(queue) == 0


def test_a_broadcast_is_finished_once_everybody_has_it() -> None:
    queue = queue_for(ANN, BOB)
    told: list[float] = []
    queue.push(b"news", 1.0, source=ANN, on_finished=told.append)

    queue.heard(only(queue), BOB, 2.0)

    assert told == [2.0]
    assert len(queue) == 0


def test_strangers_and_former_members_do_not_make_up_everybody() -> None:
    queue = queue_for(ANN, BOB)
    queue.push(b"news", 0.0, source=ANN)

    for number in range(100):  # one member behind address translation, or one who spoofs
        queue.heard(only(queue), ("192.0.2.7", 10_000 + number), 0.0)

    assert take(queue, BOB) == [b"news"]
    assert len(only(queue).known) == 64


def test_a_broadcast_is_finished_when_those_who_did_not_have_it_are_gone() -> None:
    audience = {ANN, BOB}
    queue = TransmitQueue({}, lambda known: known >= audience)
    queue.limit = 4
    queue.push(b"news", 0.0, source=ANN)
    audience.remove(BOB)

    assert take(queue, ANN) == []
    assert len(queue) == 0


# How often, and in which order


@pytest.mark.parametrize(
    ("members", "copies"),
    [(0, 1), (1, 4), (9, 4), (10, 8), (98, 8), (99, 8), (100, 12), (9_999, 16)],
)
def test_the_number_of_copies_follows_the_clusters_size(members: int, copies: int) -> None:
    assert retransmit_limit(4, members) == copies


def test_a_broadcast_is_sent_as_often_as_the_limit_says_and_then_finished() -> None:
    queue = queue_for(ANN, limit=3)
    told: list[float] = []
    queue.push(b"news", 0.0, on_finished=told.append)

    sent = [take(queue) for _ in range(4)]

    assert sent == [[b"news"]] * 3 + [[]]
    assert told == [0.0]
    assert len(queue) == 0


def test_what_was_told_lately_is_remembered_until_newer_news_replaces_it() -> None:
    queue = queue_for(ANN, limit=1)
    queue.push(b"alive 1", 0.0, subject="dan")
    take(queue)
    told = only(queue)

    assert (told.message, told.finished) == (b"alive 1", True)

    queue.push(b"dead 1", 0.0, subject="dan")

    assert (only(queue).message, only(queue).finished) == (b"dead 1", False)


def test_of_what_was_told_the_oldest_is_forgotten_first() -> None:
    queue = queue_for(ANN, limit=1)
    for number in range(MAX_TOLD + 3):
        queue.push(b"%d" % number, 0.0, subject=f"node-{number % 7}" if number % 2 else None)
        take(queue)

    assert len(queue._told) == MAX_TOLD
    assert len(queue._index) <= MAX_TOLD
    assert b"0" not in queue._index
    assert b"%d" % (MAX_TOLD + 2) in queue._index


def test_a_copy_of_what_was_told_finishes_nothing_twice() -> None:
    queue = queue_for(ANN)
    told: list[float] = []
    queue.push(b"news", 1.0, source=ANN, on_finished=told.append)

    queue.heard(only(queue), BOB, 2.0)

    assert told == [1.0]
    assert len(queue) == 0


def test_the_least_told_goes_first_and_among_equals_the_oldest() -> None:
    queue = queue_for(ANN)
    for message in (b"old1", b"old2", b"old3"):
        queue.push(message, 0.0)
    take(queue, room=12)  # two of them
    queue.push(b"new1", 0.0)

    assert take(queue) == [b"old3", b"new1", b"old1", b"old2"]


def test_a_message_is_in_a_packet_once() -> None:
    queue = queue_for(ANN)
    queue.push(b"news", 0.0)

    assert take(queue) == [b"news"]


def test_copies_that_count_as_sent_are_not_sent_but_one_always_is() -> None:
    queue = queue_for(ANN, limit=4)
    queue.push(b"most", 0.0, transmits=3)
    queue.push(b"more", 0.0, transmits=99)

    assert [take(queue) for _ in range(2)] == [[b"most", b"more"], []]


def test_a_growing_cluster_adds_copies_and_a_shrinking_one_takes_them_away() -> None:
    queue = queue_for(ANN, limit=2)
    queue.push(b"news", 0.0)
    take(queue)

    queue.limit = 4
    grown = [take(queue) for _ in range(2)]
    queue.limit = 1
    shrunk = [take(queue) for _ in range(2)]

    assert grown == [[b"news"], [b"news"]]
    assert shrunk == [[b"news"], []]


# Room


@pytest.mark.parametrize(("room", "count"), [(0, 0), (2, 0), (11, 0), (12, 1), (23, 1), (24, 2)])
def test_each_message_takes_two_bytes_more_than_its_own(room: int, count: int) -> None:
    queue = queue_for(ANN)
    queue.push(bytes(10), 0.0)
    queue.push(b"x" * 10, 0.0)
    out: list[bytes] = []

    left = queue.take(out, room, ANN, 0.0)

    assert len(out) == count
    assert left == room - 12 * count


def test_smaller_messages_fill_what_larger_ones_leave() -> None:
    queue = queue_for(ANN)
    for size in (50, 60, 20, 3):
        queue.push(bytes(size), 0.0)

    assert take(queue, room=80) == [bytes(50), bytes(20), bytes(3)]


def test_r54_a_tier_is_not_searched_without_end_for_what_fits() -> None:
    queue = queue_for(ANN)
    for number in range(LOOKAHEAD):
        queue.push(bytes(100) + b"%d" % number, 0.0)
    queue.push(b"small", 0.0)

    assert take(queue, room=50) == []


def test_what_a_target_has_is_searched_no_further_than_that_either() -> None:
    queue = queue_for(ANN, BOB)
    for number in range(LOOKAHEAD):
        queue.push(b"%d" % number, 0.0, source=ANN)
    queue.push(b"news", 0.0)

    assert take(queue, ANN) == []
    assert b"news" in take(queue, BOB)


# Replacing


def test_newer_news_about_a_subject_replaces_and_finishes_the_older() -> None:
    queue = queue_for(ANN)
    told: list[str] = []
    queue.push(b"alive", 0.0, subject="ann", on_finished=lambda _now: told.append("alive"))
    take(queue)

    queue.push(b"dead", 0.0, subject="ann", on_finished=lambda _now: told.append("dead"))

    assert told == ["alive"]
    assert len(queue) == 1
    assert [take(queue) for _ in range(5)] == [[b"dead"]] * 4 + [[]]
    assert told == ["alive", "dead"]


def test_news_without_a_subject_replaces_nothing() -> None:
    queue = queue_for(ANN)
    queue.push(b"one", 0.0)
    queue.push(b"two", 0.0)
    queue.push(b"three", 0.0, subject="ann")

    assert len(queue) == 3


def test_a_finished_subject_does_not_hold_up_its_successor() -> None:
    queue = queue_for(ANN, limit=1)
    queue.push(b"one", 0.0, subject="ann")
    take(queue)

    queue.push(b"two", 0.0, subject="ann")

    assert take(queue) == [b"two"]


# Counting and dropping


def test_the_bytes_still_to_be_sent_count_every_copy() -> None:
    queue = queue_for(ANN, limit=4)
    empty = queue.pending_bytes()
    queue.push(bytes(98), 0.0)
    full = queue.pending_bytes()
    take(queue)

    assert (empty, full, queue.pending_bytes()) == (0, 400, 300)


def test_the_fewest_transmits_are_those_of_the_least_told() -> None:
    queue = queue_for(ANN)
    counts = [queue.fewest_transmits()]
    queue.push(b"one", 0.0)
    take(queue)
    take(queue)
    counts.append(queue.fewest_transmits())
    queue.push(b"two", 0.0)
    counts.append(queue.fewest_transmits())

    assert counts == [None, 2, 0]


def test_pruning_drops_the_most_told_first_and_finishes_them() -> None:
    queue = queue_for(ANN)
    told: list[bytes] = []
    for message in (b"a", b"b", b"c", b"d"):
        queue.push(message, 0.0, on_finished=lambda _now, m=message: told.append(m))  # type: ignore[misc]  # bound
    take(queue, room=6)  # a and b have been told once

    dropped = queue.prune(1, 0.0)

    assert dropped == 3
    assert set(told[:2]) == {b"a", b"b"}
    assert take(queue) == [b"c"]


def test_pruning_below_the_bound_drops_nothing() -> None:
    queue = queue_for(ANN)
    queue.push(b"a", 0.0)

    assert queue.prune(1, 0.0) == 0
    assert len(queue) == 1


def test_r54_the_work_per_packet_does_not_grow_with_the_queue() -> None:
    def steps_per_packet(queued: int) -> float:
        """Python lines executed in the queue's module per packet of ten messages."""
        queue = queue_for(ANN, limit=4)
        for number in range(queued):
            queue.push(b"%08d" % number, 0.0)
        steps = 0

        def count(frame: FrameType, _event: str, _arg: object) -> object:
            nonlocal steps
            if frame.f_code.co_filename != module.__file__:
                return None
            steps += 1
            return count

        before = sys.gettrace()
        sys.settrace(count)  # type: ignore[arg-type]  # the stub wants a narrower return type
        try:
            for _ in range(10):
                assert len(take(queue, room=100)) == 10
        finally:
            sys.settrace(before)
        return steps / 10

    assert steps_per_packet(20_000) <= steps_per_packet(100) * 1.1


@pytest.mark.parametrize(("heard", "copies"), [(5, 8), (6, 7), (12, 7)])
def test_a_broadcast_heard_from_many_needs_one_copy_less(heard: int, copies: int) -> None:
    others: list[Address] = [(f"10.0.1.{number}", 7946) for number in range(30)]
    queue = queue_for(*others, limit=8)
    queue.push(b"news", 0.0)
    for source in others[:heard] * 2:  # the second time says nothing new
        queue.heard(only(queue), source, 0.0)

    sent = sum(take(queue, target) == [b"news"] for target in others[heard:])

    assert sent == copies
