"""One user event in pools of all sizes: how long until half of them, nearly all, and all have it."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.events import UserEvent
from gossip.swim.broadcast import retransmit_limit
from gossip.swim.dissemination import KEPT_SHARE
from simulations.network import Weather
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
from simulations.shared import SharedWorld
from simulations.theory import rumor_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

EVENTS = 3
"""Events per run, one after the other, from different members."""
APART = 2.0
LIMIT = 60.0
CONFIG = Config.lan("x")
ROUND = CONFIG.gossip_interval
SHARES = {"half": 0.5, "most": 0.99, "all": 1.0}
MODES = {True: "eager (ours)", False: "at ticks, as memberlist"}


def run(case: Case, seed: int) -> Measured:
    """Fire events in a settled pool."""
    nodes = case["nodes"]
    recorder = Recorder(UserEvent)
    world = SharedWorld(nodes, seed, watch=recorder, eager=case["eager"])
    world.run(APART)
    hosts = list(world.hosts.values())
    sums = dict.fromkeys(SHARES, 0.0)
    for number in range(EVENTS):
        recorder.forget()
        fired_at = world.now
        world.fire(hosts[number * nodes // EVENTS], "deploy", b"v%d" % number)
        world.run_until(lambda: len(recorder.told_events) == nodes, LIMIT)
        times = sorted(told.at - fired_at for told in recorder.told_events)
        for name, share in SHARES.items():
            sums[name] += times[min(int(share * nodes), nodes - 1)]
        world.run(APART)
    return {f"{name}, s": total / EVENTS for name, total in sums.items()}


def read(runs: Sequence[Run]) -> Findings:
    """Times against N, in both modes."""
    sizes = sorted({run.case["nodes"] for run in runs})
    curves = []
    for eager, label in MODES.items():
        for share in ("half", "all"):
            points = [(n, mean(select(runs, nodes=n, eager=eager), f"{share}, s")) for n in sizes]
            who = "half of the members" if share == "half" else "all members"
            curves.append(Curve(f"{who}, {label}", points))
    rounds = [(n, ROUND * rumor_rounds(n, CONFIG.gossip_nodes)) for n in sizes]
    hops = [(n, Weather().latency * rumor_rounds(n, first_copies(n))) for n in sizes]
    curves.append(Curve("theory, all, at ticks of 0.2 s to 3 members", rounds, theory=True))
    curves.append(Curve("theory, all, eager: a latency per hop", hops, theory=True))
    theory = {True: hops, False: rounds}
    table = Table(
        ("members", "mode", "half, s", "99 %, s", "all, s", "theory for all, s"),
        [
            (
                n,
                label,
                *(mean(select(runs, nodes=n, eager=eager), f"{share}, s") for share in SHARES),
                expected,
            )
            for eager, label in MODES.items()
            for n, expected in theory[eager]
        ],
    )
    low, high = sizes[0], sizes[-1]
    at_ticks = [mean(select(runs, nodes=n, eager=False), "all, s") for n in (low, high)]
    at_once = mean(select(runs, nodes=high, eager=True), "all, s")
    grows, should = at_ticks[1] / at_ticks[0], rounds[-1][1] / rounds[0][1]
    return Findings(
        table,
        [
            Lines("times", "One user event", "members", "time since it was fired, s", curves,
                  log_x=True, log_y=True),
        ],
        [
            Goal(
                f"at ticks, {high:,} members take at most what theory says",
                f"{at_ticks[1]:.2f} s, theory {rounds[-1][1]:.2f} s",
                at_ticks[1] <= rounds[-1][1],
            ),
            Goal(
                f"O(log N): from {low:,} to {high:,} members the time grows at most twice as much "
                "as the logarithm",
                f"{grows:.1f} times, the logarithm {should:.1f} times",
                grows <= 2 * should,
            ),
            Goal(
                f"sent at once, the event is with {high:,} members ten times sooner than at ticks",
                f"{1000 * at_once:.1f} ms instead of {1000 * at_ticks[1]:.0f} ms",
                at_once * 10 <= at_ticks[1],
            ),
        ],
    )  # fmt: skip


def first_copies(nodes: int) -> int:
    """How many copies leave at once with eager dissemination."""
    limit = retransmit_limit(CONFIG.retransmit_mult, nodes)
    return limit - ceil(limit / KEPT_SHARE)


SCENARIO = Scenario(
    name="spread",
    title="One event reaches everybody",
    question="How long does a user event take to reach a pool, and how does that grow with its size?",
    setup=(
        f"Settled pools, profile `lan` (a tick every {ROUND:g} s, {CONFIG.gossip_nodes} targets), latency "
        f"0.25 to 0.75 ms, no loss. Each run fires {EVENTS} events from different members, once with our "
        "eager dissemination and once with `eager=False`, which sends at ticks only, as memberlist does."
    ),
    explanation=(
        "Theory is infection by rounds: those who know become f + 1 times as many in each, and the last "
        "ones are found by chance: log N / log (f + 1) + ln N / f rounds. "
        "At ticks we are faster: members tick at phases of their own, so news makes several hops in one "
        "interval, and targets come from a shuffled ring, so nobody is told twice by the same member "
        "before half of the pool was told once, which shortens the search for the last ones. "
        "Eager dissemination sends three quarters of all copies at once, so a round costs a latency instead of a tick "
        "and f is the number of those copies: the same logarithm with another unit, hundreds of times faster. "
        "The simulated nodes take no time to handle a packet; on real machines that, and not the network, bounds it "
        "(`python -m simulations.bench.peers` measures processes)."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[5, 20], eager=[True, False])),
        Size.QUICK: Plan(grid(nodes=[2000, 1000, 300, 100, 30, 10], eager=[True, False])),
        Size.FULL: Plan(grid(nodes=[5000, 2000, 1000, 300, 100, 30, 10], eager=[True, False]), 10),
    },
    run=run,
    read=read,
)  # fmt: skip
