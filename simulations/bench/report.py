"""The table and the JSON of a comparison."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulations.bench.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulations.bench.figure import Group, Quantity, Samples

__all__ = ["Report"]

PEERS = ("serf", "consul")
"""What ratios are taken to; everything else is ours."""


@dataclass
class Report:
    """All samples of a run."""

    systems: list[str]
    about: dict[str, Any]
    groups: Mapping[str, Group] = field(default_factory=lambda: FIGURES)
    """What can be measured, by name, in the order of the report."""
    _samples: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)

    def add(self, figure: str, system: str, samples: Samples) -> None:
        """Put the samples of one measurement to those of earlier rounds."""
        for key, values in samples.items():
            self._samples.setdefault((figure, key, system), []).extend(values)

    def value(self, figure: str, key: str, system: str) -> float | None:
        """The median, None without samples."""
        values = self._samples.get((figure, key, system))
        return statistics.median(values) if values else None

    def ratio(self, figure: str, key: str, system: str, peer: str) -> float | None:
        """Ours over the peer's median, None where one is missing, infinite or zero."""
        ours, theirs = self.value(figure, key, system), self.value(figure, key, peer)
        if ours is None or not theirs or not math.isfinite(theirs):
            return None
        return ours / theirs

    def _measured(self) -> list[tuple[str, Quantity]]:
        return [
            (name, quantity)
            for name, figure in self.groups.items()
            for quantity in figure.quantities
            if any((name, quantity.key, system) in self._samples for system in self.systems)
        ]

    def _verdicts(self, figure: str, quantity: Quantity) -> dict[str, str]:
        goal = quantity.goal
        verdicts = {}
        for system in self.systems:
            if goal is None or system in PEERS:
                continue
            if goal.against:
                measured = self.ratio(figure, quantity.key, system, goal.against)
            else:
                measured = self.value(figure, quantity.key, system)
            if measured is not None:
                verdicts[system] = goal.judge(measured).value
        return verdicts

    def as_json(self) -> dict[str, Any]:
        """Everything, samples included; what was never reached within its bound is null."""

        def finite(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        ours = [system for system in self.systems if system not in PEERS]
        rows = []
        for figure, quantity in self._measured():
            key = quantity.key
            rows.append(
                {
                    "figure": figure,
                    "quantity": key,
                    "label": quantity.label,
                    "unit": quantity.unit,
                    "median": {s: finite(self.value(figure, key, s)) for s in self.systems},
                    "samples": {
                        s: [finite(v) for v in self._samples.get((figure, key, s), [])]
                        for s in self.systems
                    },
                    "ratio": {
                        f"{s}/{peer}": finite(self.ratio(figure, key, s, peer))
                        for s in ours
                        for peer in PEERS
                        if peer in self.systems
                    },
                    "goal": str(quantity.goal) if quantity.goal else None,
                    "verdict": self._verdicts(figure, quantity),
                }
            )
        return {**self.about, "systems": self.systems, "figures": rows}

    def as_table(self) -> str:
        """For people: medians with ranges, ratios to each peer, goals and verdicts."""
        peers = [system for system in self.systems if system in PEERS]
        ours = [system for system in self.systems if system not in PEERS]
        head = ["quantity", "unit", *self.systems]
        head += [f"{system}/{peer}" for system in ours for peer in peers]
        head += ["goal", "verdict"] if ours else []
        rows: list[list[str]] = []
        previous = None
        for figure, quantity in self._measured():
            if figure != previous:
                rows.append([f"{figure}: {self.groups[figure].about}"])
                previous = figure
            row = [f"  {quantity.label}", quantity.unit]
            row += [self._cell(figure, quantity.key, system) for system in self.systems]
            row += [
                number(self.ratio(figure, quantity.key, system, peer))
                for system in ours
                for peer in peers
            ]
            if ours:
                verdicts = self._verdicts(figure, quantity)
                row.append(str(quantity.goal) if quantity.goal else "")
                row.append(", ".join(f"{s} {v}" for s, v in verdicts.items()))
            rows.append(row)
        full = [head, *(row for row in rows if len(row) > 1)]
        widths = [max(len(row[i]) for row in full) for i in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
            for row in [head, *rows]
        )

    def _cell(self, figure: str, key: str, system: str) -> str:
        values = self._samples.get((figure, key, system))
        if not values:
            return "-"
        text = number(statistics.median(values))
        if len(values) > 1 and min(values) != max(values):
            text += f" ({number(min(values))}..{number(max(values))})"
        return text


def number(value: float | None) -> str:
    """Three significant digits; ``-`` for none, ``never`` for infinite."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
