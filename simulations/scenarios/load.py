"""What membership costs one member while nothing happens, in pools of all sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.swim.push_pull import push_pull_scale
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
from simulations.theory import push_pull_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

CONFIG = Config.lan("x")
PACKETS = 2 / CONFIG.probe_interval
"""A ping of one's own and an ack of somebody else's, per period."""


def run(case: Case, seed: int) -> Measured:
    """Idle for one interval of push/pulls."""
    nodes = case["nodes"]
    recorder = Recorder()
    world = SharedWorld(nodes, seed, watch=recorder)
    world.run(2.0)
    packets, sent, streams = world.packets_sent, world.bytes_sent, recorder.stream_bytes
    opened = world.streams_opened
    seconds = CONFIG.push_pull_interval * push_pull_scale(nodes)
    world.run(seconds)
    over_tcp = recorder.stream_bytes - streams
    member_seconds = nodes * seconds
    opened = world.streams_opened - opened
    return {
        "packets/s": (world.packets_sent - packets) / member_seconds,
        "UDP B/s": (world.bytes_sent - sent - over_tcp) / member_seconds,
        "TCP B/s": over_tcp / member_seconds,
        "state, B": over_tcp / (2 * opened * nodes) if opened else 0.0,
        "idle, s": seconds,
    }


def read(runs: Sequence[Run]) -> Findings:
    """Traffic per member against N."""
    sizes = sorted({run.case["nodes"] for run in runs})

    def of(name: str) -> list[tuple[float, float]]:
        return [(n, mean(select(runs, nodes=n), name)) for n in sizes]

    state = mean(select(runs, nodes=sizes[-1]), "state, B")
    exchanges = [(n, push_pull_bytes(n, state, CONFIG.push_pull_interval)) for n in sizes]
    even = [(sizes[0], PACKETS), (sizes[-1], PACKETS)]
    packets = [value for _, value in of("packets/s")]
    largest, spread = sizes[-1], max(packets) / min(packets) - 1
    return Findings(
        Table(
            ("members", "packets/s", "UDP B/s", "TCP B/s", "TCP B/s in theory", "B per member in a state"),
            [
                (n, *(mean(select(runs, nodes=n), name) for name in ("packets/s", "UDP B/s", "TCP B/s")),
                 expected, mean(select(runs, nodes=n), "state, B"))
                for n, expected in exchanges
            ],
        ),
        [
            Lines("packets", "Packets that an idle member sends", "members", "packets per second",
                  [Curve("measured", of("packets/s")),
                   Curve("theory: a ping and an ack per period", even, theory=True)], log_x=True),
            Lines("bytes", "Bytes that an idle member sends", "members", "bytes per second",
                  [Curve("UDP: probes and coordinates", of("UDP B/s")),
                   Curve("TCP: push/pull", of("TCP B/s")),
                   Curve("theory, push/pull: 2 N states per stretched interval", exchanges,
                         theory=True)],
                  log_x=True, log_y=True),
        ],
        [
            Goal("an idle member sends 2 packets per period, whatever the size of its pool",
                 f"{min(packets):.3f} to {max(packets):.3f}", max(packets) <= 1.05 * PACKETS),
            Goal("... so the load differs by at most 5 % between sizes", f"{100 * spread:.1f} %",
                 spread <= 0.05),
            Goal(f"push/pull costs an idle member of {largest:,} at most 2 kB/s",
                 f"{of('TCP B/s')[-1][1]:.0f} B/s", of("TCP B/s")[-1][1] <= 2000),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="load",
    title="Messages and bandwidth per member",
    question="What does membership cost one member while nothing happens, and does that depend on N?",
    setup=(
        "Settled pools, profile `lan`, no loss, watched for one interval of push/pulls "
        f"({CONFIG.push_pull_interval:g} s, stretched by memberlist's rule above 32 members). "
        "Bytes are payload, without the headers of UDP, TCP and IP."
    ),
    explanation=(
        "SWIM's main promise: the load of a member is a constant, however large the pool. In packets "
        "it holds exactly. Bytes are not quite SWIM's: memberlist adds a full exchange of states over TCP, "
        "which is linear in N and is what mends whatever gossip missed. Its interval grows by one step "
        "with every doubling, so the cost per second grows as N / log N; it passes that of the probes "
        "at a few hundred members. About 100 bytes of each ack are the network coordinate."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[5, 40])),
        Size.QUICK: Plan(grid(nodes=[1000, 300, 100, 30, 10])),
        Size.FULL: Plan(grid(nodes=[5000, 2000, 1000, 300, 100, 30, 10]), 3),
    },
    run=run,
    read=read,
)  # fmt: skip
