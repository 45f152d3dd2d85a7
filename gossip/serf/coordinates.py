"""Network coordinates: the round trip between any two members, estimated from the probes of each.

Every node keeps a point in a space of eight dimensions, and moves it a little with each probe, away
from the probed member when the answer took longer than the points say, else towards it. Vivaldi (Dabek
et al., 2004) has the idea; the height is the way from a node to the network, the adjustment term is
that of Lee et al., 2010, the latency filter and gravity, which holds the whole in place, those of
Ledlie et al., 2007. The numbers are Serf's, so that our points fit into the space of genuine agents.

Unlike Serf, a coordinate that no working node can have is refused: one absurd answer would throw us far
off, and whoever measures against us after that.
"""

from __future__ import annotations

from math import dist, inf, isfinite
from typing import TYPE_CHECKING, Final

from gossip.wire.coordinate import Coordinate

if TYPE_CHECKING:
    from random import Random

__all__ = ["ORIGIN", "RTT_MAX", "Coordinate", "CoordinateClient", "distance", "is_usable"]

DIMENSIONS: Final = 8
RTT_MAX: Final = 10.0
"""Longest round trip that is believed, seconds."""
FAR: Final = 100.0
"""How far from the origin, how high and how much adjusted a coordinate is believed to be, seconds: ten
times the longest round trip."""
RECENT: Final = 3
"""Round trips kept per member; their median counts."""

_ERROR_MAX: Final = 1.5
_HEIGHT_MIN: Final = 1e-5
_ZERO: Final = 1e-6
_CE: Final = 0.25  # how much one answer changes the error
_CC: Final = 0.25  # how much one answer moves us
_WINDOW: Final = 20  # answers that the adjustment is taken from
_RHO: Final = 150.0  # the weaker gravity, the larger

ORIGIN: Final = Coordinate((0.0,) * DIMENSIONS, _ERROR_MAX, 0.0, _HEIGHT_MIN)
"""Where everybody begins."""


def distance(a: Coordinate, b: Coordinate) -> float:
    """The estimated round trip between two nodes, seconds, in whole nanoseconds; never a NaN.

    Raises:
        ValueError: the coordinates have different dimensions.
    """
    return _round_trip(dist(a.vec, b.vec), a, b)


def _round_trip(apart: float, a: Coordinate, b: Coordinate) -> float:
    raw = apart + a.height + b.height
    adjusted = raw + a.adjustment + b.adjustment
    nanoseconds = (adjusted if adjusted > 0 else raw) * 1e9
    return int(nanoseconds) / 1e9 if isfinite(nanoseconds) else inf


def is_usable(coordinate: Coordinate) -> bool:
    """Whether a working node can have this coordinate; what is not finite fails the comparisons."""
    return (
        len(coordinate.vec) == DIMENSIONS
        and dist(coordinate.vec, ORIGIN.vec) <= FAR
        and -FAR <= coordinate.adjustment <= FAR
        and 0 <= coordinate.error <= FAR
        and 0 <= coordinate.height <= FAR
    )


class CoordinateClient:
    """Keeps our own coordinate, fed by the answers to our probes.

    Args:
        rng: gives the direction in which two nodes at the same point part.

    Attributes:
        own: our coordinate; always usable.
        resets: how often it had become unusable and we began anew.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._samples = [0.0] * _WINDOW
        self._next_sample = 0
        self.own = ORIGIN
        self.resets = 0

    def update(self, other: Coordinate, rtt: float, recent: list[float]) -> bool:
        """A member answered a probe.

        Args:
            other: its coordinate.
            rtt: how long the answer took, seconds.
            recent: its latest round trips, at first empty; kept by the caller, changed here.

        Returns:
            False when coordinate or round trip cannot be true; then nothing was changed.
        """
        if not (0 <= rtt <= RTT_MAX and is_usable(other)):
            return False
        recent.append(rtt)
        del recent[:-RECENT]
        usual = sorted(recent)[len(recent) // 2]
        moved = self._moved(other, usual)
        out = dist(moved.vec, ORIGIN.vec)
        pull = _round_trip(out, ORIGIN, moved) / _RHO
        vec, height = self._pushed(moved, ORIGIN, out, -pull * pull)
        own = Coordinate(vec, moved.error, moved.adjustment, height)
        if is_usable(own):
            self.own = own
        else:
            self.own = ORIGIN
            self.resets += 1
        return True

    def _moved(self, other: Coordinate, rtt: float) -> Coordinate:
        """Vivaldi itself: the less we trust ourselves beside the other, the further we move."""
        own = self.own
        apart = dist(own.vec, other.vec)
        expected, taken = _round_trip(apart, own, other), max(rtt, _ZERO)
        wrong = abs(expected - taken) / taken
        weight = own.error / max(own.error + other.error, _ZERO)
        error = min(_CE * weight * wrong + own.error * (1 - _CE * weight), _ERROR_MAX)
        force = _CC * weight * (taken - expected)
        vec, height = self._pushed(own, other, apart, force)
        # What points still fail to explain, half of it for each side, on average over the window.
        self._samples[self._next_sample] = rtt - (dist(vec, other.vec) + height + other.height)
        self._next_sample = (self._next_sample + 1) % _WINDOW
        return Coordinate(vec, error, sum(self._samples) / (2 * _WINDOW), height)

    def _pushed(
        self, one: Coordinate, other: Coordinate, apart: float, force: float
    ) -> tuple[tuple[float, ...], float]:
        """Move one away from the other by `force` seconds; towards it when that is negative.

        `apart` is how far their points are from each other.
        """
        vec, height = one.vec, one.height
        if apart > _ZERO:
            share = force / apart
            height = max((height + other.height) * share + height, _HEIGHT_MIN)
            pairs = zip(vec, other.vec, strict=True)
            return tuple([mine + (mine - theirs) * share for mine, theirs in pairs]), height
        direction = self._random_direction()
        return tuple([a + part * force for a, part in zip(vec, direction, strict=True)]), height

    def _random_direction(self) -> list[float]:
        while True:
            direction = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
            length = dist(direction, ORIGIN.vec)
            if length > _ZERO:
                return [number / length for number in direction]
