"""Every figure that can be measured, in the order of the report."""

from simulations.bench.figure import Figure
from simulations.bench.figures import (
    burst,
    detect,
    event,
    idle,
    join,
    leave,
    mixed,
    pause,
    rate,
    start,
)

__all__ = ["FIGURES"]

FIGURES: dict[str, Figure] = {
    module.FIGURE.name: module.FIGURE
    for module in (start, idle, join, event, rate, burst, leave, detect, pause, mixed)
}
