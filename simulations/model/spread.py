"""How one broadcast spreads in a pool of up to a million members, all of them at once in NumPy arrays.

A member knows the broadcast from its first copy on, and then sends copies of its own by the rules of
`gossip.swim.dissemination` and `gossip.swim.broadcast`: the first ones at once, the last quarter at the
ticks of 200 ms, or on pings and acks that leave anyway; without `Config.eager` all of them at the ticks,
as memberlist does. One that it has heard from many members costs it a copy. Every copy has a latency and
may be lost.

Time goes in bins no longer than the shortest latency. What is sent in one bin arrives in a later one, so
a bin's members can be computed together, and nothing is lost by it. Two things are simpler than in the
core: the targets of one member are an arithmetic progression round the pool, and how many of them are
passed over because they have sent us the broadcast is drawn, not remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf
from typing import TYPE_CHECKING

import numpy as np

from gossip.swim.broadcast import EVIDENCE_LEAST, EVIDENCE_SHARE, MAX_KNOWN, retransmit_limit
from gossip.swim.dissemination import KEPT_SHARE, TAIL_TICKS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gossip.config import Config

    Floats = npt.NDArray[np.float64]
    Members = npt.NDArray[np.int32]

__all__ = ["Pool", "Spread", "quantile", "spread"]

CHUNK = 100_000
"""So many members choose their targets together: it bounds the memory."""
LEAST_MEMBERS = 8
"""In smaller pools everybody knows everybody else's copies, which the model does not."""
PATIENCE = 60.0
"""A broadcast that still spreads after so many seconds is given up, seconds."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is modelled: a settled pool and its network.

    Attributes:
        members: how many, at least `LEAST_MEMBERS`.
        config: the settings of every member; its name does not matter.
        latency: one way on average, seconds; each packet takes half of it to one and a half times it.
        loss: the probability that a packet does not arrive.

    Raises:
        ValueError: a value is out of its range.
    """

    members: int
    config: Config
    latency: float = 0.0005
    loss: float = 0.0

    def __post_init__(self) -> None:
        if not LEAST_MEMBERS <= self.members <= 2**31 - 1:
            raise ValueError(f"members {self.members} is not between {LEAST_MEMBERS} and 2**31 - 1")
        if not 0 <= self.loss < 1:
            raise ValueError(f"loss {self.loss} is not between 0 and 1")
        if not 1e-6 <= self.latency <= self.config.gossip_interval:
            raise ValueError(
                f"latency {self.latency} s is not between 1e-6 s and the gossip interval, "
                f"{self.config.gossip_interval} s"
            )


@dataclass(slots=True)
class Spread:
    """What became of one broadcast.

    Attributes:
        known_at: when each member had it, seconds; infinite for those whom no copy reached.
        packets: sent for its sake.
        copies: sent, those that rode on pings and acks included.
    """

    known_at: Floats
    packets: int = 0
    copies: int = 0


def quantile(times: Floats, share: float) -> float:
    """When this share of the members knew, rounded up to a whole member."""
    place = max(ceil(share * len(times)) - 1, 0)
    return float(np.partition(times, place)[place])


def spread(
    pool: Pool,
    sources: Floats,
    rng: np.random.Generator,
    *,
    to_the_last_copy: bool = False,
    tell: Callable[[int], object] = lambda _known: None,
) -> Spread:
    """Spread a broadcast.

    Args:
        pool: where.
        sources: when each member learns of it by itself, in seconds from 0; infinite for most.
        rng: every choice.
        to_the_last_copy: go on, when everybody has it, until nobody sends it any more; otherwise
            packets and copies are those until then.
        tell: hears now and then how many members have it.
    """
    return _Spreading(pool, sources, rng).run(to_the_last_copy=to_the_last_copy, tell=tell)


@dataclass(slots=True)
class _Flight:
    """Copies that arrive in one bin: to whom, from whom, when."""

    targets: Members
    senders: Members
    times: Floats


class _Phases:
    """Timers of one period with a random phase per member: whose is due in which bin."""

    def __init__(self, members: int, period: int, rng: np.random.Generator) -> None:
        self._period = period
        self.phase = rng.integers(0, period, members, dtype=np.int32)
        self._order = np.argsort(self.phase, kind="stable").astype(np.int32)
        self._starts = np.searchsorted(self.phase[self._order], np.arange(period + 1))

    def due(self, number: int) -> Members:
        """The members whose timer is due in a bin."""
        phase = number % self._period
        return self._order[self._starts[phase] : self._starts[phase + 1]]


