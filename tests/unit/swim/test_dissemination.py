"""When broadcasts leave and to whom: first copies at once, the rest at ticks, within the budget."""

from __future__ import annotations

import random
from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from gossip.config import Config
from gossip.swim.dissemination import (
    BURST_TICKS,
    KEPT_SHARE,
    MAX_SPEEDUP,
    TAIL_TICKS,
    Dissemination,
    GossipRing,
)
from gossip.swim.members import Record, Status
from gossip.swim.timers import Timers
from tests.rigs import SwimRig, address_of, alive, info_of

if TYPE_CHECKING:
    from gossip.wire.address import Address

ROOM = 1398


def records(count: int) -> list[Record]:
    made = [Record(info_of(f"node-{number}"), 0.0) for number in range(count)]
    for record in made:
        record.status = Status.ALIVE
    return made


class Rig:
    """A dissemination with so many members to tell, and every packet that it sent."""

    def __init__(self, members: int, *, seed: int = 1, **settings: Any) -> None:
        self.timers = Timers()
        self.now = 100.0
        self.sent: list[tuple[float, Address, list[bytes]]] = []
        config = Config.lan("me", **settings)
        self.d = Dissemination(config, self.timers, random.Random(seed), send=self._send, room=ROOM)
        self.members = records(members)
        for record in self.members:
            self.d.ring.add(record)
        self.d.resize(nodes=members + 1, members=members + 1)

    def _send(self, target: Record, now: float) -> bool:
        messages = self.d.take(ROOM, target.info.address, now)
        if messages:
            self.sent.append((now, target.info.address, messages))
        return bool(messages)

    def push(self, message: bytes, queue: str = "events", **options: Any) -> None:
        getattr(self.d, queue).push(message, self.now, **options)
        self.d.wake(self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timers.next_at()) is not None and due <= end:
            assert due >= self.now, "a timer was booked in the past"
            self.now = due
            self.timers.run_due(due)
        self.now = end

    def times(self) -> list[float]:
        return [round(at - 100.0, 9) for at, _, _ in self.sent]


# First copies at once, the rest at the ticks


@pytest.mark.parametrize(("members", "copies"), [(4, 4), (9, 8), (50, 8), (120, 12)])
def test_three_quarters_of_the_copies_leave_at_once_and_the_rest_at_ticks(
    members: int, copies: int
) -> None:
    rig = Rig(members)

    rig.push(b"news")
    rig.run(0.0)
    at_once = len(rig.sent)
    rig.run(5.0)

    assert at_once == copies - copies // KEPT_SHARE
    assert len(rig.sent) == copies
    assert all(0.2 <= at <= 0.2 * (1 + TAIL_TICKS) for at in rig.times()[at_once:])


def test_the_tail_does_not_wait_so_long_behind_a_backlog() -> None:
    rig = Rig(50)
    for number in range(400):
        rig.push(b"%d" % number + bytes(200))

    rig.run(0.1)

    assert rig.d._tick is not None
    assert rig.d._tick.at <= rig.now + 0.2


def test_every_copy_goes_to_somebody_else() -> None:
    rig = Rig(20)

    rig.push(b"news")
    rig.run(5.0)

    assert len({to for _, to, _ in rig.sent}) == 8


def test_without_eagerness_all_copies_wait_for_ticks_of_three() -> None:
    rig = Rig(20, eager=False)

    rig.push(b"news")
    rig.run(5.0)

    counts = Counter(rig.times())
    first = min(counts)
    assert 0 < first <= 0.2
    assert [counts[at] for at in sorted(counts)] == [3, 3, 2]
    assert sorted(counts) == pytest.approx([first, first + 0.2, first + 0.4])


def test_no_timer_is_left_when_everything_is_told() -> None:
    rig = Rig(20)
    rig.push(b"news")

    rig.run(5.0)

    assert rig.timers.next_at() is None


def test_nothing_is_booked_without_anybody_to_tell_until_somebody_comes() -> None:
    rig = Rig(0)
    rig.push(b"news")
    booked = rig.timers.next_at()

    (record,) = records(1)
    rig.d.ring.add(record)
    rig.d.wake(rig.now)
    rig.run(1.0)

    assert booked is None
    assert [to for _, to, _ in rig.sent] == [record.info.address] * 4


def test_news_that_comes_while_a_tick_is_booked_does_not_book_another() -> None:
    rig = Rig(20, eager=False)

    for number in range(10):
        rig.push(b"%d" % number)

    assert len(rig.timers) == 1


def test_nodes_do_not_tick_in_step() -> None:
    firsts = []
    for seed in range(20):
        rig = Rig(20, seed=seed, eager=False)
        rig.push(b"news")
        rig.run(1.0)
        firsts.append(rig.times()[0])

    assert len(set(firsts)) == 20
    assert 0 < min(firsts) < 0.05
    assert 0.15 < max(firsts) <= 0.2


