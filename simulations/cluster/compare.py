"""The simulator against reality: one plan both ways, the same figures of both, and why they differ."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulations.cluster.experiment import ONE_WAY, run_processes
from simulations.cluster.record import figures
from simulations.cluster.virtual import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulations.cluster.experiment import Row
    from simulations.cluster.record import Record
    from simulations.plan import Plan

__all__ = ["COMPARED", "TOLERANCE", "WITHIN", "Comparison", "compare_with_virtual"]

TOLERANCE = 0.15
"""By what part of the real figure the simulator's may differ."""
WITHIN = f"{100 * TOLERANCE:g} %"
"""The same for people."""
COMPARED: Final = (
    "event at a node, s", "event at all, s", "kill noticed first, s", "kill noticed by a node, s",
    "kill noticed by all, s",
)  # fmt: skip
"""The figures that have to be close; the others are shown."""
IDLE = 15.0
"""Seconds before the plan in which probes measure the way from one process to another."""


@dataclass(frozen=True)
class Comparison:
    """One run of processes and some in virtual time.

    Attributes:
        plan: what both did.
        real: the run of processes.
        virtual: those of the simulator with the seeds 1, 2, ..., which assumed the way between processes
            that was measured.
    """

    plan: Plan
    real: Record
    virtual: Sequence[Record]

    def rows(self) -> list[tuple[str, float | None, float | None, float | None]]:
        """For each figure the real one, the simulator's, and by what part that differs where compared."""
        real, virtual = figures([self.real]), figures(self.virtual)
        return [
            (
                name,
                found,
                virtual[name],
                _difference(found, virtual[name]) if name in COMPARED else None,
            )
            for name, found in real.items()
        ]

    def far(self) -> list[str]:
        """The compared figures that differ by more than `TOLERANCE`, or that only one side has."""
        return [
            name
            for name, real, virtual, difference in self.rows()
            if name in COMPARED
            and (real != virtual if difference is None else abs(difference) > TOLERANCE)
        ]

    @property
    def problems(self) -> list[str]:
        """What went wrong in any of the runs, and in which."""
        found = [f"processes: {problem}" for problem in self.real.problems]
        for seed, record in enumerate(self.virtual, 1):
            found += [f"simulator, seed {seed}: {problem}" for problem in record.problems]
        return found

    def reasons(self) -> list[str]:
        """What is in the real figures and not in the simulator's, with what was measured of it."""
        cores, load = os.cpu_count() or 1, os.getloadavg()[0]
        api, way = 1000 * self.real.overhead(), 1000 * self.real.facts.get(ONE_WAY, 0.0)
        found = []
        if self.real.events:
            found.append(
                f"The HTTP API: the node that fires an event shows it itself after {api:.1f} ms, which is "
                "in every real time of an event."
            )
        found.append(
            f"Processes that wait for a core: {self.plan.nodes} agents and what watches them share {cores} "
            f"cores with whatever else runs, at a load of {load:.1f} in the end. Probes, one at a time, "
            f"found {way:.2f} ms from one process to another, which the simulator was given; news wakes "
            "all of them at once and takes longer."
        )
        if any(step.do in {"restart", "join"} for step in self.plan.steps):
            found.append(
                "The start of a process: views are right again when it has started and joined; a "
                "simulated node starts in no time."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "plan": self.plan.to_dict(),
            "figures": [
                {"figure": name, "processes": real, "simulator": virtual, "difference": difference}
                for name, real, virtual, difference in self.rows()
            ],
            "tolerance": TOLERANCE,
            "far": self.far(),
            "problems": self.problems,
            "reasons": self.reasons(),
            "processes": self.real.to_dict(),
            "seeds": len(self.virtual),
        }


def _difference(real: float | None, virtual: float | None) -> float | None:
    return None if not real or virtual is None else (virtual - real) / real


def compare_with_virtual(
    plan: Plan,
    seeds: int,
    tell: Callable[[Row], None],
    say: Callable[[str], None],
    done: Callable[[int], None],
) -> Comparison:
    """Run a plan on processes, then as often as wanted in virtual time.

    Args:
        plan: what to do.
        seeds: runs in virtual time.
        tell: see `run_processes`, whose errors this raises too.
        say: gets a line when that is over, and virtual time begins.
        done: hears how many runs in virtual time have ended.

    Raises:
        NotReachedError: simulated nodes do not find together.
    """
    real = run_processes(plan, tell, idle=IDLE)
    say(f"{plan.name}: now {seeds} times in virtual time")
    way = real.facts[ONE_WAY]
    virtual = []
    for seed in range(1, seeds + 1):
        virtual.append(run_virtual(plan, seed, one_way=way))
        done(len(virtual))
    return Comparison(plan, real, virtual)
