"""How a pool of up to a million members finds out that one of them has died.

    probe of the dead member fails  ->  suspect, told to all  ->  confirmed by others' own probes
                                                                      |
                     all know  <-  dead, told to all  <-  every view's own timeout ends

A member probes each other once per round of the pool, in an order of its own. So the first probes of the
dead one are spread evenly over a round, and about one per interval fails, whatever the size. Everything
that is told spreads as `simulations.model.spread` says; timeouts are those of `gossip.swim.suspicion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from gossip.swim.probe import REFUSED_SHARE
from gossip.swim.suspicion import Suspicion, suspicion_bounds
from simulations import theory
from simulations.model.spread import spread
from simulations.network import RETRANSMIT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulations.model.spread import Floats, Pool

__all__ = ["Detection", "detect", "probe_failure"]

TCP_SEGMENTS = 4
"""What a TCP ping needs to arrive: both halves of the handshake, the ping and its answer."""


@dataclass(slots=True)
class Detection:
    """One death, in seconds after it.

    Attributes:
        suspected_at: when the first member suspected it.
        failed_at: when each of the others held it for failed; infinite for those who were not told.
        packets: that were sent to tell of it until then.
    """

    suspected_at: float
    failed_at: Floats
    packets: int


def detect(
    pool: Pool,
    rng: np.random.Generator,
    *,
    refused: bool = True,
    tell: Callable[[str], object] = lambda _step: None,
) -> Detection:
    """Have one member die.

    Args:
        pool: of whom one dies.
        rng: every choice.
        refused: its machine lives on and refuses connections, which our nodes take for an answer;
            otherwise, and always with memberlist, a probe fails only at the end of its interval.
        tell: hears what is going on.
    """
    others = pool.members - 1
    round_length = others * pool.config.probe_interval
    wanted, _, _ = suspicion_bounds(pool.config, pool.members)
    accusers = min(1 + wanted, others)
    probes = rng.random(others) * round_length
    first = np.argpartition(probes, accusers - 1)[:accusers]
    first = first[np.argsort(probes[first])]
    verdicts = probes[first] + _time_to_fail(pool, rng, accusers, refused=refused)
    heard = np.full((accusers, pool.members), inf)
    packets = 0
    for number, (accuser, at) in enumerate(zip(first, verdicts, strict=True)):
        tell(f"suspicion {number + 1} of {accusers}")
        sources = np.full(pool.members, inf)
        sources[accuser] = at
        suspicion = spread(pool, sources, rng)
        packets += suspicion.packets
        heard[number] = suspicion.known_at
    heard.sort(axis=0)
    tell("death")
    timeouts = _timeouts(pool, heard)
    timeouts[others] = inf  # the dead one itself, which is the last row
    death = spread(pool, timeouts, rng)
    return Detection(float(verdicts.min()), death.known_at[:others], packets + death.packets)


def _time_to_fail(pool: Pool, rng: np.random.Generator, probes: int, *, refused: bool) -> Floats:
    """How long probes of a dead member take until they are given up."""
    config = pool.config
    whole = np.full(probes, config.probe_interval)
    if not (refused and config.tcp_ping):
        return whole
    segments = pool.latency * (0.5 + rng.random((probes, 2)))
    segments[rng.random((probes, 2)) < pool.loss] += RETRANSMIT_TIMEOUT
    refusal = config.probe_timeout + segments.sum(axis=1)
    taken: Floats = np.minimum(refusal + config.probe_timeout * REFUSED_SHARE, whole)
    return taken


def _timeouts(pool: Pool, heard: Floats) -> Floats:
    """When each view's suspicion ends, from when it heard of each accuser, in order."""
    wanted, shortest, longest = suspicion_bounds(pool.config, pool.members)
    suspicion = Suspicion("", wanted, shortest, longest, 0.0)
    begun = heard[0]
    ends: Floats = begun + suspicion.deadline
    for number, confirmed in enumerate(heard[1:], 1):
        suspicion.confirm(str(number))
        # One that comes late ends it, after a last warning to the suspect.
        sooner = np.maximum(begun + suspicion.deadline, confirmed)
        late = sooner > begun + suspicion.deadline
        sooner[late] += pool.config.probe_timeout
        ends = np.where(confirmed < ends, np.minimum(ends, sooner), ends)
    return ends


def probe_failure(pool: Pool) -> float:
    """The probability that a probe of a living member fails, because all its ways lose packets."""
    config = pool.config
    udp = theory.probe_failure(pool.loss, config.indirect_checks)
    return udp * (_tcp_too_late(pool) if config.tcp_ping else 1.0)


def _tcp_too_late(pool: Pool) -> float:
    """The probability that lost segments delay a TCP ping beyond the rest of the probe interval."""
    loss = pool.loss
    patience = pool.config.probe_interval - pool.config.probe_timeout
    patience -= TCP_SEGMENTS * pool.latency
    # A segment that is lost k times in a row comes 0.2 + 0.4 + ... seconds later; the k-th loss has
    # probability loss**k given the one before, as the simulated network draws it.
    chances = {0.0: 1.0}
    for _ in range(TCP_SEGMENTS):
        after: dict[float, float] = {}
        for delay, chance in chances.items():
            waited = 0.0
            for losses in range(5):
                exactly = loss**losses * (1 - loss if losses < 4 else 1.0)
                late = round(delay + waited, 6)
                after[late] = after.get(late, 0.0) + chance * exactly
                waited += RETRANSMIT_TIMEOUT * 2**losses
        chances = after
    return sum(chance for delay, chance in chances.items() if delay > patience)
