"""The graceful leave: the intent first, the farewell second, and answers until both are believed.

    ALIVE --leave--> telling the intent --> saying farewell, propagating --> LEFT

The order matters to genuine agents: one that hears the farewell without the intent announces a
failure. They pass an intent on at their ticks, so while one of them is in the pool the intent gets the
time of all its copies, as Serf does it. Our own nodes pass it on at once and take the farewell's word
in any case, so among them the farewell follows after a moment.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gossip.swim.membership import FAREWELL_FANOUT
from gossip.wire.messages import UserMessage
from gossip.wire.serf import LeaveIntent

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.serf.node import Node
    from gossip.swim.timers import Timer

__all__ = ["Departure", "Lifecycle"]

INTENT_LEAD = 0.02
"""How far the intent goes ahead of the farewell among nodes of our kind, seconds."""


class Lifecycle(Enum):
    """Where a node stands between its start and its end."""

    ALIVE = "alive"
    LEAVING = "leaving"
    LEFT = "left"
    LOST_NAME = "lost-name"
    """The vote about our name was lost: the driver stops at once, without a farewell."""


class Departure:
    """One graceful leave in progress."""

    def __init__(self, node: Node, on_left: Callable[[float], None]) -> None:
        self._node = node
        self._on_left = on_left
        self._timer: Timer | None = None

    def begin(self, now: float) -> None:
        """Tell everybody that we are about to leave."""
        node, membership = self._node, self._node.membership
        membership.prober.stop()
        intent = LeaveIntent(node.member_clock.increment(), node.config.name, prune=False)
        node.intents.apply(intent, now)
        if membership.table.alive <= 1:
            self._say_farewell(now)
            return
        message = UserMessage(intent.encode()).encode()
        membership.tell_all(message)
        queue = membership.dissemination.intents
        if self._can_hurry():
            queue.push(message, now, transmits=membership.dissemination.farewell_transmits())
            self._timer = membership.timers.call_at(now + INTENT_LEAD, self._say_farewell)
        else:
            queue.push(message, now, on_finished=self._intent_told)
            self._timer = membership.timers.call_at(
                now + node.config.broadcast_timeout, self._say_farewell
            )
        membership.dissemination.wake(now)

    def _can_hurry(self) -> bool:
        alive = self._node.membership.table.alive
        return alive <= FAREWELL_FANOUT + 1 and self._node.only_our_kind()

    def _intent_told(self, now: float) -> None:
        # The packet with the last copy is still being filled; the farewell must not overtake it.
        self._node.membership.timers.call_at(now, self._say_farewell)

    def _say_farewell(self, now: float) -> None:
        """Say that we are gone, but go on answering, so that nobody who missed it sees a failure."""
        membership = self._node.membership
        if membership.leaving:
            return  # both the last copy of the intent and the timeout lead here
        membership.timers.cancel(self._timer)
        membership.leave(now)
        alone = membership.table.alive == 0
        delay = 0.0 if alone else self._node.config.leave_propagate_delay
        membership.timers.call_at(now + delay, self._on_left)
