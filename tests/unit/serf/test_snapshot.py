"""Snapshot: the lines of the file, what they give when replayed, and what happens to be written."""

from __future__ import annotations

from zlib import crc32

import pytest

from gossip.events import (
    Event,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    UserEvent,
)
from gossip.serf import snapshot as module
from gossip.serf.lamport import LamportClock
from gossip.serf.snapshot import (
    BLOCK_LINES,
    CLOCK_GAP,
    MAX_FAILED,
    MAX_PENDING,
    MIN_COMPACT_SIZE,
    Snapshot,
)

GENUINE = b"""alive: one 127.0.0.1:7946
clock: 1
alive: two words 127.0.0.2:7946
alive: six [fe80::1]:7000
# a comment
coordinate: {"Vec":[0,0]}
not-alive: one
event-clock: 12
query-clock: 3
clock: 7
"""


def member(name: str, addr: str = "10.0.0.1", port: int = 7946) -> Member:
    return Member(name, addr, port, {}, MemberStatus.ALIVE, 1, 5, 2, 2, 5, 4)


def times(snapshot: Snapshot) -> tuple[int, int, int]:
    return snapshot.clock, snapshot.event_clock, snapshot.query_clock


def recorded(*events: Event) -> Snapshot:
    snapshot = Snapshot()
    for event in events:
        assert snapshot.record(event)
    return snapshot


def plain(data: bytes) -> list[bytes]:
    """The lines that a genuine Serf sees."""
    return [line for line in data.splitlines() if not line.startswith(b"#")]


# Replay


def test_a_file_of_a_genuine_serf_is_understood() -> None:
    snapshot = Snapshot.replay(GENUINE)

    assert snapshot.alive == {"two words": ("127.0.0.2", 7946), "six": ("fe80::1", 7000)}
    assert snapshot.failed == {}
    assert times(snapshot) == (7, 12, 3)
    assert snapshot.skipped == 0


def test_no_file_is_an_empty_state() -> None:
    snapshot = Snapshot.replay(b"")

    assert (snapshot.alive, times(snapshot), snapshot.skipped) == ({}, (0, 0, 0), 0)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"nonsense", b"alive:", b"alive: ", b"alive: one", b"alive: one 10.0.0.1", b"alive:  1.2.3.4:5",
        b"alive: one 10.0.0.1:0", b"alive: one 10.0.0.1:65536", b"alive: one 10.0.0.1:7946x",
        b"alive: one 0.0.0.0:7946", b"alive: one 255.255.255.255:1", b"alive: one host.example:7946",
        b"alive: one 10.0.0.1:79alive: two 10.0.0", b"alive: o\x00ne 10.0.0.1:7946", b"clock: ", b"clock: -1",
        b"clock: 1.5", b"clock: 12event-clock: 3", b"clock: 9223372036854775808", b"clock: " + b"9" * 40,
        b"clock: \xd9\xa1", b"\x00\x00\x00", b"Leave", b"leave ", b"ALIVE: one 10.0.0.1:7946", b"\xff\xfe",
    ],
)  # fmt: skip
def test_r38_a_line_without_a_meaning_is_skipped_and_counted(line: bytes) -> None:
    snapshot = Snapshot.replay(b"alive: a 10.0.0.9:1\n" + line + b"\nclock: 4\n")

    assert snapshot.alive == {"a": ("10.0.0.9", 1)}
    assert times(snapshot) == (4, 0, 0)
    assert snapshot.skipped == 1


def test_r38_a_last_line_that_was_torn_off_is_ignored() -> None:
    snapshot = Snapshot.replay(b"clock: 12\nalive: a 10.0.0.9:1\nclock: 1")

    assert times(snapshot) == (12, 0, 0)
    assert snapshot.skipped == 0


def test_a_leave_ends_peers_and_clocks_unless_told_otherwise() -> None:
    data = GENUINE + b"#failed: old 10.0.0.7:1\nleave\nclock: 9\n"

    after, kept = Snapshot.replay(data), Snapshot.replay(data, rejoin_after_leave=True)

    assert (after.alive, after.failed, times(after)) == ({}, {}, (9, 0, 0))
    assert set(kept.alive) == {"two words", "six"}
    assert (kept.failed, times(kept)) == ({"old": ("10.0.0.7", 1)}, (9, 12, 3))


