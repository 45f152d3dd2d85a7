"""A pool falls into two halves for a while: how long until it is one again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.events import MemberStatus
from simulations.scenario import (
    Curve,
    Findings,
    Goal,
    Lines,
    Plan,
    Scenario,
    Size,
    Table,
    grid,
    mean,
    select,
)
from simulations.shared import SharedWorld
from simulations.theory import earliest_of, rumor_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

LIMIT = 300.0
CONFIG = Config.lan("x")
SHORT = 30.0
"""Up to here G-13 allows 10 s, beyond it 75 s."""


def run(case: Case, seed: int) -> Measured:
    """Cut a pool in two, mend it, and wait for complete views."""
    nodes = case["nodes"]
    world = SharedWorld(nodes, seed)
    hosts = list(world.hosts.values())
    for host in hosts:
        host.keep_events = False
    world.run(2.0 + world.rng.random() * CONFIG.reconnect_interval)
    world.network.partition("halves", [{host.name for host in hosts[: nodes // 2]}])
    world.run(case["seconds"])
    counts = [host.node.members.counts for host in hosts]
    lost = sum(nodes - count[MemberStatus.ALIVE] for count in counts)
    world.network.mend()
    healed_at = world.now
    merged = nodes // 2 + 1

    def one_sees_all() -> bool:
        return any(count[MemberStatus.ALIVE] > merged for count in counts)

    def all_see_all() -> bool:
        return all(count[MemberStatus.ALIVE] == nodes for count in counts)

    world.run_until(one_sees_all, LIMIT, every=0.02)
    contact = world.now - healed_at
    world.run_until(all_see_all, LIMIT, every=0.02)
    return {
        "lost views": lost / nodes**2,
        "contact, s": contact,
        "healed, s": world.now - healed_at,
    }


def read(runs: Sequence[Run]) -> Findings:
    """Times until healed, against the length of the partition and N."""
    sizes = sorted({run.case["nodes"] for run in runs})
    lengths = sorted({run.case["seconds"] for run in runs})
    by_length = [
        Curve(
            f"{n} members",
            [(s, mean(select(runs, nodes=n, seconds=s), "healed, s")) for s in lengths],
        )
        for n in sizes
    ]
    longest = lengths[-1]
    by_size = [(n, mean(select(runs, nodes=n, seconds=longest), "healed, s")) for n in sizes]
    theory = [
        (n, earliest_of(n, CONFIG.reconnect_interval)
         + CONFIG.gossip_interval * rumor_rounds(n, CONFIG.gossip_nodes))
        for n in sizes
    ]  # fmt: skip
    short = [run.measured["healed, s"] for run in runs if run.case["seconds"] < SHORT]
    long = [run.measured["healed, s"] for run in runs if run.case["seconds"] >= SHORT]
    return Findings(
        Table(
            ("members", "partition, s", "views lost, %", "first contact, s", "one pool again, s"),
            [
                (n, seconds, 100 * mean(some, "lost views"), mean(some, "contact, s"), mean(some, "healed, s"))
                for n in sizes for seconds in lengths
                for some in [select(runs, nodes=n, seconds=seconds)]
            ],
        ),
        [
            Lines("lengths", "A pool cut into halves", "length of the partition, s",
                  "until one pool again, s", by_length, log_x=True),
            Lines("sizes", f"After {longest:g} s of partition", "members", "until one pool again, s",
                  [Curve("measured", by_size),
                   Curve("theory: first reconnect of anybody, then one piece of news at ticks",
                         theory, theory=True)], log_x=True, log_y=True),
        ],
        [
            Goal("partitions shorter than 30 s are healed within 10 s", f"at most {max(short):.1f} s",
                 max(short) <= 10.0),
            Goal("longer ones within 75 s", f"at most {max(long):.1f} s", max(long) <= 75.0),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="partition",
    title="Partition and heal",
    question="After two halves of a pool could not reach each other for a while, how soon are they one?",
    setup=(
        "Settled pools, profile `lan`. Nothing passes between the halves, then everything does. "
        f"A failed member is tried again every {CONFIG.reconnect_interval:g} s by each node, one of them at random."
    ),
    explanation=(
        "While the partition is shorter than a suspicion, nobody has been declared dead: the accused refute "
        "as soon as they can hear. Once the halves have declared each other dead there is no probe "
        "between them any more. But the dead are still gossiped to for a while, "
        "so partitions of up to about 30 s end with the next piece of news that crosses. After that the "
        "first reconnect of anybody brings both sides together, and of N members with independent timers the first "
        "comes soon: after 30 / (N + 1) s on average. So large pools heal faster than small ones. "
        "The rest is the spread of N refutations, which is faster than the theory's ticks "
        "(see *One event reaches everybody*)."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[8], seconds=[5, 40])),
        Size.QUICK: Plan(grid(nodes=[100, 30, 10], seconds=[3, 10, 20, 40, 90]), 2),
        Size.FULL: Plan(grid(nodes=[300, 100, 30, 10], seconds=[3, 10, 20, 40, 90, 300, 3600]), 20),
    },
    run=run,
    read=read,
)  # fmt: skip
