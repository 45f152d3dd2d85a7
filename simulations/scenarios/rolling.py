"""A rolling restart: every member in turn stops, and starts again a moment later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.events import MemberFailed, MemberLeft, MemberStatus
from simulations.recorder import Recorder
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
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.host import Host
    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

SEEDS = 3
LIMIT = 120.0
LOOK_EVERY = 0.01
DOWN = 1.0
"""From the end of a process to the start of the next, seconds."""
WAYS = {"leave": "leaves first", "kill": "killed"}
CONFIG = Config.lan("x")


def run(case: Case, seed: int) -> Measured:
    """Restart everybody, one after the other, waiting each time until all see it again."""
    nodes = case["nodes"]
    recorder = Recorder(MemberFailed, MemberLeft)
    world = World(seed, watch=recorder)
    for number in range(nodes):
        host = world.add(f"node-{number:03}")
        if number:
            world.join(host, *list(world.hosts.values())[: min(SEEDS, number)])
    world.run_until(lambda: all(sees(host, nodes) for host in world.running()), LIMIT, every=0.1)
    world.run(5.0)
    recorder.forget()
    started, packets = world.now, world.packets_sent
    stopping, returning = [], []
    for host in list(world.hosts.values()):
        begun = world.now
        if case["how"] == "leave":
            world.leave(host)
            world.run_until(lambda host=host: not host.running, LIMIT, every=LOOK_EVERY)  # type: ignore[misc]
        else:
            world.kill(host)
        stopping.append(world.now - begun)
        world.run(DOWN)
        new = world.restart(host)
        world.join(new, *[peer for peer in world.running() if peer is not new][:SEEDS])
        begun = world.now
        world.run_until(
            lambda: all(sees(host, nodes) for host in world.running()), LIMIT, every=LOOK_EVERY
        )
        returning.append(world.now - begun)
    took = world.now - started
    failed = [told for told in recorder.told_events if told.kind is MemberFailed]
    left = [
        told
        for told in recorder.told_events
        if told.kind is MemberLeft and told.subject != told.observer
    ]
    return {
        "whole pool, s": took,
        "stop, s": sum(stopping) / nodes,
        "return, s": sum(returning) / nodes,
        "slowest return, s": max(returning),
        "announced failed": len(failed),
        "announced left": len(left) / (nodes * (nodes - 1)),
        "packets/s": (world.packets_sent - packets) / nodes / took,
    }


def sees(host: Host, nodes: int) -> bool:
    """Whether a node sees so many members alive."""
    return host.node.members.counts[MemberStatus.ALIVE] == nodes


def read(runs: Sequence[Run]) -> Findings:
    """Times against N, for both ways to stop."""
    sizes = sorted({run.case["nodes"] for run in runs})
    curves = [
        Curve(
            f"{label}",
            [(n, mean(select(runs, nodes=n, how=how), "whole pool, s") / n) for n in sizes],
        )
        for how, label in WAYS.items()
    ]
    least = DOWN + CONFIG.leave_propagate_delay
    theory = [(sizes[0], least), (sizes[-1], least)]
    failed = sum(run.measured["announced failed"] for run in runs)
    left = [run.measured["announced left"] for run in runs if run.case["how"] == "leave"]
    slowest = max(run.measured["slowest return, s"] for run in runs)
    return Findings(
        Table(
            ("members", "how", "to stop, s", "back for all, s", "slowest, s", "whole pool, s",
             "announced failed", "departures announced, %", "packets/s per member"),
            [
                (n, label, *(mean(select(runs, nodes=n, how=how), name) for name in (
                    "stop, s", "return, s", "slowest return, s", "whole pool, s", "announced failed")),
                 100 * mean(select(runs, nodes=n, how=how), "announced left"),
                 mean(select(runs, nodes=n, how=how), "packets/s"))
                for how, label in WAYS.items() for n in sizes
            ],
        ),
        [
            Lines("times", "A rolling restart", "members", "time per member, s",
                  [*curves, Curve(f"least with a leave: {CONFIG.leave_propagate_delay:g} s to propagate, "
                                  f"{DOWN:g} s down", theory, theory=True)], log_x=True),
        ],
        [
            Goal("nobody is announced failed", f"{failed:.0f}", failed == 0),
            Goal("everybody hears of every departure of a member that leaves",
                 f"{100 * min(left):.2f} %", min(left) == 1),
            Goal("a member is back in all views within 2 s of its start", f"{slowest:.2f} s at most",
                 slowest <= 2.0),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="rolling",
    title="Rolling restart",
    question="Can every member be restarted in turn without anybody noticing more than it must?",
    setup=(
        f"Pools, profile `lan`. Each member in turn leaves, or is killed, is down for {DOWN:g} s, and "
        f"joins through {SEEDS} others, without memory of its last life. The next one follows once all "
        "views are complete."
    ),
    explanation=(
        "A leave waits until its farewell is out and then as long as `leave_propagate_delay` says, so no pool "
        "restarts faster than the dashed line. "
        "A process that is killed and back before its suspicion ends is never announced at all: the new process "
        "hears in its first push/pull at which incarnation it is remembered, and takes the lead. "
        "The time per member does not depend on N: one push/pull with a seed, then one "
        "piece of news."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[4], how=["leave", "kill"])),
        Size.QUICK: Plan(grid(nodes=[40, 20, 10], how=["leave", "kill"])),
        Size.FULL: Plan(grid(nodes=[200, 100, 40, 20, 10], how=["leave", "kill"]), 5),
    },
    run=run,
    read=read,
)  # fmt: skip
