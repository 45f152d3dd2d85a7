"""What a figure is: named quantities, and for each what we aim at beside a genuine peer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulations.bench.lab import Lab

__all__ = ["Figure", "Goal", "Group", "Quantity", "Samples", "Verdict"]

Samples = dict[str, list[float]]
"""Measured values by quantity; infinity where a bound passed first, nothing where it cannot be told."""


class Verdict(Enum):
    """How a measured value stands to its goal."""

    MET = "met"
    LEAST = "at least"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on our value, or on its ratio to a peer's in the same run."""

    value: float
    least: float | None = None
    """A weaker bound that must hold in any case."""
    above: bool = False
    """Whether more is better: the bound is then a lower one."""
    against: str | None = "serf"
    """The peer that the ratio is taken to; None bounds the value itself."""

    def judge(self, value: float) -> Verdict:
        """Compare a value or ratio with the bounds."""
        if self._holds(value, self.value):
            return Verdict.MET
        if self.least is not None and self._holds(value, self.least):
            return Verdict.LEAST
        return Verdict.MISSED

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.above else value <= bound

    def __str__(self) -> str:
        sign = ">=" if self.above else "<="
        text = f"{sign} {self.value:g}" + (f" x {self.against}" if self.against else "")
        return text + (f" (at least {self.least:g})" if self.least is not None else "")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One line of the report."""

    key: str
    label: str
    unit: str
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Quantities that are measured together, under one heading of the report."""

    name: str
    about: str
    quantities: tuple[Quantity, ...]


@dataclass(frozen=True, slots=True)
class Figure(Group):
    """A measurement on pools of one system."""

    measure: Callable[[Lab, str], Awaitable[Samples]]
