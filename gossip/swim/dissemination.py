"""Dissemination: when broadcasts leave, and to whom.

memberlist sends what is queued at a tick of 200 ms to three members drawn at random. The wire does not
ask for that: a peer sees ordinary packets whenever they come. So here

* a new broadcast's first copies leave at once (*eager*), the last quarter at the ticks, so that a
  burst of loss or a paused receiver does not take all copies together;
* targets come from a shuffled ring, so the copies of one broadcast go to different members;
* when tokens are short fewer copies leave at once, so that the first ones of every broadcast can;
* a token bucket bounds the packets to what memberlist would send, ``gossip_nodes`` per
  ``gossip_interval``; only a backlog larger than that raises the rate, up to `MAX_SPEEDUP` times,
  because the alternative is a queue that grows until receivers find its events too old.

There is no timer while nothing is queued.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from gossip.swim.broadcast import Broadcast, TransmitQueue, retransmit_limit
from gossip.swim.members import Record, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gossip.config import Config
    from gossip.swim.timers import Timer, Timers
    from gossip.wire.address import Address

__all__ = ["Dissemination", "GossipRing"]

MAX_SPEEDUP = 32
"""How much faster than memberlist a backlog may be sent."""
DRAIN_TIME = 0.25
"""A backlog is sent at the rate that would empty it in so many seconds."""
KEPT_SHARE = 4
"""One of so many copies is kept for the ticks."""
MIN_PAUSE = 0.005
"""Out of tokens, or nearly so, wait at least so long: waking costs as much as sending."""
TAIL_TICKS = 3
"""When first copies have left at once, the last ones wait for up to so many ticks more: most of them
then ride on probes and acks, and cost no packet."""
PLENTY = 0.6
"""Tokens are short below this part of what a quiet time gives."""
RESERVE = 0.3
"""This part of it is left by the ticks to first copies. Below it only one copy of a broadcast does not
wait for a tick, and that one waits for `MIN_PAUSE`: what comes meanwhile travels with it, and no packet sets
off another one at once, along a chain of nodes that grows as long as there is news."""
EAGER_WHEN_SHORT = 3
"""Copies of a broadcast that leave at once in between."""
FLOOD = 8
"""A rate raised so many times is a flood of events."""
BURST_TICKS = 10
"""How many ticks' worth of packets may leave at once after a quiet time."""


