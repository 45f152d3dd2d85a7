"""User events of a node: fired here, received by gossip, and caught up with in push/pulls.

Each is delivered once and passed on once; `gossip.serf.ring` tells which are new, `pacing` how fast
they may be fired, and `repair` asks for those that gossip missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import LimitError
from gossip.serf.pacing import EventPacer
from gossip.serf.repair import EventRepair
from gossip.serf.ring import Verdict
from gossip.wire.serf import UserEvent

if TYPE_CHECKING:
    from gossip.serf.node import Node
    from gossip.serf.repair import Requests
    from gossip.wire.address import Address
    from gossip.wire.serf import StateSync

__all__ = ["UserEvents"]


class UserEvents:
    """The user events of a `Node`.

    Args:
        node: owns the ring and the event clock.
        requests: asks members for what is missing.
    """

    def __init__(self, node: Node, requests: Requests) -> None:
        self._node = node
        self._queue = node.membership.dissemination.events
        self._pacer = EventPacer(node.event_clock, node.config.event_buffer)
        self._repair = EventRepair(
            node.ring, node.event_clock, node.membership.timers, requests, node.patience
        )

    def pause(self, now: float) -> float:
        """Seconds to wait before the next `fire`, so that no node finds it too old; mostly 0."""
        if len(self._node.members) == 1:
            return 0.0  # nobody to find it so
        return self._pacer.pause(now)

    def fire(self, name: str, payload: bytes, now: float, *, coalesce: bool) -> int:
        """Fire an event; returns its Lamport time.

        Raises:
            LimitError: it is too large; the clock has not moved.
        """
        node = self._node
        event = UserEvent(node.event_clock.upcoming, name, payload, coalesce)
        limit = node.config.user_event_size_limit
        size = len(name.encode("utf-8", "surrogateescape")) + len(payload)
        if size > limit:
            raise LimitError(f"user event of {size} bytes exceeds the limit of {limit} bytes")
        encoded = event.encode()
        if len(encoded) > limit:
            raise LimitError(
                f"user event of {len(encoded)} bytes, encoded, exceeds the limit of {limit} bytes"
            )
        node.event_clock.increment()
        self._take_in(event, now)
        node.broadcast(self._queue, encoded, None, now)
        return event.ltime

    def receive(self, event: UserEvent, data: bytes, source: Address | None, now: float) -> None:
        """An event came by gossip, as these bytes; a new one is passed on."""
        if self._node.witness(self._node.event_clock, event.ltime) and self._take_in(event, now):
            self._node.broadcast(self._queue, data, source, now)

    def merge(self, state: StateSync, now: float, *, ignore_old: bool) -> None:
        """A peer's recent events; none is passed on.

        Args:
            state: what the peer sent.
            now: local time.
            ignore_old: those from before this exchange are not wanted.
        """
        node = self._node
        if ignore_old:
            self.forget_before(state.event_ltime)
        for ltime, events in state.events:
            for name, payload in events:
                if node.witness(node.event_clock, ltime):
                    self._take_in(UserEvent(ltime, name, payload, coalesce=False), now)

    def forget_before(self, ltime: int) -> None:
        """Events before this time are not ours to deliver."""
        ring = self._node.ring
        ring.min_time = max(ring.min_time, ltime)
        self._repair.forget_before(ltime)

    def _take_in(self, event: UserEvent, now: float) -> bool:
        verdict = self._node.ring.offer(event, self._node.event_clock.time)
        if verdict is Verdict.NEW:
            self._repair.received(event.ltime, now)
            self._node.notify(event, now)
            return True
        self._node.stats[f"events_{verdict.value}"] += 1
        return False
