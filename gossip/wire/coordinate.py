"""The value of a network coordinate, apart from its encoding: who only computes needs no msgpack."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Coordinate"]


class Coordinate(NamedTuple):
    """Where a node is in Vivaldi's space; seconds, but for `error`.

    The round trip between two nodes is about the distance of their `vec`, plus both heights (the way
    from the node to the network) and both adjustments, see `gossip.serf.coordinates.distance`.
    """

    vec: tuple[float, ...]
    error: float
    """How little the node trusts its coordinate: 1.5 at first, near 0 once it is settled."""
    adjustment: float
    height: float