def test_the_last_word_about_a_peer_wins() -> None:
    snapshot = Snapshot.replay(
        b"alive: a 10.0.0.1:1\nnot-alive: a\n#failed: a 10.0.0.1:1\n"
        b"#failed: b 10.0.0.2:1\nalive: b 10.0.0.3:1\n"
        b"#failed: c 10.0.0.4:1\nnot-alive: c\n"
    )

    assert snapshot.alive == {"b": ("10.0.0.3", 1)}
    assert snapshot.failed == {"a": ("10.0.0.1", 1)}


def test_s19_lines_whose_checksum_does_not_match_count_for_nothing() -> None:
    good = b"alive: a 10.0.0.1:7946\n"
    bad = b"alive: b 10.0.0.2:7946\nclock: 5\n"
    checked = good + b"#crc32: %08x\n" % crc32(good) + bad.replace(b"0.2", b"9.2")
    checked += b"#crc32: %08x\n" % crc32(bad)

    snapshot = Snapshot.replay(checked + b"alive: appended-by-serf 10.0.0.5:1\n")

    assert set(snapshot.alive) == {"a", "appended-by-serf"}
    assert times(snapshot) == (0, 0, 0)
    assert snapshot.skipped == 2


def test_peers_taken_from_a_file_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ALIVE", 3)
    lines = b"".join(b"alive: n%d 10.0.0.%d:1\n" % (i, i) for i in range(1, 6))
    failed = b"".join(b"#failed: f%d 10.0.0.1:1\n" % i for i in range(MAX_FAILED + 5))

    snapshot = Snapshot.replay(lines + b"alive: n1 10.1.1.1:1\n" + failed)

    assert list(snapshot.alive) == ["n2", "n3", "n1"]
    assert len(snapshot.failed) == MAX_FAILED
    assert next(iter(snapshot.failed)) == "f5", "the newest are kept"
    assert snapshot.skipped == 2


# What is written


def test_member_changes_become_the_lines_that_serf_writes() -> None:
    snapshot = recorded(
        MemberJoined(member("a")),
        MemberJoined(member("b c", "fe80::1")),
        MemberUpdated(member("a")),
        MemberLeft(member("a")),
        MemberFailed(member("b c", "fe80::1")),
        MemberReaped(member("b c", "fe80::1")),
    )

    assert snapshot.take().splitlines()[:-1] == [
        b"alive: a 10.0.0.1:7946",
        b"alive: b c [fe80::1]:7946",
        b"not-alive: a",
        b"not-alive: b c",
        b"#failed: b c [fe80::1]:7946",
        b"not-alive: b c",
    ]
    assert not snapshot.unsaved
    assert snapshot.take() == b""


def test_an_update_that_moves_a_member_is_written() -> None:
    snapshot = recorded(MemberJoined(member("a")), MemberUpdated(member("a", "10.0.0.2")))

    assert plain(snapshot.take()) == [b"alive: a 10.0.0.1:7946", b"alive: a 10.0.0.2:7946"]


def test_clocks_are_written_once_when_they_have_grown() -> None:
    snapshot = Snapshot()
    clocks = [LamportClock(2**32) for _ in range(3)]
    snapshot.resume(*clocks)
    assert not snapshot.unsaved

    clocks[0].witness(6)
    clocks[2].witness(2)
    snapshot.record(UserEvent(9, "deploy", b"", False))
    snapshot.record(UserEvent(4, "late", b"", False))

    assert plain(snapshot.take()) == [b"clock: 6", b"event-clock: 9", b"query-clock: 2"]
    assert not snapshot.unsaved
    clocks[0].increment()
    assert plain(snapshot.take()) == [b"clock: 7"]


def test_after_a_leave_only_clocks_follow_and_all_of_them() -> None:
    snapshot = recorded(MemberJoined(member("a")), UserEvent(3, "x", b"", False))
    clock = LamportClock(2**32)
    snapshot.resume(clock, LamportClock(2**32), LamportClock(2**32))
    before = snapshot.take()

    clock.witness(1)
    snapshot.leave()
    snapshot.record(MemberLeft(member("a")))
    snapshot.record(MemberJoined(member("b")))

    data = snapshot.take()
    assert plain(data) == [b"leave", b"clock: 1", b"event-clock: 3"]
    assert Snapshot.replay(before + data).event_clock == 3, "S8: none goes back"
    assert plain(snapshot.image())[-3:] == [b"leave", b"clock: 1", b"event-clock: 3"]
    assert set(Snapshot.replay(snapshot.image(), rejoin_after_leave=True).alive) == {"a"}


