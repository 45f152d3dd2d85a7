"""A join storm: all members of a pool start at once and join through the same three seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
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
from simulations.theory import rumor_rounds
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

SEEDS = 3
START_WITHIN = 0.1
"""Processes start within so long, seconds."""
SHARE = 0.99
LIMIT = 120.0
LOOK_EVERY = 0.02
CONFIG = Config.lan("x")


def run(case: Case, seed: int) -> Measured:
    """Start and join everybody, then wait for complete views."""
    nodes = case["nodes"]
    world = World(seed)
    start = world.now

    def begin(number: int) -> None:
        host = world.add(f"node-{number:05}")
        host.keep_events = False
        if number:
            world.join(host, *list(world.hosts.values())[: min(SEEDS, number)])

    for number in range(nodes):
        world.at(start + START_WITHIN * number / nodes, begin, number)
    world.run(START_WITHIN)
    hosts = list(world.hosts.values())
    views = SHARE * nodes * nodes
    tables = [host.node.membership.table for host in hosts]
    world.run_until(lambda: sum(table.alive for table in tables) >= views, LIMIT, every=LOOK_EVERY)
    most = world.now - start
    world.run_until(lambda: all(table.alive == nodes for table in tables), LIMIT, every=LOOK_EVERY)
    return {
        "most, s": most,
        "all, s": world.now - start,
        "packets": world.packets_sent / nodes,
        "kB": world.bytes_sent / nodes / 1000,
    }


def read(runs: Sequence[Run]) -> Findings:
    """Times and traffic against N."""
    sizes = sorted({run.case["nodes"] for run in runs})

    def of(name: str) -> list[tuple[float, float]]:
        return [(n, mean(select(runs, nodes=n), name)) for n in sizes]

    theory = [(n, CONFIG.gossip_interval * rumor_rounds(n, CONFIG.gossip_nodes)) for n in sizes]
    high, slowest = of("all, s")[-1]
    # A view costs what it costs to hear of a member once from each who tells: N messages of ~100 B.
    least = [(n, n * 0.1) for n in sizes]
    return Findings(
        Table(
            ("members", "99 % of all views, s", "every view, s", "one piece of news in theory, s",
             "packets per member", "kB per member"),
            [
                (n, mean(select(runs, nodes=n), "most, s"), mean(select(runs, nodes=n), "all, s"),
                 expected, mean(select(runs, nodes=n), "packets"), mean(select(runs, nodes=n), "kB"))
                for n, expected in theory
            ],
        ),
        [
            Lines("times", "A join storm", "members", "time since the first start, s",
                  [Curve("99 % of all views", of("most, s")), Curve("every view", of("all, s")),
                   Curve("theory: one piece of news at ticks", theory, theory=True)],
                  log_x=True, log_y=True),
            Lines("traffic", "What a join storm costs", "members", "sent per member, kB",
                  [Curve("measured", of("kB")),
                   Curve("least: each hears of each once, 100 B", least, theory=True)],
                  log_x=True, log_y=True),
        ],
        [
            Goal(f"{high:,} members that start within {START_WITHIN:g} s all know each other in 10 s",
                 f"{slowest:.2f} s", slowest <= 10.0),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="joins",
    title="A join storm",
    question="How long until everybody knows everybody when a whole pool starts at once?",
    setup=(
        f"Members start within {START_WITHIN:g} s, each joins through the first {SEEDS}, profile `lan`, no loss. "
        "A view is one member as seen by one node; N members have N² of them."
    ),
    explanation=(
        "The theory curve is one piece of news at memberlist's ticks. Here each of N members is news at the "
        "same time, and every node has to be told of each, so the traffic per member cannot grow slower than N; the "
        "dashed line in the second plot is that least. A backlog raises the rate at which a node sends, "
        "which is why time does not grow as traffic does. The last views are not found by gossip, which misses "
        "a few of a million, but by the second push/pull that every joined node does within half a "
        "second: the difference between the two curves of the first plot. The simulator gives every node a CPU "
        "of its own that takes no time, so in small pools it shows the protocol alone."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[5, 12])),
        Size.QUICK: Plan(grid(nodes=[300, 100, 30, 10])),
        Size.FULL: Plan(grid(nodes=[2000, 1000, 300, 100, 30, 10]), 3),
    },
    run=run,
    read=read,
)  # fmt: skip
