"""A pool falls into two halves for a while: how long until it is one again."""

from __future__ import annotations

from random import Random
from statistics import median
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
from simulations.theory import earliest_of, rumor_rounds
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

LIMIT = 300.0
LOOK_EVERY = 0.02
CONFIG = Config.lan("x")
INTERVAL = CONFIG.reconnect_interval
BRIEF, SHORT, LONG = 3, 30, 40
"""Partitions in which nobody is declared dead; of which gossip remembers the dead; and in which it has
forgotten them, seconds."""
STARTED = {False: "one after the other", True: "all at once"}


def run(case: Case, seed: int) -> Measured:
    """Cut a pool in two, mend it, and wait for complete views."""
    nodes = case["nodes"]
    world = World(seed)
    rng = Random(f"{seed} {case}")
    start = world.now

    def begin(number: int) -> None:
        host = world.add(f"node-{number:03}")
        host.keep_events = False
        if number:
            world.join(host, world.hosts["node-000"])

    for number in range(nodes):
        phase = 0.0 if case["at once"] or not number else INTERVAL * rng.random()
        world.at(start + phase, begin, number)
    world.run(INTERVAL)
    hosts = list(world.hosts.values())
    counts = [host.node.members.counts for host in hosts]

    def all_see_all() -> bool:
        return all(count[MemberStatus.ALIVE] == nodes for count in counts)

    world.run_until(all_see_all, LIMIT, every=LOOK_EVERY)
    world.run(rng.random() * INTERVAL)
    world.network.partition("halves", [{host.name for host in hosts[: nodes // 2]}])
    world.run(case["seconds"])
    lost = sum(nodes - count[MemberStatus.ALIVE] for count in counts)
    world.network.mend()
    healed_at = world.now
    merged = nodes // 2 + 1

    def one_sees_all() -> bool:
        return any(count[MemberStatus.ALIVE] > merged for count in counts)

    world.run_until(one_sees_all, LIMIT, every=LOOK_EVERY)
    contact = world.now - healed_at
    world.run_until(all_see_all, LIMIT, every=LOOK_EVERY)
    return {
        "lost views": lost / nodes**2,
        "contact, s": contact,
        "healed, s": world.now - healed_at,
    }


def read(runs: Sequence[Run]) -> Findings:
    """Times until healed, against the length of the partition and N."""
    sizes = sorted({run.case["nodes"] for run in runs})
    lengths = sorted({run.case["seconds"] for run in runs})
    kinds = [once for once in STARTED if select(runs, **{"at once": once})]

    def of(once: bool, name: str, **case: object) -> float:  # noqa: FBT001 - a value of the case
        return mean(select(runs, **{"at once": once, **case}), name)

    spread = {n: CONFIG.gossip_interval * rumor_rounds(n, CONFIG.gossip_nodes) for n in sizes}
    by_length = [
        Curve(f"{n} members, started {STARTED[once]}",
              [(s, of(once, "healed, s", nodes=n, seconds=s)) for s in lengths])
        for once in kinds for n in sizes
    ]  # fmt: skip
    long = [s for s in lengths if s >= LONG] or lengths
    by_size = [
        Curve(f"started {STARTED[once]}",
              [(n, sum(of(once, "healed, s", nodes=n, seconds=s) for s in long) / len(long))
               for n in sizes])
        for once in kinds
    ]  # fmt: skip
    theory = [
        Curve("theory: the first of N timers, then news at ticks",
              [(n, earliest_of(n, INTERVAL) + spread[n]) for n in sizes], theory=True),
        Curve("theory: one timer, then news at ticks",
              [(n, earliest_of(1, INTERVAL) + spread[n]) for n in sizes], theory=True),
    ]  # fmt: skip
    short, long_ones = (
        [
            run.measured["healed, s"]
            for run in runs
            if (run.case["seconds"] < SHORT) is is_short and run.case["seconds"] > BRIEF
        ]
        for is_short in (True, False)
    )
    brief = [run.measured for run in runs if run.case["seconds"] <= BRIEF]
    return Findings(
        Table(
            ("members", "started", "partition, s", "views lost, %", "first contact, s",
             "one pool again, s"),
            [
                (n, STARTED[once], s, 100 * of(once, "lost views", nodes=n, seconds=s),
                 of(once, "contact, s", nodes=n, seconds=s), of(once, "healed, s", nodes=n, seconds=s))
                for once in kinds for n in sizes for s in lengths
            ],
        ),
        [
            Lines("lengths", "A pool cut into halves", "length of the partition, s",
                  "until one pool again, s", by_length, log_x=True),
            Lines("sizes", f"After {long[0]:g} s of partition or more", "members",
                  "until one pool again, s", [*by_size, *theory], log_x=True),
        ],
        [
            Goal(f"a partition of {BRIEF:g} s loses nobody",
                 f"{100 * max(m['lost views'] for m in brief):.1f} % of the views",
                 all(m["lost views"] == 0 for m in brief)),
            *(
                Goal(f"cut for less than {SHORT:g} s, every pool is one again within 10 s",
                     f"{max(short):.1f} s at most", max(short) <= 10.0)
                for _ in short[:1]
            ),
            *(
                Goal(f"cut for {SHORT:g} s or longer, half are one again within 35 s, all within 75 s",
                     f"{median(long_ones):.1f} s, {max(long_ones):.1f} s at most",
                     median(long_ones) <= 35.0 and max(long_ones) <= 75.0)
                for _ in long_ones[:1]
            ),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="partition",
    title="Partition and heal",
    question="After two halves of a pool could not reach each other for a while, how soon are they one?",
    setup=(
        "Pools, profile `lan`, whose members start at random times within half a minute, or all at once. "
        "Nothing passes between the halves for a time, then everything does. "
        f"Every {INTERVAL:g} s a node tries to reach a failed member, one of them at random."
    ),
    explanation=(
        "While a partition is shorter than a suspicion, nobody has been declared dead: the accused refute "
        "as soon as they can hear. Once the halves have declared each other dead they do not probe "
        "each other any more. For the half minute after a death the pool goes on telling the dead of it, about twice per "
        "second, so that after a short cut everybody has refuted within seconds, where memberlist waits for "
        "a reconnect. After a longer one the first reconnect of anybody makes the halves one. "
        "What follows is the spread of N refutations, much faster than memberlist's ticks (see *One event reaches "
        "everybody*). The reconnects of N members are due at times of their own, whether they started together or "
        "not (Serf's are due together where nodes were), so the first comes after 30 / (N + 1) s on average: the "
        "larger the pool, the sooner."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[8], seconds=[3, 40], **{"at once": [False]})),
        Size.QUICK: Plan(
            grid(nodes=[40, 20, 10], seconds=[3, 10, 20, 60], **{"at once": [False, True]}), 3
        ),
        Size.FULL: Plan(
            grid(nodes=[300, 100, 30, 10], seconds=[3, 10, 20, 40, 90, 300, 1800],
                 **{"at once": [False, True]}), 30,
        ),
    },
    run=run,
    read=read,
)  # fmt: skip
