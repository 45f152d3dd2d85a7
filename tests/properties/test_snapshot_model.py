"""The snapshot file against a model: whatever happens, in whatever state the file is, it replays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.events import (
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    UserEvent,
)
from gossip.serf.lamport import LamportClock
from gossip.serf.snapshot import Snapshot
from tests.effort import MACHINES

NAMES = st.sampled_from(["a", "b c", "näme", "\udcff", "alive: x", "", "x\nleave"])
WRITABLE = {"a", "b c", "näme", "\udcff", "alive: x"}
LAST_OCTETS = st.integers(1, 3)
JUMP = 2**32


def member(name: str, last: int) -> Member:
    return Member(name, f"10.0.0.{last}", 7946, {}, MemberStatus.ALIVE, 1, 5, 2, 2, 5, 4)


def state(snapshot: Snapshot) -> tuple[object, ...]:
    times = snapshot.clock, snapshot.event_clock, snapshot.query_clock
    return snapshot.alive, snapshot.failed, times


class SnapshotMachine(RuleBasedStateMachine):
    """A node's snapshot, its file, and what the events amount to."""

    def __init__(self) -> None:
        super().__init__()
        self.file = b""
        self.alive: dict[str, tuple[str, int]] = {}
        self.failed: dict[str, tuple[str, int]] = {}
        self.event_clock = 0
        self.left = False
        self.start(Snapshot())

    def start(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.clocks = [LamportClock(JUMP) for _ in range(3)]
        assert snapshot.resume(*self.clocks) == 0

    @rule(name=NAMES, last=LAST_OCTETS, update=st.booleans())
    def alive_event(self, name: str, last: int, update: bool) -> None:
        kind = MemberUpdated if update else MemberJoined
        told = self.snapshot.record(kind(member(name, last)))
        assert told == (self.left or name in WRITABLE)
        if not self.left and name in WRITABLE:
            self.failed.pop(name, None)
            self.alive[name] = (f"10.0.0.{last}", 7946)

    @rule(name=NAMES, last=LAST_OCTETS)
    def failed_event(self, name: str, last: int) -> None:
        self.snapshot.record(MemberFailed(member(name, last)))
        if not self.left and name in WRITABLE:
            self.alive.pop(name, None)
            self.failed[name] = (f"10.0.0.{last}", 7946)

    @rule(name=NAMES, last=LAST_OCTETS, reaped=st.booleans())
    def gone_event(self, name: str, last: int, reaped: bool) -> None:
        kind = MemberReaped if reaped else MemberLeft
        self.snapshot.record(kind(member(name, last)))
        if not self.left:
            self.alive.pop(name, None)
            self.failed.pop(name, None)

    @rule(ltime=st.integers(1, 50))
    def user_event(self, ltime: int) -> None:
        self.snapshot.record(UserEvent(ltime, "x", b"", coalesce=False))
        self.event_clock = max(self.event_clock, ltime)

    @rule(which=st.sampled_from([0, 2]), steps=st.integers(1, 3))
    def clock_moves(self, which: int, steps: int) -> None:
        self.clocks[which].witness(self.clocks[which].time + steps)

    @rule()
    def append(self) -> None:
        self.file += self.snapshot.take()
        self.check_clocks()

    def check_clocks(self) -> None:
        """S8: none is behind what was used or delivered."""
        assert not self.snapshot.unsaved
        seen = Snapshot.replay(self.file)
        assert seen.event_clock == self.event_clock
        assert seen.clock == self.clocks[0].time - 1
        assert seen.query_clock == self.clocks[2].time - 1

    @rule()
    def rewrite(self) -> None:
        self.file = self.snapshot.image()
        self.check_clocks()

    @rule()
    def leave(self) -> None:
        self.snapshot.leave()
        self.left = True

    @rule(rejoin=st.booleans())
    def restart(self, rejoin: bool) -> None:
        """After a clean end; the next run begins with a whole new file."""
        self.append()
        self.start(Snapshot.replay(self.file, rejoin_after_leave=rejoin))
        if self.left and not rejoin:
            self.alive, self.failed = {}, {}
        self.left = False
        self.rewrite()

    @invariant()
    def the_file_and_what_is_to_be_appended_amount_to_the_events(self) -> None:
        pending = b"".join(line + b"\n" for line in self.snapshot._pending)
        seen = Snapshot.replay(self.file + pending, rejoin_after_leave=True)
        assert seen.alive == self.alive
        assert seen.failed == self.failed
        assert seen.skipped == 0


TestSnapshotMachine = SnapshotMachine.TestCase
TestSnapshotMachine.settings = MACHINES


@given(data=st.binary(max_size=400), rejoin=st.booleans())
def test_r38_any_bytes_give_a_state(data: bytes, rejoin: bool) -> None:
    snapshot = Snapshot.replay(data, rejoin_after_leave=rejoin)

    again = Snapshot.replay(snapshot.image())
    assert state(again) == state(snapshot)


LINES = st.sampled_from(
    [
        b"alive: a 10.0.0.1:1", b"not-alive: a", b"#failed: a 10.0.0.1:1", b"clock: 3", b"event-clock: 9",
        b"leave", b"#crc32: 00000000", b"#crc32: ", b"alive: ", b"clock: x", b"", b"coordinate: {}", b"\x00",
    ]
)  # fmt: skip


@given(lines=st.lists(LINES, max_size=12), rejoin=st.booleans(), tail=st.binary(max_size=5))
def test_r38_lines_in_any_order_give_a_state(lines: list[bytes], rejoin: bool, tail: bytes) -> None:
    data = b"".join(line + b"\n" for line in lines) + tail.replace(b"\n", b"")

    snapshot = Snapshot.replay(data, rejoin_after_leave=rejoin)

    assert set(snapshot.alive) | set(snapshot.failed) <= {"a"}
    assert not set(snapshot.alive) & set(snapshot.failed)
    assert state(Snapshot.replay(snapshot.image())) == state(snapshot)


@settings(max_examples=200)
@given(st.data())
def test_s19_a_broken_file_of_ours_names_no_address_that_was_not_in_it(data: st.DataObject) -> None:
    snapshot = Snapshot()
    for number in range(1, data.draw(st.integers(1, 40))):
        snapshot.record(MemberJoined(member(f"n{number}", number)))
    file = snapshot.image()
    snapshot.record(MemberFailed(member("n1", 1)))
    file += snapshot.take()
    known = {*snapshot.alive.items(), *snapshot.failed.items(), ("n1", ("10.0.0.1", 7946))}
    start = data.draw(st.integers(0, len(file) - 1))
    junk = data.draw(st.binary(max_size=6))
    length = data.draw(st.integers(0, 6))

    broken = Snapshot.replay(file[:start] + junk + file[start + length :])

    assert {*broken.alive.items(), *broken.failed.items()} <= known