class GossipRing:
    """The members worth telling news, in a random order that keeps changing.

    Any half ring's length of successive targets is free of repetitions: a member that was just
    chosen changes places only with one that was chosen within the last half round.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._ring: list[Record] = []
        self._cursor = 0

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, record: Record) -> None:
        """Make a member a target, unless it is one."""
        if record.in_gossip_ring:
            return
        record.in_gossip_ring = True
        ring = self._ring
        ring.append(record)
        place = self._rng.randrange(len(ring))
        ring[place], ring[-1] = ring[-1], ring[place]

    def all_among(self, addresses: set[Address]) -> bool:
        """Whether every target has one of these addresses.

        Counting them is not enough: packets also come from strangers, from members that left since
        then, and from behind address translation.
        """
        ring = self._ring
        return len(addresses) >= len(ring) and all(r.info.address in addresses for r in ring)

    def next(self, eligible: Callable[[Record], bool]) -> Record | None:
        """The next target; members that are not eligible any more leave the ring on the way."""
        ring = self._ring
        while ring:
            index = self._cursor = self._cursor % len(ring)
            record = ring[index]
            if not eligible(record):
                record.in_gossip_ring = False
                ring[index] = ring[-1]
                ring.pop()
                continue
            back = self._rng.randrange(len(ring) // 2 + 1)
            if len(ring) == 2:
                back = 0  # neither comes twice in a row: all copies might go to one that is deaf
            ring[index], ring[index - back] = ring[index - back], record
            self._cursor = index + 1
            return record
        return None


class Dissemination:
    """The broadcast queues and their schedule.

    Args:
        config: intervals, fan-out and budget.
        timers: where ticks are booked.
        rng: order of targets and phase of the ticks.
        send: sends one packet of broadcasts to a member, and tells whether there was any for it.
        room: bytes of broadcasts that one packet holds.
    """

    def __init__(
        self,
        config: Config,
        timers: Timers,
        rng: Random,
        *,
        send: Callable[[Record, float], bool],
        room: int,
    ) -> None:
        self.ring = GossipRing(rng)
        self._index: dict[bytes, Broadcast] = {}
        self.membership, self.intents, self.queries, self.events = self.queues = tuple(
            TransmitQueue(self._index, self.ring.all_among) for _ in range(4)
        )
        self._config = config
        self._timers = timers
        self._rng = rng
        self._send = send
        self._room = room
        self._base_rate = config.gossip_nodes / config.gossip_interval
        self._burst = float(BURST_TICKS * config.gossip_nodes)
        self._tokens = self._burst
        self._reserve = RESERVE * self._burst if config.eager else 0.0
        self._tokens_at = 0.0
        self._tick: Timer | None = None
        self._flush: Timer | None = None
        self._woken = False
        self.resize(nodes=1, members=1)

    def __len__(self) -> int:
        return sum(map(len, self.queues))

    @property
    def pending(self) -> bool:
        """Whether anything is queued: `len`, for those who ask at every packet of a quiet pool."""
        if self._woken and not len(self):
            self._woken = False
        return self._woken

    def resize(self, *, nodes: int | None = None, members: int | None = None) -> None:
        """Follow the cluster's size: memberlist's count of nodes, Serf's count of members."""
        multiplier = self._config.retransmit_mult
        if nodes is not None:
            self.membership.limit = retransmit_limit(multiplier, nodes)
            self._eager_limit = self.farewell_transmits() if self._config.eager else 0
        if members is not None:
            for queue in (self.intents, self.queries, self.events):
                queue.limit = retransmit_limit(multiplier, members)

    def farewell_transmits(self) -> int:
        """How many copies of a farewell count as sent once it has been told directly."""
        return self.membership.limit - ceil(self.membership.limit / KEPT_SHARE)

    def wake(self, now: float) -> None:
        """Something was queued, or a first target appeared: book what sends it."""
        self._woken = True
        if not self.ring:
            return
        if self._tick is None:
            # The phase is random, as memberlist's ticks have: nodes must not answer in step.
            ticks = 1 - self._rng.random()
            if self._eager_limit:
                ticks = 1 + TAIL_TICKS * ticks
            self._tick = self._timers.call_at(
                now + self._config.gossip_interval * ticks, self._on_tick
            )
        if self._flush is None and self._eager_limit:
            tokens = self._tokens + (now - self._tokens_at) * self._base_rate
            pause = 0.0 if tokens >= self._reserve else MIN_PAUSE
            self._flush = self._timers.call_at(now + pause, self._on_flush)

    def heard(self, message: bytes, source: Address, now: float) -> bool:
        """Tell whether a received message waits here to be sent, or was lately: then it is no news.

        It costs one look-up, and most messages of a busy pool are such copies. Who sent it has it.
        """
        broadcast = self._index.get(message)
        if broadcast is None:
            return False
        broadcast.queue.heard(broadcast, source, now)
        return True

    def take(self, room: int, target: Address | None, now: float) -> list[bytes]:
        """Broadcasts for a packet to `target` with so much room, counted as sent."""
        messages: list[bytes] = []
        for queue in self.queues:
            if queue.length:
                room = queue.take(messages, room, target, now)
        return messages

    def _fewest_transmits(self) -> int | None:
        counts = [queue.fewest_transmits() for queue in self.queues if queue.length]
        return min((count for count in counts if count is not None), default=None)

    def _rate(self) -> float:
        backlog = sum(queue.pending_bytes() for queue in self.queues) / self._room
        wanted = backlog / DRAIN_TIME
        return min(max(self._base_rate, wanted), self._base_rate * MAX_SPEEDUP)

    def _refill(self, rate: float, now: float) -> None:
        self._tokens = min(self._tokens + (now - self._tokens_at) * rate, self._burst)
        self._tokens_at = now

    def _eligible(self, now: float) -> Callable[[Record], bool]:
        dead_since = now - self._config.gossip_to_the_dead_time

        def eligible(record: Record) -> bool:
            # The dead hear of their death for a while, so that they can refute it.
            return record.status <= Status.SUSPECT or (
                record.status is Status.DEAD and record.changed_at >= dead_since
            )

        return eligible

    def _send_packets(self, most: int, now: float) -> int:
        """Send up to `most` packets; returns how many there was something for."""
        eligible, sent = self._eligible(now), 0
        for _ in range(most):
            target = self.ring.next(eligible)
            if target is None or not self:
                break
            sent += self._send(target, now)
        return sent

    def _eager_now(self, rate: float) -> int:
        """How many copies of a broadcast leave at once: fewer when tokens are short.

        At some events per second all of an event's eager copies would use up the tokens, and the first
        copies of the next one would wait for theirs; the rest go at the ticks, several events in a packet.
        In a flood every packet is full anyway, and order is all: what is told first has to arrive first.
        """
        if self._tokens >= self._burst * PLENTY or rate > self._base_rate * FLOOD:
            return self._eager_limit
        return min(self._eager_limit, EAGER_WHEN_SHORT if self._tokens >= self._reserve else 1)

    def _on_flush(self, now: float) -> None:
        """Send first copies while there are tokens, and come back when there will be one."""
        self._flush = None
        rate = self._rate()
        self._refill(rate, now)
        if rate > self._base_rate and self._tick is not None:
            # A backlog does not wait for probes to ride on.
            self._timers.cancel(self._tick)
            soon = now + self._config.gossip_nodes / rate
            self._tick = self._timers.call_at(min(self._tick.at, soon), self._on_tick)
        fruitless = 0
        while (fewest := self._fewest_transmits()) is not None and fewest < self._eager_now(rate):
            if self._tokens < 1:
                wait = max((1 - self._tokens) / rate, MIN_PAUSE)
                self._flush = self._timers.call_at(now + wait, self._on_flush)
                return
            sent = self._send_packets(1, now)
            self._tokens -= sent
            fruitless = 0 if sent else fruitless + 1
            if fruitless > len(self.ring):
                return

    def _on_tick(self, now: float) -> None:
        """memberlist's gossip: up to `gossip_nodes` targets hear whatever is queued."""
        self._tick = None
        rate = self._rate()
        self._refill(rate, now)
        # First copies may have used up the tokens: the two together keep to the rate.
        most = min(self._config.gossip_nodes, round(self._tokens - self._reserve))
        self._tokens -= self._send_packets(most, now)
        if len(self) and len(self.ring):
            interval = self._config.gossip_nodes / rate
            self._tick = self._timers.call_at(now + interval, self._on_tick)
