"""Machines that die, and healthy ones that are accused, against packet loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.config import Config
from gossip.events import MemberFailed
from gossip.swim.suspicion import suspicion_bounds
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
from simulations.theory import FIRST_DETECTION_PERIODS, probe_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.host import Host
    from simulations.recorder import Told
    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

LIMIT = 300.0
QUIET = 10.0
"""Before the first death, until the pool is used to the loss, and after the last one, seconds."""
CONFIG = Config.lan("x")
PERIOD = CONFIG.probe_interval
FALLBACK = {True: "with pings over TCP", False: "UDP only"}


def run(case: Case, seed: int) -> Measured:
    """Let machines die one after the other, then count accusations of the living."""
    deaths = case["deaths"]
    recorder = Recorder(MemberFailed, suspicions=True)
    world = SharedWorld(
        case["nodes"],
        seed,
        watch=recorder,
        weather=Weather(loss=case["loss"]),
        tcp_ping=case["tcp"],
    )
    world.run(QUIET)
    times = [die(world, recorder, victim) for victim in list(world.hosts.values())[:deaths]]
    first_suspect, first_failed, everywhere = (
        sum(column) / deaths for column in zip(*times, strict=True)
    )
    world.run(QUIET)  # probes of the last victim may be in flight
    recorder.forget()
    for host in world.running():
        host.node.stats.clear()
    watched = case["watch"]
    world.run(watched)
    running = world.running()
    alive = {host.name for host in running}
    false = sum(told.subject in alive for told in recorder.told_events)
    hours = watched * len(running) / 3600
    return {
        "first suspicion, s": first_suspect,
        "first failed, s": first_failed,
        "failed everywhere, s": everywhere,
        "failed probes per node and period": sum(h.node.stats["probes_failed"] for h in running)
        / (len(running) * watched / PERIOD),
        "false positives per node hour": false / hours,
        "node hours": hours,
    }


def die(world: SharedWorld, recorder: Recorder, victim: Host) -> tuple[float, float, float]:
    """Let a machine go silent; when it is suspected, failed first, and failed everywhere, seconds."""
    world.run(world.rng.random() * PERIOD)
    recorder.forget()
    start, name = world.now, victim.name
    world.kill(victim, machine=True)
    others = len(world.running())

    def failed() -> list[Told]:
        return [told for told in recorder.told_events if told.subject == name]

    world.run_until(lambda: len({told.observer for told in failed()}) == others, LIMIT, every=0.05)
    # At high loss it may have been suspect already.
    suspected = min((s.at for s in recorder.suspected if s.subject == name), default=start)
    failed_at = [told.at for told in failed()]
    return suspected - start, min(failed_at) - start, max(failed_at) - start


def read(runs: Sequence[Run]) -> Findings:
    """Detection times and accusations against loss."""
    losses = sorted({run.case["loss"] for run in runs})

    def of(name: str, *, tcp: bool) -> list[tuple[float, float]]:
        return [(100 * loss, mean(select(runs, loss=loss, tcp=tcp), name)) for loss in losses]

    nodes = runs[0].case["nodes"]
    shortest = suspicion_bounds(CONFIG, nodes)[1]
    first = (FIRST_DETECTION_PERIODS + 1) * PERIOD
    flat = [(100 * losses[0], first), (100 * losses[-1], first)]
    latest = [(x, y + shortest) for x, y in flat]
    detect, accuse = [], []
    for tcp, label in FALLBACK.items():
        detect.append(Curve(f"first suspicion, {label}", of("first suspicion, s", tcp=tcp)))
        detect.append(Curve(f"failed everywhere, {label}", of("failed everywhere, s", tcp=tcp)))
        accuse.append(
            Curve(f"failed probes, {label}", of("failed probes per node and period", tcp=tcp))
        )
    chance = [(100 * loss, probe_failure(loss, CONFIG.indirect_checks)) for loss in losses if loss]
    none = mean(select(runs, loss=0.0, tcp=True), "first suspicion, s")
    clean = [run for run in runs if run.case["loss"] == 0]
    lossy = [run for run in runs if run.case["loss"] <= 0.2 and run.case["tcp"]]
    most = max(run.case["loss"] for run in lossy)
    false = sum(
        r.measured["false positives per node hour"] * r.measured["node hours"] for r in lossy
    )
    return Findings(
        Table(
            ("loss, %", "probes", "first suspicion, s", "first failed, s", "failed everywhere, s",
             "failed probes of healthy members, share", "share in theory, UDP only",
             "false positives per node hour"),
            [
                (f"{100 * loss:g}", label,
                 *(mean(select(runs, loss=loss, tcp=tcp), name) for name in (
                     "first suspicion, s", "first failed, s", "failed everywhere, s",
                     "failed probes per node and period")),
                 probe_failure(loss, CONFIG.indirect_checks),
                 mean(select(runs, loss=loss, tcp=tcp), "false positives per node hour"))
                for tcp, label in FALLBACK.items() for loss in losses if select(runs, loss=loss, tcp=tcp)
            ],
        ),
        [
            Lines("times", f"A machine dies in a pool of {nodes}", "packet loss, %",
                  "time since its death, s",
                  [*detect, Curve("theory: first suspicion, e/(e-1) + 1 periods", flat, theory=True),
                   Curve("... and the shortest suspicion timeout", latest, theory=True)]),
            Lines("accusations", "Probes of healthy members that end in suspicion", "packet loss, %",
                  "share of all probes", [*accuse, Curve("theory, UDP only", chance, theory=True)],
                  log_y=True),
        ],
        [
            Goal("without loss, the first suspicion comes within e/(e-1) + 1 periods on average",
                 f"{none:.2f} s, theory at most {first:.2f} s", none <= first),
            Goal("without loss, nobody is accused",
                 f"{sum(mean([r], 'failed probes per node and period') for r in clean):.0f} failed probes",
                 all(r.measured["failed probes per node and period"] == 0 for r in clean)),
            Goal(f"with up to {100 * most:g} % loss, no healthy member is declared dead",
                 f"{false:.0f} in {sum(r.measured['node hours'] for r in lossy):.3g} node hours",
                 false == 0),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="detection",
    title="Deaths and false accusations under packet loss",
    question="How soon is a dead machine suspected, then failed everywhere, and who else is accused?",
    setup=(
        f"Settled pools, profile `lan`: a probe every {PERIOD:g} s. Some machines go "
        "silent one after the other. Then the rest is watched. Loss hits every packet alike, both ways; "
        "lost segments of TCP come later. Memberlist's fallback ping over TCP is on or off."
    ),
    explanation=(
        "SWIM expects the first ping of a dead member after e/(e-1) = 1.58 periods. That counts whole "
        "periods of a pool in step, each member choosing at random; the failed probe takes one period more. "
        "We are faster by half a period: members probe at phases of their own, and each goes round all "
        "others instead of choosing at random, so the first ping comes after about one period. "
        "From the first suspicion on, time is a matter of confirmations: a second and a third accuser cut the "
        "suspicion from its longest to its shortest length, and loss delays those. "
        "Without TCP the share of failed probes follows (1 - p²)(1 - p⁴)³, p being the chance that a packet passes; "
        "it falls below it at high loss, because a node whose probes fail doubts itself and probes more "
        "slowly, which is counted here per period; for the same reason detection is slower there. "
        "TCP saves nearly all at small loss and less than it might at high loss: it has half a second for several segments, and each "
        "lost one comes 0.2 s later or more. "
        "A suspicion is not yet a false positive: the accused hears of it and refutes."
    ),
    sizes={
        Size.TINY: Plan(grid(nodes=[12], deaths=[2], watch=[10], loss=[0.0, 0.3], tcp=[True])),
        Size.QUICK: Plan(
            grid(nodes=[32], deaths=[8], watch=[60], loss=[0.5, 0.3, 0.2, 0.1, 0.0], tcp=[True, False])
        ),
        Size.FULL: Plan(
            grid(
                nodes=[64], deaths=[8], watch=[600],
                loss=[0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0], tcp=[True, False],
            ),
            10,
        ),
    },
    run=run,
    read=read,
)  # fmt: skip
