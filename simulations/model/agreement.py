"""Do the model and the exact simulator agree? Both are run where both can, with many seeds each."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from simulations.model.detection import detect
from simulations.model.exact import exact_detection, exact_spread
from simulations.model.spread import quantile, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulations.model.spread import Floats, Pool

__all__ = ["SHARES", "Agreement", "compare_detection", "compare_spread", "event"]

SHARES = (0.5, 0.99, 1.0)
"""The shares of the members whose times are compared."""
ERRORS = 4.0
"""So many standard errors may lie between the two means..."""
SLACK = 0.05
"""...and this part of the exact one, for what the model leaves out..."""
MOST = 0.4
"""...but together never more than this part, however few seeds there were."""
MODEL_SEEDS = 4
"""The model runs so many seeds for each of the simulator's."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One time as both give it, seconds: means and standard deviations over the seeds.

    Attributes:
        what: the experiment.
        members: of the pool.
        share: of the members, who knew by then.
        exact, exact_deviation: the simulator's.
        model, model_deviation: the model's.
        allowed: how far the means may lie apart.
    """

    what: str
    members: int
    share: float
    exact: float
    exact_deviation: float
    model: float
    model_deviation: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether they are as close as their scatter lets one expect."""
        return self.model == self.exact or abs(self.model - self.exact) <= self.allowed


def compare(
    what: str, members: int, exact: Sequence[Floats], model: Sequence[Floats]
) -> list[Agreement]:
    """Compare the runs of both, one array of times per seed, at each of `SHARES`.

    Raises:
        ValueError: there are fewer than two seeds of one kind, which have no scatter.
    """
    if min(len(exact), len(model)) < 2:
        raise ValueError(f"{len(exact)} and {len(model)} seeds are not at least 2 each")
    rows = []
    for share in SHARES:
        true, modelled = ([quantile(times, share) for times in runs] for runs in (exact, model))
        if inf in true or inf in modelled:  # somebody was not told: there is no mean
            ends = (inf if inf in times else fmean(times) for times in (true, modelled))
            rows.append(Agreement(what, members, share, next(ends), 0.0, next(ends), 0.0, 0.0))
            continue
        deviations = stdev(true), stdev(modelled)
        error = sqrt(deviations[0] ** 2 / len(true) + deviations[1] ** 2 / len(modelled))
        mean = fmean(true)
        allowed = min(ERRORS * error + SLACK * mean, MOST * mean)
        rows.append(
            Agreement(
                what, members, share, mean, deviations[0], fmean(modelled), deviations[1], allowed
            )
        )
    return rows


def event(pool: Pool) -> Floats:
    """The times at which members learn of an event by themselves: one fires it at 0."""
    sources = np.full(pool.members, inf)
    sources[0] = 0.0
    return sources


def compare_spread(
    what: str, pool: Pool, seeds: int, *, tell: Callable[[str], object] = lambda _step: None
) -> list[Agreement]:
    """One event, fired in so many simulated pools."""
    exact = []
    for seed in range(seeds):
        tell(f"{what}, {pool.members} members, seed {seed + 1} of {seeds}")
        exact.append(exact_spread(pool, seed))
    model = [
        spread(pool, event(pool), np.random.default_rng(seed)).known_at
        for seed in range(seeds * MODEL_SEEDS)
    ]
    return compare(what, pool.members, exact, model)


def compare_detection(
    what: str, pool: Pool, seeds: int, *, tell: Callable[[str], object] = lambda _step: None
) -> list[Agreement]:
    """One process killed, in so many simulated pools."""
    exact = []
    for seed in range(seeds):
        tell(f"{what}, {pool.members} members, seed {seed + 1} of {seeds}")
        exact.append(exact_detection(pool, seed))
    model = [
        detect(pool, np.random.default_rng(seed)).failed_at for seed in range(seeds * MODEL_SEEDS)
    ]
    return compare(what, pool.members, exact, model)
