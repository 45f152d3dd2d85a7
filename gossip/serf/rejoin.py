"""Rejoin: finding the pool of an earlier run again, through the peers that a snapshot remembers.

                     .--nobody answered, a pause that doubles--.
                     v                                         |
    start --> alone, peers known --round over all of them------'
                     ^     | one answered
      everybody lost |     v
                     in company --a few rounds for peers still missing--> settled

A round tries peers in random order, those that were alive first: one, then two at a time, four, eight,
until one answers. Serf makes one round over the alive ones, and so an outage of everybody leaves it in
islands (R-15): each node gives up before the others are back. Here a node that is alone goes on as
long as it runs. Peers missing after somebody answered may be another island, so they are tried too.

Events from before a rejoin are delivered as far as they are newer than what the last run had, which the
ring's minimal time sees to. Serf does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.events import MemberStatus
from gossip.serf.leave import Lifecycle

if TYPE_CHECKING:
    from random import Random

    from gossip.serf.node import Node
    from gossip.serf.snapshot import Snapshot
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address

__all__ = ["Rejoin"]

LOOK_INTERVAL = 5.0
"""Seconds between looks whether everybody is lost."""
FIRST_PAUSE = 1.0
"""Seconds after a round in which nobody answered; doubled by every further one."""
MAX_PAUSE = 20.0
"""Longest pause between rounds, seconds: after an outage of everybody the last one waits so long."""
MAX_TOGETHER = 8
"""Peers tried at the same time."""
MAX_PER_ROUND = 128
"""Peers tried in one round; the next one may try others."""
SETTLE_TIME = 2.0
"""Seconds from a start after which a pool knows the last times that the run before used: until then
they may still be on their way."""
MISSING_ROUNDS = 8
"""Rounds in company for peers still missing, about two minutes."""
MISSING_TOGETHER = 3
"""Missing peers tried in each of those."""


class Rejoin:
    """The search of a `Node`; it begins by itself and ends with the node's leave.

    Args:
        node: who is looking for its pool.
        snapshot: knows the peers, and follows what becomes of them.
        rng: orders them.
        now: local time.
    """

    def __init__(self, node: Node, snapshot: Snapshot, rng: Random, now: float) -> None:
        self._node = node
        self._snapshot = snapshot
        self._rng = rng
        self._pause = FIRST_PAUSE
        self._waiting: list[Address] = []
        self._together = 1
        self._missing_rounds = MISSING_ROUNDS
        self._settle_at = now + SETTLE_TIME
        # Who was in the last run and has not been seen in this one.
        self._unseen = {*snapshot.alive, *snapshot.failed} - {node.config.name}
        node.membership.timers.call_at(now, self._look)

    @property
    def seeking(self) -> bool:
        """Nobody else is alive, and somebody should be."""
        return self._alone() and self._has_peers()

    def _look(self, now: float) -> None:
        node = self._node
        if node.lifecycle is not Lifecycle.ALIVE:
            return
        if self.seeking:
            self._begin_round(now)
            return
        self._pause = FIRST_PAUSE
        if not self._alone():
            if now >= self._settle_at:
                self._snapshot.settle()
            if self._missing_rounds:
                self._try_missing(now)
                return
        self._look_at(now + LOOK_INTERVAL)

    def _look_at(self, at: float) -> None:
        self._node.membership.timers.call_at(at, self._look)

    def _alone(self) -> bool:
        return self._node.members.counts[MemberStatus.ALIVE] <= 1

    def _has_peers(self) -> bool:
        known = self._snapshot
        own = self._node.config.name in known.alive
        return len(known.alive) + len(known.failed) > own

    # Alone

    def _begin_round(self, now: float) -> None:
        alive, failed = (
            self._shuffled(peers) for peers in (self._snapshot.alive, self._snapshot.failed)
        )
        self._waiting = list(dict.fromkeys((*alive, *failed)))[:MAX_PER_ROUND]
        self._together = 1
        self._next_group(now)

    def _shuffled(self, peers: dict[str, Address]) -> list[Address]:
        """Where others may be, ourselves excluded, in random order."""
        own = self._node.membership.own.info
        others = [at for name, at in peers.items() if name != own.name and at != own.address]
        self._rng.shuffle(others)
        return others

    def _next_group(self, now: float) -> None:
        group = self._waiting[: self._together]
        del self._waiting[: self._together]
        self._together = min(2 * self._together, MAX_TOGETHER)
        if not group:
            self._look_at(now + self._rng.uniform(0.75, 1.25) * self._pause)
            self._pause = min(2 * self._pause, MAX_PAUSE)
            return
        left = len(group)

        def tried(_exchange: Exchange, now: float) -> None:
            nonlocal left
            left -= 1
            if left:
                return
            if self._alone() and self._node.lifecycle is Lifecycle.ALIVE:
                self._next_group(now)
            else:
                self._look(now)

        for exchange in self._node.join_pool(group, now, ignore_old=False):
            exchange.on_done(tried)

    # In company

    def _try_missing(self, now: float) -> None:
        """Try peers that were in the last run's pool and are not in this one's.

        Those that failed in this run are not ours: Serf's reconnect tries them.
        """
        known = self._snapshot
        self._unseen = {name for name in self._unseen if self._node.members.get(name) is None}
        # In the order of the snapshot: a set's changes with the hash seed.
        missing = {
            name: address
            for peers in (known.alive, known.failed)
            for name, address in peers.items()
            if name in self._unseen
        }
        self._missing_rounds -= 1
        if not missing or not self._missing_rounds:
            self._missing_rounds = 0
            known.give_up(list(missing))
            self._look_at(now + LOOK_INTERVAL)
            return
        self._node.join_pool(self._shuffled(missing)[:MISSING_TOGETHER], now, ignore_old=False)
        done = MISSING_ROUNDS - self._missing_rounds
        self._look_at(now + min(2.0**done, MAX_PAUSE) * self._rng.uniform(0.75, 1.25))