def test_the_farewell_of_a_leaving_node_keeps_a_quarter_of_its_copies() -> None:
    rig = Rig(20)

    rig.push(b"farewell", "membership", transmits=rig.d.farewell_transmits())
    rig.run(5.0)

    assert len(rig.sent) == 2


# The budget


def test_a_quiet_node_may_send_a_burst_and_then_goes_by_the_rate() -> None:
    rig = Rig(60)
    for number in range(500):  # fewer bytes than would raise the rate
        rig.push(b"%d" % number)
        rig.run(0.004)

    within = sum(at <= 2.0 for at in rig.times())
    assert within <= BURST_TICKS * 3 + 2.0 * 15 + 3


@pytest.mark.parametrize("interval", [0.02, 0.1, 0.35])
def test_steady_news_never_costs_more_packets_than_memberlist_would_send(interval: float) -> None:
    rig = Rig(60)

    while rig.now < 130.0:
        rig.push(b"%f" % rig.now)
        rig.run(interval)

    burst, rate = BURST_TICKS * 3, 3 / 0.2
    times = deque[float]()
    for at in rig.times():
        times.append(at)
        while times[0] < at - 10.0:
            times.popleft()
        assert len(times) <= burst + rate * 10.0 + 3
    late = [at for at in rig.times() if at >= 10.0]  # the burst is over
    assert len(late) <= rate * 20.0 * 1.07


@pytest.mark.parametrize("interval", [0.075, 0.1, 0.2])
def test_steady_news_always_have_a_token_for_their_first_copies(interval: float) -> None:
    rig = Rig(60)
    pushed: dict[bytes, float] = {}

    while rig.now < 140.0:
        message = b"%f" % rig.now
        pushed[message] = rig.now
        rig.push(message)
        rig.run(interval)

    first: dict[bytes, float] = {}
    for at, _, messages in rig.sent:
        for message in messages:
            first.setdefault(message, at)
    waits = sorted(first[message] - at for message, at in pushed.items())
    assert waits[int(0.95 * len(waits))] < 0.01
    # Late copies are not forgotten for it: every message is sent as often as it would be otherwise.
    copies = Counter(message for _, _, messages in rig.sent for message in messages)
    settled = [count for message, count in copies.items() if pushed[message] < 130.0]
    assert set(settled) == {8}


def test_a_backlog_raises_the_rate_and_is_sent_within_seconds() -> None:
    rig = Rig(60)
    for number in range(2_000):
        rig.push(b"%04d" % number + bytes(96))

    started = rig.now
    while len(rig.d):
        rig.run(0.05)

    packets = 2_000 * 8 * 102 / ROOM
    assert rig.now - started < 4.0  # at the ordinary rate it would take 78 s
    assert len(rig.sent) <= packets * 1.1


def test_the_rate_is_raised_no_further_than_its_bound() -> None:
    rig = Rig(60)
    for number in range(30_000):
        rig.push(b"%05d" % number + bytes(295))

    rig.run(2.0)

    ceiling = 15 * MAX_SPEEDUP
    assert len(rig.sent) <= BURST_TICKS * 3 + 2.0 * ceiling + 1
    assert len(rig.sent) > 2.0 * ceiling * 0.8


def test_every_message_is_sent_exactly_as_often_as_its_queue_says() -> None:
    rig = Rig(60)
    copies = Counter[bytes]()
    for number in range(300):
        rig.push(b"%d" % number, ("membership", "intents", "queries", "events")[number % 4])
        rig.run(random.Random(number).random() * 0.05)

    rig.run(30.0)

    for _, _, messages in rig.sent:
        copies.update(messages)
    assert set(copies.values()) == {8}
    assert len(copies) == 300


def test_no_packet_exceeds_its_room_whatever_is_queued() -> None:
    rig = Rig(30)
    dice = random.Random(5)
    for number in range(400):
        size = dice.choice((10, 60, 300, 700, 1_200, ROOM - 2))
        queue = dice.choice(("membership", "intents", "queries", "events"))
        rig.push(number.to_bytes(2) + bytes(size - 2), queue)

    rig.run(60.0)

    assert len(rig.d) == 0
    assert max(sum(len(m) + 2 for m in messages) for _, _, messages in rig.sent) <= ROOM


def test_news_about_members_goes_before_intents_queries_and_events() -> None:
    rig = Rig(20)
    for queue in ("events", "queries", "intents", "membership"):
        getattr(rig.d, queue).push(queue.encode(), rig.now)

    messages = rig.d.take(ROOM, address_of("ann"), rig.now)

    assert messages == [b"membership", b"intents", b"queries", b"events"]


def test_what_does_not_fit_leaves_its_room_to_the_next_queue() -> None:
    rig = Rig(20)
    rig.d.membership.push(bytes(800), rig.now)
    rig.d.intents.push(bytes(800), rig.now)
    rig.d.events.push(b"small", rig.now)

    assert rig.d.take(ROOM, address_of("ann"), rig.now) == [bytes(800), b"small"]


