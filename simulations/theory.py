"""What papers and arithmetic say about the protocol, to be drawn beside what is measured.

References: SWIM (Das, Gupta, Motivala; DSN 2002), Pittel, "On spreading a rumor" (SIAM J. Appl. Math. 47,
1987), memberlist's formulas where they are its own. Times are in the caller's unit, mostly periods.
"""

from __future__ import annotations

from math import ceil, e, log, log2

__all__ = [
    "FIRST_DETECTION_PERIODS", "earliest_of", "first_ping_periods", "probe_failure", "push_pull_bytes",
    "rumor_rounds",
]  # fmt: skip

FIRST_DETECTION_PERIODS = e / (e - 1)
"""SWIM, section 3.1: expected periods until some member first pings one that has crashed."""


def first_ping_periods(nodes: int) -> float:
    """The same for a pool of so many nodes, all of which choose at random once in each period."""
    others = nodes - 1
    return 1 / (1 - (1 - 1 / others) ** others) if others > 1 else 1.0


def rumor_rounds(nodes: int, fanout: int) -> float:
    """Rounds until everybody knows, when each who knows tells `fanout` others per round.

    Growth by a factor of fanout + 1 while few know, then the last who are missed by chance
    (Pittel's log2 n + ln n for a fanout of one).
    """
    return log(nodes) / log(fanout + 1) + log(nodes) / fanout


def probe_failure(loss: float, helpers: int, *, tcp: bool = False) -> float:
    """Chance that a probe of a healthy member ends in suspicion, when packets are lost independently.

    A direct probe needs two packets to pass, one through a helper four.

    Args:
        loss: chance of one packet.
        helpers: members asked to ping on our behalf.
        tcp: the ping over TCP passes always, as retransmissions make up for loss.
    """
    passes = 1 - loss
    return 0.0 if tcp else (1 - passes**2) * (1 - passes**4) ** helpers


def earliest_of(many: int, interval: float) -> float:
    """Expected wait for the first of many timers with one interval and independent phases."""
    return interval / (many + 1)


def push_pull_bytes(nodes: int, state_bytes: float, interval: float) -> float:
    """Bytes per second that full state exchanges cost one member.

    Each member begins one per interval, and sends its whole state in it; as many reach it, and it
    answers with the same. Above 32 members memberlist stretches the interval.

    Args:
        nodes: in the pool.
        state_bytes: of one member in a full state.
        interval: seconds, unstretched.
    """
    stretch = ceil(log2(nodes) - log2(32)) + 1 if nodes > 32 else 1
    return 2 * nodes * state_bytes / (interval * stretch)
