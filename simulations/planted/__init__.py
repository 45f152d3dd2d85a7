"""Planted bugs: the mistakes of the field, made again on purpose, to see that the checkers see them.

Each replaces a piece of the core for as long as a test runs; the core knows nothing of it. A checker that
overlooks its bug proves nothing when it is silent about the real core.

    bugs          the table: one line per bug
    mistakes      the wrong pieces
    experiments   the faults under which they show
    hunt          one seed after another until the checker speaks
"""

from simulations.planted.bugs import PLANTED
from simulations.planted.hunt import MAX_SEEDS, Planted, hunt

__all__ = ["MAX_SEEDS", "PLANTED", "Planted", "hunt"]