@pytest.mark.parametrize(
    ("nodes", "limit"), [(1, 4), (9, 4), (10, 8), (98, 8), (99, 8), (100, 12), (1_000, 16)]
)
def test_the_limits_follow_the_clusters_size(nodes: int, limit: int) -> None:
    rig = Rig(0)

    rig.d.resize(nodes=nodes)
    rig.d.resize(members=nodes + 5_000)

    assert rig.d.membership.limit == limit
    assert rig.d.events.limit == rig.d.queries.limit == rig.d.intents.limit == 16


# Whom


def eligible(_record: Record) -> bool:
    return True


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 21, 64])
def test_half_a_round_of_targets_has_no_repetition(size: int) -> None:
    ring = GossipRing(random.Random(size))
    for record in records(size):
        ring.add(record)

    half = (size + 1) // 2
    recent = deque[Record | None](maxlen=half)
    for _ in range(size * 40):
        recent.append(ring.next(eligible))
        assert len({id(record) for record in recent}) == len(recent)


def test_two_targets_take_turns() -> None:
    ring = GossipRing(random.Random(3))
    for record in records(2):
        ring.add(record)

    targets = [id(ring.next(eligible)) for _ in range(40)]

    assert all(a != b for a, b in pairwise(targets))


def test_everybody_is_a_target_equally_often() -> None:
    ring = GossipRing(random.Random(3))
    for record in records(12):
        ring.add(record)

    counts = Counter(id(ring.next(eligible)) for _ in range(12_000))

    assert len(counts) == 12
    assert all(abs(count - 1_000) < 50 for count in counts.values())


def test_the_order_of_targets_keeps_changing() -> None:
    ring = GossipRing(random.Random(3))
    for record in records(10):
        ring.add(record)

    rounds = {tuple(id(ring.next(eligible)) for _ in range(10)) for _ in range(20)}

    assert len(rounds) == 20


def test_a_member_is_in_the_ring_once() -> None:
    ring = GossipRing(random.Random(3))
    (record,) = records(1)

    ring.add(record)
    ring.add(record)

    assert len(ring) == 1


def test_who_is_no_target_any_more_leaves_the_ring_and_may_come_back() -> None:
    ring = GossipRing(random.Random(3))
    first, second = records(2)
    ring.add(first)
    ring.add(second)

    targets = {id(ring.next(lambda record: record is first)) for _ in range(4)}
    size = len(ring)
    ring.add(second)

    assert targets == {id(first)}
    assert size == 1
    assert len(ring) == 2


def test_an_empty_ring_has_no_target() -> None:
    ring = GossipRing(random.Random(3))
    ring.add(records(1)[0])

    assert ring.next(lambda _record: False) is None
    assert ring.next(eligible) is None


@pytest.mark.parametrize(
    ("status", "gone_for", "told"),
    [
        (Status.ALIVE, 100.0, True),
        (Status.SUSPECT, 100.0, True),
        (Status.DEAD, 30.0, True),
        (Status.DEAD, 30.1, False),
        (Status.LEFT, 0.0, False),
    ],
)
def test_the_dead_hear_gossip_for_a_while_and_the_left_do_not(
    status: Status, gone_for: float, *, told: bool
) -> None:
    rig = Rig(1)
    rig.members[0].status = status
    rig.members[0].changed_at = rig.now - gone_for

    rig.push(b"news")
    rig.run(0.0)

    assert bool(rig.sent) is told


def test_everybody_among_addresses_means_everybody_in_the_ring() -> None:
    ring = GossipRing(random.Random(3))
    for record in records(3):
        ring.add(record)
    members = {record.info.address for record in records(3)}

    assert ring.all_among(members | {("192.0.2.1", 1)})
    assert not ring.all_among({("192.0.2.1", port) for port in range(50)})
    assert not ring.all_among({*list(members)[:2], ("192.0.2.1", 1)})


# Together with the membership


def test_news_is_not_sent_back_to_who_brought_it() -> None:
    rig = SwimRig()
    rig.learn("ann", "bob", "cat")

    rig.hear(alive("dan"), source=address_of("ann"))
    rig.advance(5)

    told = {to for message, to in rig.sent() if message == alive("dan")}
    assert told == {address_of("bob"), address_of("cat"), address_of("dan")}


def test_copies_that_come_back_spare_their_senders_ours() -> None:
    rig = SwimRig()
    rig.learn("ann", "bob", "cat")
    rig.hear(alive("dan"), source=address_of("ann"))

    rig.hear(alive("dan"), source=address_of("bob"))
    rig.advance(5)

    told = {to for message, to in rig.sent() if message == alive("dan")}
    assert told == {address_of("cat"), address_of("dan")}
    assert rig.stats["messages_heard_again"] == 1


def test_a_member_that_left_meanwhile_does_not_stand_for_those_still_to_tell() -> None:
    rig = SwimRig(eager=False)
    rig.learn("ann", "bob")
    rig.hear(alive("ann", 2), source=address_of("cat"))  # a stranger brought it

    rig.advance(5)

    told = {to for message, to in rig.sent() if message == alive("ann", 2)}
    assert told == {address_of("ann"), address_of("bob")}
