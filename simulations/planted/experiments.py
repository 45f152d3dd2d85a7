"""The experiments in which planted bugs have to show."""

from __future__ import annotations

from random import Random

from simulations.checkers import CHECKERS
from simulations.faults import Faults
from simulations.plan import Plan, Step
from simulations.watch import Watch
from simulations.world import World

__all__ = [
    "CALM",
    "CRASHES",
    "EVENTS",
    "FLOOD",
    "LEAVES",
    "OPEN_STRANGERS",
    "PARTED",
    "PAUSED",
    "POISONED",
    "REAPED",
    "RESTART",
    "RETAGGED",
    "SLANDERED",
    "SLOWLY",
    "STRANGERS",
    "TROUBLE",
    "two_pools",
]  # fmt: skip

TROUBLE = Plan(
    nodes=5,
    seconds=60,
    steps=(
        Step(at=8, do="fire", nodes="random:2", payload="one", count=2),
        Step(at=10, do="partition", nodes="random:2", seconds=20),
        Step(at=12, do="loss", rate=0.3, seconds=20),
        Step(at=36, do="tags", nodes="random:1", tags={"v": "2"}),
        Step(at=40, do="kill", nodes="random:1"),
        Step(at=44, do="restart", nodes="dead:1"),
        Step(at=50, do="fire", nodes="random:1", payload="two"),
    ),
)
CALM = Plan(nodes=4, seconds=10)
KEPT = {"gossip_to_the_dead_time": 3600.0}
"""Records of the dead are kept: forgetting them would hide that nobody can return."""
SLANDERED = Plan(
    nodes=5, seconds=40,
    steps=(
        Step(at=8, do="leave", nodes="last:1"),
        Step(at=12, do="poison", nodes="first:1", seconds=28),
    ),
)  # fmt: skip
SLOWLY = Plan(
    nodes=3, seconds=30, settings={"eager": False, "max_queue_depth": 4},
    steps=(
        Step(at=10, do="force_leave", nodes="last:1", to="first:1"),
    ),
)  # fmt: skip
PARTED = Plan(
    nodes=5, seconds=60, settings=KEPT,
    steps=(
        Step(at=10, do="partition", nodes="first:2", to="last:3", seconds=25),
        Step(at=12, do="leave", nodes="last:1"),
    ),
)  # fmt: skip
LEAVES = Plan(nodes=5, seconds=30, steps=(Step(at=10, do="leave", nodes="random:2"),))
EVENTS = Plan(
    nodes=5, seconds=40,
    steps=tuple(
        Step(at=8 + at, do="fire", nodes="random:2", payload=f"{at}", count=2) for at in range(20)
    ),
)  # fmt: skip
CRASHES = Plan(
    nodes=4, seconds=60,
    steps=(
        Step(at=10, do="fire", nodes="all", payload="x", count=3),
        Step(at=15, do="restart", nodes="last:1", with_memory=True),
        Step(at=30, do="restart", nodes="last:1", with_memory=True),
    ),
)  # fmt: skip
STRANGERS = Plan(
    nodes=3, seconds=20, encrypted=True,
    steps=tuple(Step(at=10 + at, do="plaintext", nodes="all", count=5) for at in range(5)),
)  # fmt: skip
OPEN_STRANGERS = Plan(
    nodes=3, seconds=20,
    steps=tuple(Step(at=10 + at, do="plaintext", nodes="all", count=5) for at in range(5)),
)  # fmt: skip
POISONED = Plan(
    nodes=4, seconds=40,
    steps=(Step(at=10, do="poison", nodes="random:1", seconds=30),),
)  # fmt: skip
RESTART = Plan(
    nodes=4, seconds=60, settings=KEPT,
    steps=(
        Step(at=10, do="kill", nodes="last:1"),
        Step(at=40, do="restart", nodes="dead:1"),
    ),
)  # fmt: skip
REAPED = Plan(
    nodes=4, seconds=60,
    settings={"reconnect_timeout": 20.0, "tombstone_timeout": 20.0},
    steps=(Step(at=10, do="leave", nodes="last:1"),),
)  # fmt: skip
FLOOD = Plan(
    nodes=3, seconds=30, settings={"max_queue_depth": 32},
    steps=(Step(at=10, do="fire", nodes="first:1", payload="x", count=200),),
)  # fmt: skip


PAUSED = Plan(
    nodes=5, seconds=15, settings={"suspicion_mult": 8},
    steps=(Step(at=10, do="pause", nodes="last:1", seconds=4),),
)  # fmt: skip
"""The suspicion of one that was paused would end in the calm phase, had it not been refuted."""
RETAGGED = Plan(
    nodes=4, seconds=10, steps=(Step(at=5, do="tags", nodes="first:1", tags={"v": "2"}),)
)


def two_pools(seed: int) -> list[str]:
    """Two pools with labels of their own, whose members try to join each other."""
    watch = Watch(CHECKERS)
    world = World(seed, watch=watch)
    for pool in ("red", "blue"):
        plan = Plan(nodes=1, seconds=30, settings={"label": pool})
        faults = Faults(world, plan, Random(seed), pool=pool)
        for number in range(3):
            faults.stay_joined(faults.start_node(f"{pool}-{number}"))
    world.run(10)
    world.join(world.hosts["red-0"], world.hosts["blue-1"])
    world.run(20)
    return [str(found) for found in watch.violations]
