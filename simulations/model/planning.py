"""What the model says about one size of pool: figures for people who plan a pool of that size."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from simulations.model.agreement import event
from simulations.model.detection import detect, probe_failure
from simulations.model.spread import quantile, spread
from simulations.scenario import Curve, Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulations.model.spread import Floats, Pool

__all__ = ["OURS", "TICKS", "plan", "plots"]

OURS, TICKS = "at once", "at memberlist's ticks"
"""The two ways news leaves: `Config.eager`, and as memberlist does it."""
SHARES = {
    "1 %": 0.01,
    "10 %": 0.1,
    "50 %": 0.5,
    "90 %": 0.9,
    "99 %": 0.99,
    "99.99 %": 0.9999,
    "all": 1.0,
}
"""The shares of the members whose times are told."""


def plan(
    pool: Pool, seeds: Sequence[int], *, tell: Callable[[str], object] = lambda _step: None
) -> dict[str, dict[str, float]]:
    """Run every experiment with every seed, once by our rules and once by memberlist's.

    Args:
        pool: its `Config.eager` does not matter.
        seeds: the figures are means over these.
        tell: hears what is going on.

    Returns:
        For each of `OURS` and `TICKS` the figures by their names, times in seconds.
    """
    figures: dict[str, dict[str, float]] = {}
    for rules in (OURS, TICKS):
        ruled = replace(pool, config=pool.config.replace(eager=rules == OURS))
        runs = [_one(ruled, rules, seed, tell) for seed in seeds]
        figures[rules] = {name: fmean(run[name] for run in runs) for name in runs[0]}
    return figures


def _one(pool: Pool, rules: str, seed: int, tell: Callable[[str], object]) -> dict[str, float]:
    members = pool.members

    def known(count: int) -> None:
        tell(f"{rules}, seed {seed}: the event is known to {count:,} of {members:,}")

    def step(text: str) -> None:
        tell(f"{rules}, seed {seed}: one died, {text}")

    fired = spread(
        pool, event(pool), np.random.default_rng((seed, 1)), to_the_last_copy=True, tell=known
    )
    # The same dice for both rules: the first probe of the dead one is a matter of luck.
    death = detect(pool, np.random.default_rng((seed, 2)), refused=rules == OURS, tell=step)
    failing = probe_failure(pool)
    probes_per_second = members / pool.config.probe_interval
    return {
        **_shares("event known to", fired.known_at),
        "event not told, members": float(np.isinf(fired.known_at).sum()),
        "event, packets per member": fired.packets / members,
        "event, copies per member": fired.copies / members,
        "death first suspected after, s": death.suspected_at,
        **_shares("death known to", death.failed_at),
        "death, packets per member until all knew": death.packets / members,
        "living members suspected in the pool, per hour": 3600 * failing * probes_per_second,
    }


def _shares(what: str, times: Floats) -> dict[str, float]:
    return {f"{what} {name} after, s": quantile(times, share) for name, share in SHARES.items()}


def plots(pool: Pool, figures: dict[str, dict[str, float]]) -> list[Lines]:
    """The times of a plan as curves: how long it takes until a share of the members knows."""
    size = f"{pool.members:,} members, {pool.loss:.1%} loss"
    return [
        Lines(
            what, f"{title} becomes known: {size}",
            "share of the members (%)", "time until they know (s)",
            [
                Curve(f"news leaves {rules}", [
                    (100 * share, figures[rules][f"{what} known to {name} after, s"])
                    for name, share in SHARES.items()
                ])
                for rules in figures
            ],
            log_y=True,
        )
        for what, title in (("event", "An event"), ("death", "A death"))
    ]  # fmt: skip