class _Spreading:
    """One broadcast on its way, advanced bin by bin."""

    def __init__(self, pool: Pool, sources: Floats, rng: np.random.Generator) -> None:
        members, config = pool.members, pool.config
        self._pool = pool
        self._rng = rng
        self._limit = retransmit_limit(config.retransmit_mult, members)
        self._eager = self._limit - ceil(self._limit / KEPT_SHARE) if config.eager else 0
        self._evidence = max(ceil(self._limit * EVIDENCE_SHARE), EVIDENCE_LEAST)
        self._period = ceil(config.gossip_interval / (pool.latency / 2))
        self._bin = config.gossip_interval / self._period
        self._ticks = _Phases(members, self._period, rng)
        self._probes = _Phases(members, max(round(config.probe_interval / self._bin), 1), rng)
        self._flights: dict[int, list[_Flight]] = {}
        self._pings: dict[int, list[_Flight]] = {}
        self._left = np.zeros(members, np.int16)
        """Copies that each member has still to send."""
        self._sending = 0
        """Members with copies left."""
        self._heard = np.zeros(members, np.int16)
        self._first_tick = np.zeros(members, np.int32)
        self._result = Spread(np.full(members, inf))
        learning = np.flatnonzero(np.isfinite(sources)).astype(np.int32)
        self._bin_now = floor(float(sources[learning].min()) / self._bin)
        self._unknowing = members
        nobody = np.full(len(learning), -1, np.int32)
        self._book(self._flights, _Flight(learning, nobody, sources[learning]), self._bin_now)

    def run(self, *, to_the_last_copy: bool, tell: Callable[[int], object]) -> Spread:
        """Advance until nothing happens any more, or everybody has it."""
        members = self._pool.members
        first = self._bin_now
        give_up = first + round(PATIENCE / self._bin)
        while self._bin_now < give_up and (self._flights or self._sending):
            if not self._unknowing and not to_the_last_copy:
                break
            self._learn(self._flights.pop(self._bin_now, []))
            self._answer(self._pings.pop(self._bin_now, []))
            self._tick()
            self._probe()
            self._bin_now += 1
            if (self._bin_now - first) % self._period == 0:
                tell(members - self._unknowing)
        tell(members - self._unknowing)
        return self._result

    # What arrives

    def _learn(self, flights: list[_Flight]) -> None:
        """Copies arrive: for some they are news, for others evidence."""
        if not flights:
            return
        targets = np.concatenate([flight.targets for flight in flights])
        senders = np.concatenate([flight.senders for flight in flights])
        times = np.concatenate([flight.times for flight in flights])
        if len(targets) > self._pool.members // 4:
            self._heard += np.bincount(targets[senders >= 0], minlength=len(self._heard)).astype(
                np.int16
            )
        else:
            np.add.at(self._heard, targets[senders >= 0], 1)
        known_at = self._result.known_at
        fresh = np.flatnonzero(np.isinf(known_at[targets]))
        if len(fresh):
            fresh = fresh[np.argsort(times[fresh], kind="stable")]
            news, first = np.unique(targets[fresh], return_index=True)
            first = fresh[first]
            known_at[news] = times[first]
            self._unknowing -= len(news)
            self._left[news] = self._limit
            self._sending += len(news)
            self._begin(news, senders[first], times[first])
        self._believe(targets)

    def _believe(self, targets: Members) -> None:
        """Heard from many members, a broadcast needs one copy less."""
        convinced = self._heard[targets] >= self._evidence
        if not convinced.any():
            return
        members = np.unique(targets[convinced])
        members = members[self._left[members] > 0]
        self._take(members, 1)
        self._heard[members] = -(2**14)  # once

    def _begin(self, members: Members, sources: Members, times: Floats) -> None:
        """They have it now: first copies leave at once, and the first tick is chosen."""
        first_tick = np.full(len(members), self._bin_now + 1, np.int32)
        if self._eager:
            waits = self._rng.integers(1, TAIL_TICKS + 1, len(members), dtype=np.int32)
            first_tick += waits * np.int32(self._period)
            for start in range(0, len(members), CHUNK):
                part = slice(start, start + CHUNK)
                self._send(members[part], sources[part], times[part], self._eager)
            self._take(members, self._eager)
        self._first_tick[members] = first_tick

    # What is sent

    def _send(self, members: Members, known: Members, times: Floats, most: int) -> None:
        """Each of the members sends so many copies, to targets that are not itself and not `known`."""
        size, count = self._pool.members, len(members)
        rng = self._rng
        start = rng.integers(0, size, count)
        step = rng.integers(1, size, count)
        while len(short := np.flatnonzero(size // np.gcd(step, size) < most + 2)):
            step[short] = rng.integers(1, size, len(short))
        targets = (start[:, None] + step[:, None] * np.arange(most + 2)) % size
        good = (targets != members[:, None]) & (targets != known[:, None])
        good &= np.cumsum(good, axis=1) <= most
        rows, columns = np.nonzero(good)
        self._result.packets += len(rows)
        self._launch(
            targets[rows, columns].astype(np.int32), members[rows], times[rows], self._flights
        )

    def _launch(
        self,
        targets: Members,
        senders: Members,
        times: Floats,
        calendar: dict[int, list[_Flight]],
    ) -> None:
        """Packets leave, and those that are not lost will arrive."""
        if calendar is self._flights:
            self._result.copies += len(targets)
        if self._pool.loss:
            arrive = self._rng.random(len(targets)) >= self._pool.loss
            targets, senders, times = targets[arrive], senders[arrive], times[arrive]
        delays = self._pool.latency * (0.5 + self._rng.random(len(targets)))
        self._book(calendar, _Flight(targets, senders, times + delays), self._bin_now + 1)

    def _book(self, calendar: dict[int, list[_Flight]], flight: _Flight, earliest: int) -> None:
        """Sort what arrives into the bins; rounding must not bring anything into the present one."""
        bins = np.maximum(np.floor(flight.times / self._bin).astype(np.int64), earliest)
        for number in np.unique(bins):
            here = bins == number
            calendar.setdefault(int(number), []).append(
                _Flight(flight.targets[here], flight.senders[here], flight.times[here])
            )

    def _take(self, members: Members, copies: int) -> None:
        left = self._left[members]
        left -= copies
        np.maximum(left, 0, out=left)
        self._left[members] = left
        self._sending -= int(np.count_nonzero(left == 0))

    def _not_known(self, members: Members) -> npt.NDArray[np.bool_]:
        """Whether a random target of each is one from which it has not heard the broadcast."""
        heard = self._heard[members].astype(np.float64)
        heard[heard < 0] += 2**14 + self._evidence
        share = np.minimum(heard, MAX_KNOWN) / (self._pool.members - 1)
        unknown: npt.NDArray[np.bool_] = self._rng.random(len(members)) >= share
        return unknown

    # Timers

    def _tick(self) -> None:
        """The gossip tick: a few more copies."""
        if not self._sending:
            return
        due = self._ticks.due(self._bin_now)
        if not len(due):
            return
        due = due[(self._left[due] > 0) & (self._first_tick[due] <= self._bin_now)]
        now = self._bin_now * self._bin
        for _ in range(self._pool.config.gossip_nodes):
            due = due[self._left[due] > 0]
            if not len(due):
                return
            sending = due[self._not_known(due)]
            self._result.packets += len(sending)
            times = np.full(len(sending), now)
            self._launch(self._others(sending), sending, times, self._flights)
            self._take(sending, 1)

    def _probe(self) -> None:
        """Pings leave, with a copy where there is one, and will be answered."""
        if not self._sending:
            return
        due = self._probes.due(self._bin_now)
        if not len(due):
            return
        targets = self._others(due)
        times = np.full(len(due), self._bin_now * self._bin)
        self._launch(targets, due, times, self._pings)
        self._ride(due, targets, times)

    def _answer(self, pings: list[_Flight]) -> None:
        """Acks leave, with a copy where there is one."""
        for ping in pings:
            self._ride(ping.targets, ping.senders, ping.times)

    def _ride(self, members: Members, targets: Members, times: Floats) -> None:
        """Packets that leave anyway take a copy along."""
        chosen = np.flatnonzero((self._left[members] > 0) & self._not_known(members))
        if len(chosen):
            # One that answers two pings in one bin adds a copy to one of them.
            members, first = np.unique(members[chosen], return_index=True)
            targets, times = targets[chosen[first]], times[chosen[first]]
            self._launch(targets, members, times, self._flights)
            self._take(members, 1)

    def _others(self, members: Members) -> Members:
        """A random other member for each."""
        size = self._pool.members
        step = self._rng.integers(1, size, len(members))
        return ((members + step) % size).astype(np.int32)
