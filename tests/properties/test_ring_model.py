"""The ring of user events compared with a dictionary of everything ever seen."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.serf.lamport import LamportClock
from gossip.serf.ring import EventRing, Verdict
from gossip.wire.serf import UserEvent
from tests.effort import MACHINES

SIZE = 8


class RingMachine(RuleBasedStateMachine):
    """A ring of eight, its clock, and all events that were ever delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = EventRing(SIZE)
        self.clock = LamportClock(2**32)
        self.seen: dict[int, list[tuple[str, bytes]]] = {}

    @rule(
        behind=st.integers(-3, SIZE + 4),
        name=st.sampled_from("ab"),
        payload=st.sampled_from([b"", b"1"]),
        coalesce=st.booleans(),
    )
    def offer(self, behind: int, name: str, payload: bytes, coalesce: bool) -> None:
        """An event arrives, older or newer than the clock, perhaps again."""
        ltime = max(self.clock.time - behind, 0)
        self.clock.witness(ltime)
        verdict = self.ring.offer(UserEvent(ltime, name, payload, coalesce), self.clock.time)

        known = self.seen.setdefault(ltime, [])
        if ltime < self.ring.min_time:
            assert verdict is Verdict.BEFORE_START
        elif self.clock.time > SIZE and ltime < self.clock.time - SIZE:
            assert verdict is Verdict.TOO_OLD
        elif (name, payload) in known:
            assert verdict is Verdict.DUPLICATE
        else:
            assert verdict is Verdict.NEW
            known.append((name, payload))

    @rule(ahead=st.integers(1, 2 * SIZE))
    def witness(self, ahead: int) -> None:
        """A push/pull moves the clock."""
        self.clock.witness(self.clock.time + ahead)

    @rule()
    def forget_the_past(self) -> None:
        """A join asks not to see older events."""
        self.ring.min_time = max(self.ring.min_time, self.clock.time)

    @invariant()
    def snapshot_is_the_recent_past(self) -> None:
        """The newest time of each slot is there with all its events, and nothing else."""
        newest: dict[int, int] = {}
        for ltime in sorted(ltime for ltime, events in self.seen.items() if events):
            newest[ltime % SIZE] = ltime
        expected = [(newest[slot], self.seen[newest[slot]]) for slot in sorted(newest)]
        assert self.ring.snapshot() == expected
        assert self.ring._count == sum(len(events) for _, events in expected)

    @invariant()
    def holes_are_where_nothing_is(self) -> None:
        """The first hole of the recent past is the first time without an event."""
        clock = self.clock.time
        start = max(1, self.ring.min_time, clock - SIZE)
        holes = [ltime for ltime in range(start, clock) if not self.seen.get(ltime)]
        assert self.ring.first_hole(1, clock - 1, clock) == (holes[0] if holes else None)


TestRing = RingMachine.TestCase
TestRing.settings = MACHINES
