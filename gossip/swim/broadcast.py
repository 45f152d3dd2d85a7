"""The transmit-limited queue: news waiting to be told, least-told first.

Every broadcast is sent ``retransmit_mult * ceil(log10(n + 1))`` times and then forgotten; newer news
about the same subject replaces older (memberlist's TransmitLimitedQueue). Packets are filled from the
tier of fewest transmits upwards, and within a tier in the order of arrival: memberlist takes the
longest, then the newest first, which under load starves the oldest events until receivers find them
too old to accept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address

__all__ = ["MESSAGE_OVERHEAD", "Broadcast", "TransmitQueue", "retransmit_limit"]

MESSAGE_OVERHEAD = 2
"""Bytes that a compound packet adds per message."""
LOOKAHEAD = 8
"""How many messages that do not fit, or are known to the target, are passed over in a tier."""
EVIDENCE_SHARE = 3 / 4
EVIDENCE_LEAST = 6
"""Heard from so many members, as a part of the limit and at least, a broadcast needs one copy less."""
MAX_KNOWN = 64
"""How many members are remembered, per broadcast, to have it."""
MAX_TOLD = 512
"""How many finished broadcasts are remembered, per queue, because copies keep coming."""


def retransmit_limit(multiplier: int, members: int) -> int:
    """How often each broadcast is sent in a cluster of so many members."""
    return max(1, multiplier * ceil(log10(members + 1)))


class Broadcast:
    """One encoded message on its way to everybody; `known` are those who have sent it to us."""

    __slots__ = ("finished", "known", "message", "on_finished", "queue", "subject", "transmits")

    def __init__(
        self,
        queue: TransmitQueue,
        message: bytes,
        subject: str | None,
        on_finished: Callable[[float], None] | None,
    ) -> None:
        self.queue = queue
        self.message = message
        self.subject = subject
        self.on_finished = on_finished
        self.known: set[Address] = set()
        self.transmits = 0
        self.finished = False


class TransmitQueue:
    """Broadcasts of one kind, each sent `limit` times; `limit` follows the cluster's size.

    Args:
        index: every queued broadcast by its message, and those finished lately that nothing has
            replaced; shared by the queues of one node.
        all_among: tells whether all members there are to tell are among these addresses.
    """

    def __init__(
        self, index: dict[bytes, Broadcast], all_among: Callable[[set[Address]], bool]
    ) -> None:
        self.limit = 1
        self._index = index
        self._all_among = all_among
        self._tiers: list[OrderedDict[Broadcast, None]] = []
        self._tier_bytes: list[int] = []
        self._by_subject: dict[str, Broadcast] = {}
        self._told: deque[Broadcast] = deque()
        self.length = 0
        """How many broadcasts wait; the same as `len`, for those who ask at every packet."""

    def __len__(self) -> int:
        return self.length

    def push(
        self,
        message: bytes,
        now: float,
        *,
        subject: str | None = None,
        source: Address | None = None,
        on_finished: Callable[[float], None] | None = None,
        transmits: int = 0,
    ) -> None:
        """Queue a message.

        Args:
            message: as it stands in a packet, type byte included.
            now: local time.
            subject: older broadcasts about it are dropped as finished.
            source: who told us, and so need not be told.
            on_finished: called once when it has been sent `limit` times or was replaced.
            transmits: how many copies count as sent already.
        """
        if subject is not None and (older := self._by_subject.get(subject)) is not None:
            if not older.finished:
                self._withdraw(older)
                self._finish(older, now)
            self._forget(older)
        broadcast = Broadcast(self, message, subject, on_finished)
        broadcast.transmits = min(transmits, self.limit - 1)
        self._index[message] = broadcast
        if subject is not None:
            self._by_subject[subject] = broadcast
        self.length += 1
        self._put(broadcast)
        if source is not None:
            self.heard(broadcast, source, now)

    def take(self, out: list[bytes], room: int, target: Address | None, now: float) -> int:
        """Append the next messages for a packet to `target` and count them as sent.

        Args:
            out: receives the messages.
            room: bytes left in the packet, each message costing `MESSAGE_OVERHEAD` more.
            target: who receives the packet; what came from there is passed over, and its copy is
                kept for somebody to whom it may be news.
            now: local time, for `on_finished`.

        Returns:
            The room that remains.
        """
        taken: list[Broadcast] = []
        known: list[Broadcast] = []
        for tier in self._tiers:
            if room <= MESSAGE_OVERHEAD:
                break
            if tier:
                room = self._fill(tier, taken, known, room, target)
        for broadcast in taken:
            out.append(broadcast.message)
            self._withdraw(broadcast)
            broadcast.transmits += 1
            if broadcast.transmits >= self.limit:
                self._finish(broadcast, now)
            else:
                self._put(broadcast)
        for broadcast in known:
            if self._all_among(broadcast.known):  # those who did not have it are gone
                self._withdraw(broadcast)
                self._finish(broadcast, now)
        return room

    def heard(self, broadcast: Broadcast, source: Address, now: float) -> None:
        """Note that a member has a broadcast already.

        When everybody has it, it is finished. When many have it, see `evidence`, one copy
        less is sent.
        """
        if broadcast.finished or source in broadcast.known:
            return
        if len(broadcast.known) < MAX_KNOWN:
            broadcast.known.add(source)
        everybody = self._all_among(broadcast.known)
        if everybody or len(broadcast.known) == self.evidence():
            self._withdraw(broadcast)
            broadcast.transmits += 1
            if everybody or broadcast.transmits >= self.limit:
                self._finish(broadcast, now)
            else:
                self._put(broadcast)

    def evidence(self) -> int:
        """From how many members a broadcast must have been heard to need one copy less."""
        return max(ceil(self.limit * EVIDENCE_SHARE), EVIDENCE_LEAST)

    def fewest_transmits(self) -> int | None:
        """How often the least-told broadcast has been sent, or None when the queue is empty."""
        if self.length:
            for transmits, tier in enumerate(self._tiers):
                if tier:
                    return transmits
        return None

    def pending_bytes(self) -> int:
        """Bytes still to be sent, every remaining copy counted."""
        limit = self.limit
        return sum(
            size * max(limit - transmits, 1)
            for transmits, size in enumerate(self._tier_bytes)
            if size
        )

    def prune(self, most: int, now: float) -> int:
        """Drop the most-told broadcasts until at most `most` remain; returns how many."""
        dropped = max(self.length - most, 0)
        for tier in reversed(self._tiers):
            while tier and self.length > most:
                broadcast = next(reversed(tier))
                self._withdraw(broadcast)
                self._finish(broadcast, now)
        return dropped

    @staticmethod
    def _fill(
        tier: OrderedDict[Broadcast, None],
        taken: list[Broadcast],
        known: list[Broadcast],
        room: int,
        target: Address | None,
    ) -> int:
        passed = 0
        for broadcast in tier:
            size = len(broadcast.message) + MESSAGE_OVERHEAD
            if target in broadcast.known:
                known.append(broadcast)
                passed += 1
            elif size <= room:
                room -= size
                taken.append(broadcast)
            else:
                passed += 1
            if room <= MESSAGE_OVERHEAD or passed == LOOKAHEAD:
                break
        return room

    def _put(self, broadcast: Broadcast) -> None:
        while len(self._tiers) <= broadcast.transmits:
            self._tiers.append(OrderedDict())
            self._tier_bytes.append(0)
        self._tiers[broadcast.transmits][broadcast] = None
        self._tier_bytes[broadcast.transmits] += len(broadcast.message) + MESSAGE_OVERHEAD

    def _withdraw(self, broadcast: Broadcast) -> None:
        del self._tiers[broadcast.transmits][broadcast]
        self._tier_bytes[broadcast.transmits] -= len(broadcast.message) + MESSAGE_OVERHEAD

    def _finish(self, broadcast: Broadcast, now: float) -> None:
        self.length -= 1
        broadcast.finished = True
        broadcast.known = set()
        self._told.append(broadcast)
        if len(self._told) > MAX_TOLD:
            self._forget(self._told.popleft())
        if broadcast.on_finished is not None:
            broadcast.on_finished(now)

    def _forget(self, broadcast: Broadcast) -> None:
        if self._index.get(broadcast.message) is broadcast:
            del self._index[broadcast.message]
        if broadcast.subject is not None and self._by_subject.get(broadcast.subject) is broadcast:
            del self._by_subject[broadcast.subject]
