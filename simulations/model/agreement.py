"""Do the model and the exact simulator agree? Both are run where both can, with many seeds each."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf, sqrt
from statistics import median
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
"""So many standard errors may lie between the two medians..."""
SLACK = 0.05
"""...and this part of the exact one, for what the model leaves out..."""
MOST = 0.4
"""...but together never more than this part, however few seeds there were."""
MEDIAN_ERROR = 1.2533
"""The standard error of a median is so many times that of a mean."""
MAD_TO_DEVIATION = 1.4826
"""A normal law's standard deviation is so many times its median deviation."""
MODEL_SEEDS = 4
"""The model runs so many seeds for each of the simulator's. Pools of another size get other ones: chance
that all sizes have in common, such as the phase of the first tick, would look like a bias."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One time as both give it, seconds: medians over the seeds, and how they scatter.

    Medians, because a pool in thirty has a member that all first copies miss, and that waits for a tick.

    Attributes:
        what: the experiment.
        members: of the pool.
        share: of the members, who knew by then.
        exact, exact_deviation: the simulator's, the second as a standard deviation.
        model, model_deviation: the model's.
        allowed: how far the medians may lie apart.
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
        if isinf(self.exact) or isinf(self.model):  # somebody was not told
            return self.model == self.exact
        return abs(self.model - self.exact) <= self.allowed


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
        middles = median(true), median(modelled)
        deviations = _deviation(true), _deviation(modelled)
        # Both follow one law if the model is right, and few seeds may look alike by chance.
        error = MEDIAN_ERROR * max(deviations) * sqrt(1 / len(true) + 1 / len(modelled))
        allowed = min(ERRORS * error + SLACK * middles[0], MOST * middles[0])
        rows.append(
            Agreement(
                what, members, share, middles[0], deviations[0], middles[1], deviations[1], allowed
            )
        )
    return rows


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of what most of the values are, by their median deviation."""
    middle = median(values)
    if isinf(middle):
        return 0.0
    return MAD_TO_DEVIATION * median([abs(value - middle) for value in values])


def event(pool: Pool) -> Floats:
    """The times at which members learn of an event by themselves: one fires it at 0."""
    sources = np.full(pool.members, inf)
    sources[0] = 0.0
    return sources


def compare_spread(
    what: str, pool: Pool, seeds: int, *, tell: Callable[[str], object] = lambda _step: None
) -> list[Agreement]:
    """One event, fired in so many simulated pools.

    Times count from the arrival of the first copy: how long the one who fires waits for its tick is luck
    that all members share, and would hide what is compared.
    """
    exact = []
    for seed in range(seeds):
        tell(f"{what}, {pool.members} members, seed {seed + 1} of {seeds}")
        exact.append(_since_first_copy(exact_spread(pool, pool.members + seed)))
    model = [
        _since_first_copy(
            spread(pool, event(pool), np.random.default_rng((pool.members, seed))).known_at
        )
        for seed in range(seeds * MODEL_SEEDS)
    ]
    return compare(what, pool.members, exact, model)


def _since_first_copy(times: Floats) -> Floats:
    """Seconds since the second one knew, the first being the one who fired."""
    since: Floats = times - np.partition(times, 1)[1]
    return since


def compare_detection(
    what: str, pool: Pool, seeds: int, *, tell: Callable[[str], object] = lambda _step: None
) -> list[Agreement]:
    """One process killed, in so many simulated pools."""
    exact = []
    for seed in range(seeds):
        tell(f"{what}, {pool.members} members, seed {seed + 1} of {seeds}")
        exact.append(exact_detection(pool, pool.members + seed))
    model = [
        detect(pool, np.random.default_rng((pool.members, seed))).failed_at
        for seed in range(seeds * MODEL_SEEDS)
    ]
    return compare(what, pool.members, exact, model)
