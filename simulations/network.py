"""The network of a simulated world: how long packets take, and which of them arrive.

All dice of a packet are drawn before any fault is looked at. So turning one fault on or off, or
changing its rate, leaves the fate of every other packet as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Sequence
    from random import Random

    from simulations.host import Host

__all__ = ["Network", "Weather"]

RETRANSMIT_TIMEOUT = 0.2
"""How long TCP waits before it sends a lost segment again, seconds; doubled at each further loss."""
CHUNK_SIZES = (512, 1460, 4096, 16384)
"""How many bytes one read may give; a stream arrives in pieces of these sizes."""


@dataclass(slots=True)
class Weather:
    """How the whole network is at present. Times are seconds, the rest are probabilities."""

    latency: float = 0.0005
    """One way, on average; each packet takes half of it to one and a half times it."""
    jitter: float = 0.0
    """Mean of what is added on top, exponentially distributed: long tails, and so reordering."""
    loss: float = 0.0
    """Packets that do not arrive. On streams a lost segment comes later."""
    duplicate: float = 0.0
    """Packets that arrive twice."""
    reorder: float = 0.0
    """Packets that are held back behind later ones."""
    reorder_delay: float = 0.05
    """For how long those are held back at most."""


class Network:
    """Decides when packets and segments arrive, if they do.

    Args:
        rng: the dice.
        weather: the faults that concern everybody.
        covered: counts the faults that really happened.
    """

    def __init__(self, rng: Random, weather: Weather, covered: Counter[str]) -> None:
        self.weather = weather
        self.in_pieces = True
        """Streams arrive in pieces; False hands over all that was written at once."""
        self.distance: Callable[[Host, Host], float] | None = None
        """Adds seconds one way between hosts of different places; None for one place."""
        self._rng = rng
        self._covered = covered
        self._cuts: dict[str, Callable[[Host, Host], bool]] = {}
        self._udp_cuts: dict[str, Callable[[Host, Host], bool]] = {}

    # Cuts

    def cut(self, key: str, cuts: Callable[[Host, Host], bool], *, udp_only: bool = False) -> None:
        """Let nothing pass from the first host to the second where `cuts` says so.

        Args:
            key: names the cut for `mend`; a cut of the same name is replaced.
            cuts: tells whether nothing from the one reaches the other.
            udp_only: streams pass.
        """
        (self._udp_cuts if udp_only else self._cuts)[key] = cuts

    def partition(self, key: str, groups: Sequence[Collection[str]]) -> None:
        """Cut groups of names from each other; whoever is in no group forms the last one."""
        side = {name: number for number, group in enumerate(groups) for name in sorted(group)}
        rest = len(groups)
        self.cut(key, lambda a, b: side.get(a.name, rest) != side.get(b.name, rest))

    def mend(self, key: str | None = None) -> None:
        """Take back one cut, or all."""
        for cuts in (self._cuts, self._udp_cuts):
            if key is None:
                cuts.clear()
            else:
                cuts.pop(key, None)

    def reaches(self, source: Host, target: Host) -> bool:
        """Whether streams pass in this direction."""
        return not any(cuts(source, target) for cuts in self._cuts.values())

    # Packets

    def arrivals(self, source: Host, target: Host) -> Sequence[float]:
        """After how many seconds a packet arrives: once, not at all, or twice."""
        dice = self._rng.random
        spread, tail, lost, twice, late, held = dice(), dice(), dice(), dice(), dice(), dice()
        weather = self.weather
        if (self._cuts or self._udp_cuts) and self._is_cut(source, target):
            self._covered["packets_cut"] += 1
            return ()
        loss = weather.loss
        if source.loss_out or target.loss_in:
            loss = 1 - (1 - loss) * (1 - source.loss_out) * (1 - target.loss_in)
        if lost < loss:
            self._covered["packets_lost"] += 1
            return ()
        delay = weather.latency * (0.5 + spread) + source.delay + target.delay
        if self.distance is not None:
            delay += self.distance(source, target)
        if weather.jitter:
            delay -= weather.jitter * log(1 - tail)
            self._covered["packets_delayed"] += 1
        if late < weather.reorder:
            delay += weather.reorder_delay * held
            self._covered["packets_reordered"] += 1
        if twice < weather.duplicate:
            self._covered["packets_duplicated"] += 1
            return (delay, delay + weather.latency * (1 + held))
        return (delay,)

    def _is_cut(self, source: Host, target: Host) -> bool:
        return any(
            cuts(source, target)
            for rules in (self._cuts, self._udp_cuts)
            for cuts in rules.values()
        )

    # Streams

    def segment_delay(self, source: Host, target: Host) -> float:
        """How long a segment takes, with the retransmissions that loss costs."""
        dice = self._rng.random
        spread, tail, lost = dice(), dice(), dice()
        weather = self.weather
        delay = weather.latency * (0.5 + spread) + source.delay + target.delay
        delay -= weather.jitter * log(1 - tail)
        if self.distance is not None:
            delay += self.distance(source, target)
        again = 0
        while lost < weather.loss ** (again + 1) and again < 8:
            delay += RETRANSMIT_TIMEOUT * 2**again
            again += 1
        if again:
            self._covered["segments_lost"] += 1
        return delay

    def chunks(self, data: bytes) -> list[bytes]:
        """The pieces in which the other end reads these bytes."""
        if not self.in_pieces:
            return [data]
        size = CHUNK_SIZES[int(self._rng.random() * len(CHUNK_SIZES))]
        if len(data) > size:
            self._covered["streams_in_pieces"] += 1
        return [data[at : at + size] for at in range(0, len(data), size)]
