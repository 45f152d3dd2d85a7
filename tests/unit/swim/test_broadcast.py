"""The transmit-limited queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.swim.broadcast import Broadcast, TransmitQueue

if TYPE_CHECKING:
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
