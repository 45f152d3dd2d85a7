"""The hunt for a planted bug: experiments with it, until its checker speaks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulations.campaign import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulations.plan import Plan

__all__ = ["MAX_SEEDS", "Planted", "hunt", "planted"]

MAX_SEEDS = 200


@dataclass(frozen=True)
class Planted:
    """One bug, and where it has to show.

    Attributes:
        name: what is wrong.
        caught_by: the invariant whose checker has to see it, whatever else breaks.
        plant: replaces pieces of the core until the stack is closed.
        plan: faults under which it shows.
        run: runs another experiment than the plan, and gives the violations.
    """

    name: str
    caught_by: str
    plant: Callable[[ExitStack], None]
    plan: Plan
    run: Callable[[int], list[str]] | None = None


def hunt(bug: Planted, *, seeds: int = MAX_SEEDS) -> tuple[int, str]:
    """Look for a bug with one seed after another.

    Returns:
        How many seeds it took and the violation; (0, "") when none of them shows it.
    """
    for seed in range(1, seeds + 1):
        with planted(bug):
            if bug.run is not None:
                violations = bug.run(seed)
            else:
                violations = run_plan(bug.plan, seed).violations
        for violation in violations:
            if violation.split()[0] == bug.caught_by:
                return seed, violation
    return 0, ""


@contextmanager
def planted(bug: Planted) -> Iterator[None]:
    """The bug is there inside."""
    with ExitStack() as stack:
        bug.plant(stack)
        yield
