"""Every scenario; each file is one experiment and reads like it."""

from simulations.scenarios import (
    detection,
    joins,
    lifeguard,
    load,
    partition,
    rolling,
    spread,
    storm,
    wan,
)

__all__ = ["SCENARIOS"]

SCENARIOS = {
    module.SCENARIO.name: module.SCENARIO
    for module in (spread, joins, detection, lifeguard, load, partition, storm, rolling, wan)
}
"""By name, in the order of reports."""