@pytest.mark.parametrize("name", ["x\nleave", "x\r", "nul\x00", "", "\x7f"])
def test_a_hostile_name_cannot_forge_a_line(name: str) -> None:
    snapshot = Snapshot()

    assert not snapshot.record(MemberJoined(member(name)))
    assert not snapshot.record(MemberFailed(member(name)))
    assert snapshot.record(MemberLeft(member(name)))

    assert not snapshot.unsaved


def test_names_of_any_bytes_come_back() -> None:
    names = ["näme", "a b", " lead", "trail ", "\udcff\udcfe", "alive: x 1.2.3.4:5", "#"]
    snapshot = recorded(*(MemberJoined(member(name)) for name in names))

    assert list(Snapshot.replay(snapshot.image()).alive) == names


def test_an_image_gives_the_same_state() -> None:
    joins = [MemberJoined(member(f"n{i}", f"10.0.1.{i}")) for i in range(1, 60)]
    snapshot = recorded(
        *joins, MemberFailed(member("n7", "10.0.1.7")), UserEvent(4, "x", b"", True)
    )

    again = Snapshot.replay(snapshot.image())

    assert (again.alive, again.failed) == (snapshot.alive, snapshot.failed)
    assert times(again) == (0, 4, 0)
    assert again.skipped == 0


def test_s19_one_broken_byte_of_an_image_costs_two_blocks_of_peers_and_no_clock() -> None:
    joins = [MemberJoined(member(f"n{i}", f"10.0.1.{i}")) for i in range(1, 100)]
    snapshot = recorded(*joins, UserEvent(77, "x", b"", True))
    image = snapshot.image()

    for at in range(0, len(image), 3):
        broken = Snapshot.replay(image[:at] + bytes((image[at] ^ 0x01,)) + image[at + 1 :])
        assert broken.alive.items() <= snapshot.alive.items()
        assert len(broken.alive) >= len(snapshot.alive) - 2 * BLOCK_LINES
        assert broken.event_clock == 77


def test_r39_a_disk_that_does_not_follow_costs_bounded_memory_and_nothing_else() -> None:
    snapshot = Snapshot()
    for number in range(MAX_PENDING):
        snapshot.record(MemberJoined(member("a", f"10.0.{number // 250}.{number % 250 + 1}")))
    assert not snapshot.must_be_rewritten(0, 0)
    snapshot.record(MemberJoined(member("b")))

    assert snapshot.must_be_rewritten(0, 0)
    assert len(snapshot._pending) == MAX_PENDING
    assert set(Snapshot.replay(snapshot.image()).alive) == {"a", "b"}
    assert not snapshot.must_be_rewritten(0, 0)
    assert not snapshot.unsaved


def test_r41_a_file_is_rewritten_when_it_has_grown_beyond_serfs_bound() -> None:
    few = recorded(MemberJoined(member("a")))
    many = recorded(*(MemberJoined(member(f"n{i}")) for i in range(1000)))

    assert not few.must_be_rewritten(MIN_COMPACT_SIZE, 0)
    assert few.must_be_rewritten(MIN_COMPACT_SIZE + 1, 0)
    assert not many.must_be_rewritten(2 * 128 * 1000, 0)
    assert many.must_be_rewritten(2 * 128 * 1000 + 1, 0)
    assert not few.must_be_rewritten(MIN_COMPACT_SIZE + 1, MIN_COMPACT_SIZE), "or it never ended"


def test_peers_that_are_not_found_again_count_as_failed() -> None:
    snapshot = Snapshot.replay(b"alive: a 10.0.0.1:1\nalive: b 10.0.0.2:1\n#failed: c 10.0.0.3:1\n")

    snapshot.give_up(["b", "c", "unknown"])

    assert list(snapshot.alive) == ["a"]
    assert list(snapshot.failed) == ["c", "b"]
    assert plain(snapshot.take()) == [b"not-alive: b"]


# Clocks


def test_clocks_go_on_behind_what_was_written() -> None:
    clocks = [LamportClock(2**32) for _ in range(3)]

    assert Snapshot.replay(GENUINE).resume(*clocks) == 0

    assert [clock.time for clock in clocks] == [8, 13, 4]


