"""Upkeep: what a node does every now and then: forgetting those long gone, and trying the failed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.events import MemberStatus
from gossip.serf.leave import Lifecycle
from gossip.swim.members import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gossip.serf.node import Node

__all__ = ["Upkeep"]


class Upkeep:
    """The schedules of a `Node`; they run for as long as it does.

    Args:
        node: whose members are looked after.
        rng: chooses whom to try again, and when.
        now: local time.
    """

    def __init__(self, node: Node, rng: Random, now: float) -> None:
        self._node = node
        self._rng = rng
        self._book(now, node.config.reap_interval, self._reap)
        # Nodes that were started together would all wait together for the next attempt.
        interval = node.config.reconnect_interval
        self._book(now, interval, self._reconnect, first=interval * rng.random())

    def _book(
        self,
        now: float,
        interval: float,
        task: Callable[[float], None],
        *,
        first: float | None = None,
    ) -> None:
        def run(now: float) -> None:
            self._book(now, interval, task)
            task(now)

        self._node.membership.timers.call_at(now + (interval if first is None else first), run)

    def _reap(self, now: float) -> None:
        node = self._node
        node.intents.early.expire(now)
        node.members.reap(now)
        node.members.end_stuck_leaves(now, self._is_alive)
        node.membership.dissemination.resize(members=len(node.members))

    def _is_alive(self, name: str) -> bool:
        record = self._node.membership.table.get(name)
        return record is not None and record.status is Status.ALIVE

    def _reconnect(self, now: float) -> None:
        """Try one failed member again, so that the pool tries each about once per interval."""
        node = self._node
        failed = node.members.with_status(MemberStatus.FAILED)
        if not failed or node.lifecycle is not Lifecycle.ALIVE:
            return
        others = len(node.members) - len(failed) - node.members.counts[MemberStatus.LEFT]
        if self._rng.random() < len(failed) / max(others, 1):
            member = failed[self._rng.randrange(len(failed))]
            node.membership.join(member.info.address, now, ignore_old=False)
