"""The broadcast queue compared with a list that is searched from front to back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.swim.broadcast import LOOKAHEAD, MESSAGE_OVERHEAD, Broadcast, TransmitQueue
from tests.effort import MACHINES

if TYPE_CHECKING:
    from gossip.wire.address import Address

MEMBERS: list[Address] = [(f"10.0.0.{number}", 7946) for number in range(1, 5)]
STRANGER: Address = ("192.0.2.1", 7946)
targets = st.sampled_from(MEMBERS)
sources = st.sampled_from([None, STRANGER, *MEMBERS])


@dataclass
class Item:
    """What the model knows about one broadcast."""

    message: bytes
    subject: str | None
    transmits: int
    order: int
    known: set[Address] = field(default_factory=set)


class QueueMachine(RuleBasedStateMachine):
    """Every operation is done to the queue and to a plain list of items."""

    def __init__(self) -> None:
        super().__init__()
        self.members = set(MEMBERS)
        self.index: dict[bytes, Broadcast] = {}
        self.queue = TransmitQueue(self.index, lambda known: known >= self.members)
        self.queue.limit = 4
        self.items: list[Item] = []
        self.finished: list[bytes] = []
        self.expected: list[bytes] = []
        self.remembered: dict[bytes, str | None] = {}
        self.counter = 0

    def _place(self) -> int:
        self.counter += 1
        return self.counter

    def _finish(self, item: Item) -> None:
        self.items.remove(item)
        self.expected.append(item.message)
        self.remembered[item.message] = item.subject

    @rule(
        size=st.integers(4, 60),
        subject=st.sampled_from([None, None, "ann", "bob", "cat"]),
        source=sources,
        transmits=st.integers(0, 6),
    )
    def push(self, size: int, subject: str | None, source: Address | None, transmits: int) -> None:
        """Queue something; it replaces what is there about the same subject."""
        message = self._place().to_bytes(4) + bytes(size - 4)
        self.queue.push(
            message,
            0.0,
            subject=subject,
            source=source,
            transmits=transmits,
            on_finished=lambda _now: self.finished.append(message),
        )
        for item in list(self.items):
            if subject is not None and item.subject == subject:
                self._finish(item)
        if subject is not None:  # what was told about it is news again
            self.remembered = {m: s for m, s in self.remembered.items() if s != subject}
        self.items.append(
            Item(message, subject, min(transmits, self.queue.limit - 1), self._place())
        )
        if source is not None:
            self._hear(self.items[-1], source)

    def _hear(self, item: Item, source: Address) -> None:
        if source in item.known:
            return
        item.known.add(source)
        if item.known >= self.members:
            self._finish(item)
        elif len(item.known) == self.queue.evidence():
            item.transmits += 1
            item.order = self._place()
            if item.transmits >= self.queue.limit:
                self._finish(item)

    @rule(data=st.data(), source=st.sampled_from([STRANGER, *MEMBERS]))
    def hear(self, data: st.DataObject, source: Address) -> None:
        """A copy of something queued arrives."""
        if self.items:
            item = data.draw(st.sampled_from(self.items))
            self.queue.heard(self.index[item.message], source, 0.0)
            self._hear(item, source)

    @rule(room=st.integers(0, 200), receiver=targets)
    def take(self, room: int, receiver: Address) -> None:
        """Fill a packet: least told first, then oldest; larger ones and known ones are passed over."""
        out: list[bytes] = []
        left = self.queue.take(out, room, receiver, 0.0)
        taken, known = self._choose(room, receiver)
        for item in taken:
            item.transmits += 1
            item.order = self._place()
            if item.transmits >= self.queue.limit:
                self._finish(item)
        for item in known:
            if item.known >= self.members:
                self._finish(item)

        assert out == [item.message for item in taken]
        assert left == room - sum(len(message) + MESSAGE_OVERHEAD for message in out)
        assert left >= 0

    def _choose(self, room: int, target: Address) -> tuple[list[Item], list[Item]]:
        taken: list[Item] = []
        known: list[Item] = []
        for tier in range(max((item.transmits for item in self.items), default=-1) + 1):
            passed = 0
            for item in sorted(self.items, key=lambda item: item.order):
                if item.transmits != tier or room <= MESSAGE_OVERHEAD or passed == LOOKAHEAD:
                    continue
                size = len(item.message) + MESSAGE_OVERHEAD
                if target in item.known:
                    known.append(item)
                    passed += 1
                elif size <= room:
                    taken.append(item)
                    room -= size
                else:
                    passed += 1
        return taken, known

    @rule(most=st.integers(0, 12))
    def prune(self, most: int) -> None:
        """Drop the most told, and among those the newest."""
        dropped = self.queue.prune(most, 0.0)
        surplus = max(len(self.items) - most, 0)
        for item in sorted(self.items, key=lambda item: (-item.transmits, -item.order))[:surplus]:
            self._finish(item)
        assert dropped == surplus

    @rule(limit=st.sampled_from([1, 4, 8]))
    def resize(self, limit: int) -> None:
        """The cluster grows or shrinks."""
        self.queue.limit = limit

    @rule(member=targets)
    def depart_or_return(self, member: Address) -> None:
        """Somebody is no target any more, or again."""
        self.members ^= {member}

    @invariant()
    def same(self) -> None:
        """Both hold the same, finished the same in the same order, and count the same."""
        queued = {item.message for item in self.items}
        assert len(self.queue) == len(self.items)
        assert {message for message, b in self.index.items() if not b.finished} == queued
        assert set(self.index) == queued | set(self.remembered)
        assert self.finished == self.expected
        assert self.queue.fewest_transmits() == min(
            (item.transmits for item in self.items), default=None
        )
        assert self.queue.pending_bytes() == sum(
            (len(item.message) + MESSAGE_OVERHEAD) * max(self.queue.limit - item.transmits, 1)
            for item in self.items
        )


TestQueue = QueueMachine.TestCase
TestQueue.settings = MACHINES
