"""How long things may take after faults have ended, derived from the configuration.

These are bounds that a correct pool keeps with overwhelming probability, not the times it usually
needs; a run reports the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import TYPE_CHECKING

from gossip.swim.push_pull import push_pull_scale
from gossip.swim.suspicion import suspicion_bounds

if TYPE_CHECKING:
    from gossip.config import Config

__all__ = ["Bounds"]

PROBE_ROUNDS = 12
"""Nobody of N members probes a given one in k periods with probability e^-k."""
DOUBTS = 2
"""A pool that comes out of a crisis doubts itself: probes take up to so many times longer."""


@dataclass(frozen=True)
class Bounds:
    """Deadlines of the calm phase, seconds."""

    spread: float
    """L4, L5, L9: a piece of news reaches everybody."""
    detect: float
    """L1: a dead member is failed everywhere."""
    converge: float
    """L2, L3, L8: everybody alive is alive to all, and all views agree."""
    drain: float
    """L7: no broadcast is queued any more."""
    reap: float
    """L6: who is gone is forgotten."""

    @classmethod
    def of(cls, config: Config, nodes: int) -> Bounds:
        """The bounds of a pool of so many nodes."""
        _, _, longest = suspicion_bounds(config, nodes)
        rounds = config.gossip_interval * 4 * ceil(log2(nodes + 1))
        exchange = config.push_pull_interval * push_pull_scale(nodes)
        spread = 1.0 + rounds
        probe = config.probe_interval * DOUBTS
        detect = min(nodes, PROBE_ROUNDS) * probe + probe + longest + spread
        mend = 4 * config.reconnect_interval + 2 * exchange + config.tcp_timeout
        gone = max(config.reconnect_timeout, config.tombstone_timeout)
        return cls(
            spread=spread + 2 * exchange,  # what gossip misses, an exchange brings
            detect=detect,
            converge=detect + mend + config.dead_node_reclaim_time,
            drain=10 * spread,
            reap=gone + 2 * config.reap_interval + exchange,
        )
