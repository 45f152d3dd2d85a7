"""The member table: which news replaces what, the probe order, and choosing at random."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product
from typing import TYPE_CHECKING

import pytest

from gossip.swim.members import MemberTable, Record, Status, supersedes
from tests.rigs import info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ALIVE, SUSPECT, DEAD, LEFT = Status.ALIVE, Status.SUSPECT, Status.DEAD, Status.LEFT


def table_of(count: int, *, seed: int = 1) -> tuple[MemberTable, list[Record]]:
    table = MemberTable(random.Random(seed))
    records = [table.add(info_of(f"node-{number}"), 0.0) for number in range(count)]
    for record in records:
        table.set_status(record, ALIVE, 0.0)
    return table, records


def none_of(records: Collection[Record]) -> Callable[[Record], bool]:
    return lambda record: record not in records


def never(_record: Record) -> bool:
    return False


# Which news replaces what


@pytest.mark.parametrize("held", list(Status))
def test_older_news_never_replaces_anything(held: Status) -> None:
    assert not any(supersedes(news, 4, held, 5) for news in Status)


@pytest.mark.parametrize(
    ("held", "believed"),
    [
        (ALIVE, {SUSPECT, DEAD, LEFT}),
        (SUSPECT, {DEAD, LEFT}),
        (DEAD, set()),
        (LEFT, set()),
    ],
)
def test_at_the_same_incarnation_departure_beats_suspicion_beats_life(
    held: Status, believed: set[Status]
) -> None:
    assert {news for news in Status if supersedes(news, 5, held, 5)} == believed


@pytest.mark.parametrize(
    ("held", "believed"),
    [
        (ALIVE, {ALIVE, SUSPECT, DEAD, LEFT}),
        (SUSPECT, {ALIVE, DEAD, LEFT}),
        (DEAD, {ALIVE}),
        (LEFT, {ALIVE}),
    ],
)
def test_newer_news_is_believed_but_the_gone_only_come_back_alive(
    held: Status, believed: set[Status]
) -> None:
    assert {news for news in Status if supersedes(news, 6, held, 5)} == believed


def test_no_two_pieces_of_news_replace_each_other() -> None:
    for first, second in product(Status, repeat=2):
        assert not (supersedes(first, 5, second, 5) and supersedes(second, 5, first, 5))


# Records


def test_a_new_record_starts_dead_at_incarnation_zero() -> None:
    table = MemberTable(random.Random(1))

    record = table.add(info_of("ann"), 7.0)

    assert (record.status, record.incarnation, record.changed_at) == (DEAD, 0, 7.0)
    assert table.get("ann") is record
    assert (len(table), table.alive) == (1, 0)


def test_the_count_of_the_alive_follows_every_change() -> None:
    table, records = table_of(3)

    for record, status in zip(records, (SUSPECT, DEAD, LEFT), strict=True):
        table.set_status(record, status, 1.0)
        table.set_status(record, status, 1.0)
    table.set_status(records[1], ALIVE, 2.0)

    assert table.alive == 1
    assert records[1].changed_at == 2.0


def test_a_record_is_small() -> None:
    record = Record(info_of("ann"), 0.0)

    assert not hasattr(record, "__dict__")  # a simulated pool of n nodes holds n * n of them


# The probe order


def test_everybody_else_is_probed_once_per_round() -> None:
    table, records = table_of(10)
    own = records[3]

    rounds = [[table.next_to_probe(never, own) for _ in range(9)] for _ in range(3)]

    others = {record.info.name for record in records if record is not own}
    for probed in rounds[1:]:  # the first round still grows
        assert {record.info.name for record in probed if record} == others
    assert rounds[1] != rounds[2]  # the order is drawn anew


@pytest.mark.parametrize(("status", "probed"), [(ALIVE, 1), (SUSPECT, 1), (DEAD, 0), (LEFT, 0)])
def test_the_suspect_are_probed_and_the_gone_are_not(status: Status, probed: int) -> None:
    table, records = table_of(5)
    table.set_status(records[4], status, 0.0)
    for _ in range(4):
        table.next_to_probe(never, records[0])  # into the next round

    counts = Counter(table.next_to_probe(never, records[0]) for _ in range(3 + probed))

    assert counts[records[4]] == probed


def test_alone_there_is_nobody_to_probe() -> None:
    table, (own,) = table_of(1)

    assert [table.next_to_probe(never, own) for _ in range(3)] == [None, None, None]


def test_with_only_the_gone_there_is_nobody_to_probe() -> None:
    table, records = table_of(4)
    for record in records[1:]:
        table.set_status(record, DEAD, 0.0)

    assert table.next_to_probe(never, records[0]) is None


def test_newcomers_take_a_random_place_in_the_order() -> None:
    places = Counter[int]()
    for seed in range(600):
        table, records = table_of(3, seed=seed)
        newcomer = table.add(info_of("new"), 0.0)
        places[table._probe_order.index(newcomer)] += 1
        assert sorted(map(id, table._probe_order)) == sorted(map(id, [*records, newcomer]))

    assert set(places) == {0, 1, 2, 3}
    assert min(places.values()) > 100


def test_r23_the_condemned_are_removed_at_the_end_of_a_round_and_not_before() -> None:
    table, records = table_of(4)
    table.set_status(records[2], LEFT, 0.0)

    table.next_to_probe(lambda record: record.gone, records[0])
    early = len(table)
    for _ in range(3):
        table.next_to_probe(lambda record: record.gone, records[0])

    assert early == 4
    assert len(table) == 3
    assert table.get("node-2") is None
    assert records[2] not in table.choose(4, lambda _record: True)


def test_removal_in_the_middle_of_a_round_skips_nobody() -> None:
    table, records = table_of(6)
    own = records[0]
    for _ in range(5):
        table.next_to_probe(never, own)  # a round without the start's irregularities
    first = [table.next_to_probe(never, own) for _ in range(2)]
    victim = first[0]
    assert victim is not None

    table._remove_where(lambda record: record is victim)
    rest = [table.next_to_probe(never, own) for _ in range(3)]

    assert len({id(record) for record in [*first, *rest]}) == 5


# Choosing at random: R-07


@pytest.mark.parametrize("size", range(13))
def test_r07_choosing_finds_exactly_as_many_as_are_eligible(size: int) -> None:
    table, records = table_of(size, seed=size)
    for excluded_count in range(size + 1):
        for excluded in combinations(records, excluded_count):
            for count in (0, 1, 3):
                chosen = table.choose(count, none_of(excluded))

                assert len(chosen) == min(count, size - excluded_count)
                assert len(set(map(id, chosen))) == len(chosen)
                assert not set(map(id, chosen)) & set(map(id, excluded))


@pytest.mark.parametrize(("size", "count"), [(3, 1), (5, 3), (12, 3)])
def test_r07_everybody_eligible_is_chosen_equally_often(size: int, count: int) -> None:
    table, records = table_of(size)
    excluded = records[0]
    draws = 100_000 // count
    seen = Counter[str]()

    for _ in range(draws):
        for record in table.choose(count, lambda record: record is not excluded):
            seen[record.info.name] += 1

    expected = draws * min(count, size - 1) / (size - 1)
    assert len(seen) == size - 1
    assert all(abs(times - expected) < 0.05 * expected for times in seen.values())


def test_r07_pairs_are_chosen_equally_often_too() -> None:
    table, _ = table_of(4)
    seen = Counter[frozenset[str]]()

    for _ in range(30_000):
        seen[frozenset(r.info.name for r in table.choose(2, lambda _record: True))] += 1

    assert len(seen) == 6
    assert all(abs(times - 5_000) < 250 for times in seen.values())