def test_s9_a_clock_that_is_absurd_is_not_followed_and_not_written_again() -> None:
    clocks = [LamportClock(1000) for _ in range(3)]
    snapshot = Snapshot.replay(b"clock: 5\nevent-clock: 9223372036854775807\nquery-clock: 1002\n")

    assert snapshot.resume(*clocks) == 2

    assert [clock.time for clock in clocks] == [6, 1, 1]
    assert plain(snapshot.image()) == [b"clock: 5"] * 2


def test_s8_times_that_the_last_run_may_have_used_are_left_out() -> None:
    clock = LamportClock(2**32)
    clock.resume(100, CLOCK_GAP)

    assert clock.time == 101
    assert clock.upcoming == 101 + CLOCK_GAP
    assert clock.increment() == 101 + CLOCK_GAP
    assert clock.increment() == 102 + CLOCK_GAP


def test_s8_a_pool_that_was_found_tells_which_times_were_used() -> None:
    clock = LamportClock(2**32)
    clock.resume(100, CLOCK_GAP)
    clock.witness(120)
    assert clock.time == 121
    assert clock.upcoming == 101 + CLOCK_GAP, "it may not have heard of our last ones"

    clock.settle()

    assert clock.increment() == 121


def test_a_run_that_ended_in_order_leaves_no_gap() -> None:
    snapshot, clock = Snapshot(), LamportClock(2**32)
    snapshot.resume(clock, LamportClock(2**32), LamportClock(2**32))
    clock.increment()
    file = snapshot.take()
    snapshot.close()
    last = snapshot.take()
    image = snapshot.image()
    assert plain(last) == []

    for ending, upcoming in [
        (b"", 2 + CLOCK_GAP),
        (last, 2),
        (last + b"clock: 1\n", 2 + CLOCK_GAP),
    ]:
        again = LamportClock(2**32)
        Snapshot.replay(file + ending).resume(again, LamportClock(1), LamportClock(1))
        assert again.upcoming == upcoming
    assert Snapshot.replay(image).closed


def test_only_a_node_that_ran_can_end_in_order() -> None:
    crashed = Snapshot.replay(b"clock: 5\n")

    crashed.close()

    assert not Snapshot.replay(crashed.image()).closed


@pytest.mark.parametrize(
    ("file", "upcoming"), [(b"", 1), (b"torn", 1 + CLOCK_GAP), (b"what\n", 1 + CLOCK_GAP)]
)
def test_s8_only_a_first_start_is_known_to_have_used_no_time(file: bytes, upcoming: int) -> None:
    clock = LamportClock(2**32)

    Snapshot.replay(file).resume(LamportClock(2**32), clock, LamportClock(2**32))

    assert clock.increment() == upcoming


def test_s8_a_leap_is_reserved_before_it_is_made_or_the_next_run_would_leap_there_too() -> None:
    file, leaps = b"event-clock: 20\n", []
    for _ in range(3):  # killed again and again, before anything else is written
        snapshot, clock = Snapshot.replay(file), LamportClock(2**32)
        snapshot.resume(LamportClock(2**32), clock, LamportClock(2**32))
        file = snapshot.image()
        assert snapshot.reserve()
        assert not snapshot.reserve(), "once"
        leaps.append(clock.upcoming)
        file += snapshot.take()
        assert Snapshot.replay(snapshot.image())._reserved == snapshot._reserved

    assert leaps == [21 + CLOCK_GAP, 21 + 2 * CLOCK_GAP, 21 + 3 * CLOCK_GAP]


@pytest.mark.parametrize("state", ["settled", "leapt", "first"])
def test_nothing_is_reserved_by_a_node_that_does_not_leap(state: str) -> None:
    file = b"" if state == "first" else b"event-clock: 20\n"
    snapshot, clock = Snapshot.replay(file), LamportClock(2**32)
    snapshot.resume(LamportClock(2**32), clock, LamportClock(2**32))
    if state == "settled":
        snapshot.settle()
    elif state == "leapt":
        clock.increment()

    assert not snapshot.reserve()


def test_a_reservation_that_is_absurd_is_not_believed() -> None:
    snapshot, clock = Snapshot.replay(b"#reserved: 999999\n"), LamportClock(2**32)

    snapshot.resume(LamportClock(2**32), clock, LamportClock(2**32))

    assert clock.upcoming == 1 + CLOCK_GAP
