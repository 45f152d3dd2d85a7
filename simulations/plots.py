"""Draws plots of findings as PNG files: the only file that knows matplotlib, which is the extra ``sim``.

Figures are made without pyplot, so nothing global holds them and no window can open.
"""

from __future__ import annotations

from importlib.util import find_spec
from math import inf, isnan
from typing import TYPE_CHECKING, Any

from simulations.scenario import Bars, Lines

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["available", "draw", "figure_of"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
MARKS = "osD^vPX*"
SIZE = (8.0, 4.8)
DPI = 110
NARROW = 100.0
"""Ends of a logarithmic axis are close if their ratio is smaller."""
FEWEST = 0.7
"""Where a bar of a logarithmic axis begins, so that one of height 1 is seen."""


def available() -> bool:
    """Whether plots can be drawn here."""
    return find_spec("matplotlib") is not None


def draw(plot: Lines | Bars, path: Path) -> None:
    """Write one plot.

    Raises:
        ImportError: the extra ``sim`` is not installed.
        OSError: the file cannot be written.
    """
    figure_of(plot).savefig(path, metadata={"Software": None})


def figure_of(plot: Lines | Bars) -> Figure:
    """One plot; raises ImportError where the extra ``sim`` is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if isinstance(plot, Lines):
        _lines(axes, plot)
    else:
        _bars(axes, plot)
    axes.set_title(plot.title, loc="left", fontweight="bold")
    axes.set_ylabel(plot.y)
    axes.grid(visible=True, axis="both" if isinstance(plot, Lines) else "y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False, loc="best")
    return figure


def _lines(axes: Any, plot: Lines) -> None:
    for number, curve in enumerate(plot.curves):
        if all(isnan(value) for _, value in curve.points):
            continue  # nothing to see, and nothing to name
        x, y = [at for at, _ in curve.points], [value for _, value in curve.points]
        colour = COLOURS[number % len(COLOURS)]
        if curve.theory:
            mark = "_" if len(set(curve.points)) == 1 else ""
            axes.plot(
                x, y, f"{mark}--", color=colour, linewidth=1.4, markersize=24, label=curve.label
            )
        else:
            mark = MARKS[number % len(MARKS)] if curve.marks else ""
            axes.plot(x, y, f"{mark}-", color=colour, markersize=5, label=curve.label)
    ticks = sorted({x for curve in plot.curves if not curve.theory for x, _ in curve.points})
    if plot.log_x and ticks and ticks[0] > 0:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.minorticks_off()
    if plot.log_y and any(0 < y < inf for curve in plot.curves for _, y in curve.points):
        axes.set_yscale("log", nonpositive="mask")
        low, high = axes.get_ylim()
        few = high / low < NARROW  # powers of ten, then, so that those between need labels too
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.yaxis.set_minor_formatter(
            lambda value, _: f"{value:,g}" if few and f"{value:e}"[0] in "25" else ""
        )
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(steps=[1, 2, 5, 10], integer=_counts(plot))
    axes.set_xlabel(plot.x)


def _counts(plot: Lines) -> bool:
    """Whether the plot is of whole numbers, large enough to have ticks at some only."""
    values = [value for curve in plot.curves for _, value in curve.points]
    return max(values, default=0) >= 5 and all(float(value).is_integer() for value in values)


def _bars(axes: Any, plot: Bars) -> None:
    width = 0.8 / max(len(plot.series), 1)
    for number, (label, values) in enumerate(plot.series.items()):
        left = [group - 0.4 + (number + 0.5) * width for group in range(len(plot.groups))]
        heights = [value - FEWEST if plot.log_y and value else value for value in values]
        bottom = FEWEST if plot.log_y else 0.0
        bars = axes.bar(
            left, heights, width * 0.92, bottom=bottom, label=label,
            color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], fontsize="x-small", padding=1)
    if plot.log_y and plot.series:
        axes.set_yscale("log")
        axes.set_ylim(bottom=FEWEST)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xticks(range(len(plot.groups)), plot.groups, fontsize="small")
