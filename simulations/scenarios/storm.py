"""More and more user events per second: what arrives, how late, and how long the queues become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.events import UserEvent
from gossip.swim.broadcast import MESSAGE_OVERHEAD, retransmit_limit
from gossip.wire.serf import UserEvent as UserEventMessage
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

FIRING = 5
PAYLOAD = 40
SAMPLE = 0.05
DRAIN = 35.0
"""Longer than an interval of push/pulls, which bring what gossip missed."""
CONFIG = Config.lan("x")


def run(case: Case, seed: int) -> Measured:
    """Fire at a rate from a few members, and watch queues and arrivals."""
    nodes, rate, seconds = case["nodes"], case["rate"], case["seconds"]
    recorder = Recorder(UserEvent)
    world = SharedWorld(nodes, seed, watch=recorder)
    world.run(2.0)
    hosts = list(world.hosts.values())
    fired: dict[bytes, float] = {}

    def fire(number: int) -> None:
        payload = (b"%d" % number).ljust(PAYLOAD, b".")
        world.fire(hosts[number % FIRING], "storm", payload)
        fired[payload] = world.now

    start, packets = world.now, world.packets_sent
    for number in range(round(rate * seconds)):
        world.at(start + number / rate, fire, number)
    deepest = 0
    while world.now < start + seconds + DRAIN:
        world.run(SAMPLE)
        queues = (len(host.node.membership.dissemination) for host in hosts)
        deepest = max(deepest, *queues)
        if world.now - start <= seconds:
            sent = world.packets_sent - packets
    delays = sorted(told.at - fired[told.payload] for told in recorder.told_events)
    failures = sum(host.node.stats["declared_dead"] for host in hosts)
    return {
        "fired": len(fired),
        "delivered": len(delays) / (len(fired) * nodes),
        "median, s": delays[len(delays) // 2],
        "99 %, s": delays[int(0.99 * len(delays))],
        "deepest": deepest,
        "packets/s": sent / (nodes * seconds),
        "declared dead": failures,
    }


def capacity(nodes: int) -> float:
    """Events per second that memberlist's packets carry: gossip and probes, full to the brim."""
    message = UserEventMessage(1, "storm", bytes(PAYLOAD), coalesce=True).encode()
    size = len(message) + 4 + MESSAGE_OVERHEAD
    packets = CONFIG.gossip_nodes / CONFIG.gossip_interval + 2 / CONFIG.probe_interval
    return (
        packets * (CONFIG.udp_buffer_size // size) / retransmit_limit(CONFIG.retransmit_mult, nodes)
    )


def read(runs: Sequence[Run]) -> Findings:
    """Everything against the rate."""
    rates = sorted({run.case["rate"] for run in runs})
    nodes = runs[0].case["nodes"]

    def of(name: str, factor: float = 1.0) -> list[tuple[float, float]]:
        return [(rate, factor * mean(select(runs, rate=rate), name)) for rate in rates]

    most = capacity(nodes)
    base = CONFIG.gossip_nodes / CONFIG.gossip_interval + 2 / CONFIG.probe_interval
    late = of("99 %, s")
    wall = [(most, min(y for _, y in of("median, s"))), (most, max(y for _, y in late))]
    kept = [run for run in runs if run.case["rate"] <= 500]
    deepest = max(run.measured["deepest"] for run in runs)
    return Findings(
        Table(
            ("events/s", "fired", "delivered, %", "median, ms", "99 %, ms", "longest queue",
             "packets/s per member"),
            [
                (rate, mean(select(runs, rate=rate), "fired"),
                 100 * mean(select(runs, rate=rate), "delivered"),
                 1000 * mean(select(runs, rate=rate), "median, s"),
                 1000 * mean(select(runs, rate=rate), "99 %, s"),
                 mean(select(runs, rate=rate), "deepest"), mean(select(runs, rate=rate), "packets/s"))
                for rate in rates
            ],
        ),
        [
            Lines("delays", f"Events in a pool of {nodes}", "events fired per second",
                  "from fired to delivered, s",
                  [Curve("median", of("median, s")), Curve("99 %", late),
                   Curve("what memberlist's packets carry at most", wall, theory=True)],
                  log_x=True, log_y=True),
            Lines("queues", "Queues and packets under events", "events fired per second",
                  "broadcasts; packets per second",
                  [Curve("longest queue of any member, broadcasts", of("deepest")),
                   Curve("packets per second and member", of("packets/s")),
                   Curve("memberlist's most: 3 per tick and probes", [(rates[0], base), (rates[-1], base)],
                         theory=True)],
                  log_x=True, log_y=True),
        ],
        [
            Goal(f"up to {max(run.case['rate'] for run in kept):g} events/s, everybody gets every event",
                 f"{100 * min(r.measured['delivered'] for r in kept):.2f} %",
                 all(r.measured["delivered"] == 1 for r in kept)),
            Goal(f"no queue grows beyond its bound of {CONFIG.max_queue_depth:,}", f"{deepest:,.0f}",
                 deepest <= CONFIG.max_queue_depth),
            Goal("nobody is declared dead for it",
                 f"{sum(run.measured['declared dead'] for run in runs):.0f}",
                 all(run.measured["declared dead"] == 0 for run in runs)),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="storm",
    title="Event storm and queue depth",
    question="How many user events per second does a pool carry, and what becomes of its queues?",
    setup=(
        f"A settled pool, profile `lan`; {FIRING} members fire events of {PAYLOAD} bytes payload at an even "
        f"rate. Queues are looked at every {1000 * SAMPLE:g} ms; {DRAIN:g} s are left to deliver the rest."
    ),
    explanation=(
        "The dashed wall is what memberlist's packets carry when they are full of events: three per tick besides the "
        "probes. Beyond it memberlist's queue grows until receivers find the oldest events too old for their "
        "ring of 512. Ours passes it without loss: a backlog raises the rate of packets up to 32 times. "
        "Delays are highest before the wall, not behind it. An event of its own takes "
        "milliseconds, as its first copies leave at once; but each of those is a packet, and a token bucket keeps "
        "their rate to memberlist's. When tokens run short fewer copies leave at once, so that every event's first "
        "ones can: single events take milliseconds, at 20 to 100/s some tens of them. (Tokens saved in quiet "
        "times let a few packets more than memberlist's most pass in a short run.) From there on the backlog "
        "raises the rate, and delays fall as packets rise. "
        "A long queue is not a late event: a broadcast is queued until its last copy is sent, and the "
        "last quarter of copies waits for ticks on purpose. "
        "At the highest rates Serf's ring bounds everything: who is more than 512 Lamport times behind misses "
        "events, by protocol. Here nobody waits; a `Cluster` paces its events so that the ring is never overrun."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[8], rate=[20, 100], seconds=[1])),
        Size.QUICK: Plan([
            *grid(nodes=[30], rate=[1000, 500, 200], seconds=[4]),
            *grid(nodes=[30], rate=[100, 50, 20, 5, 2], seconds=[15]),
        ]),
        Size.FULL: Plan(
            grid(nodes=[30], rate=[2000, 1000, 500, 200, 100, 50, 20, 5, 2], seconds=[20]), 5
        ),
    },
    run=run,
    read=read,
)  # fmt: skip
