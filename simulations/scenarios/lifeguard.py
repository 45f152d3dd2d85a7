"""Lifeguard's experiment: some members are slow, and the healthy ones must not be declared dead for it."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING

from gossip.events import MemberFailed
from simulations.blocked import BlockedWorld
from simulations.recorder import Recorder
from simulations.scenario import Bars, Findings, Goal, Plan, Scenario, Size, Table, grid, select
from simulations.switches import ALL, PAPER, Component, only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

SUSPICION_MULT = 5
"""The paper's alpha, and with it three confirmations; memberlist's default is 4."""
AFTER = 20.0
"""Watched on when the last anomaly has ended: accusations may be under way."""
GOAL = 50.0
"""The paper: more than 50 times fewer false positives."""
COMPONENTS: dict[str, frozenset[Component]] = {
    "SWIM": frozenset(),
    "LHA-Probe": frozenset({Component.AWARENESS}),
    "LHA-Suspicion": frozenset({Component.SUSPICION}),
    "Buddy System": frozenset({Component.BUDDY}),
    "Lifeguard": PAPER,
    "Lifeguard, ours": ALL,
    "SWIM, stall guard": frozenset({Component.STALL_GUARD}),
    "SWIM, last word": frozenset({Component.LAST_WORD}),
}
BLOCKED, STOPPED = "messages blocked", "process stopped"


FALSE = "false positives"
COLUMNS = (FALSE, "at healthy members", "slow members announced", "healthy members accused")


def run(case: Case, seed: int) -> Measured:
    """Hamper some members for a while, again and again, and count who is declared dead."""
    recorder = Recorder(MemberFailed)
    with only(COMPONENTS[case["components"]]) as settings:
        world = BlockedWorld(
            case["nodes"], seed, watch=recorder, suspicion_mult=SUSPICION_MULT, **settings
        )
        world.run(5.0)
        hosts = list(world.hosts.values())
        slow = Random(seed).sample(hosts, case["slow"])
        end = world.now + case["seconds"]
        hamper = world.block if case["how"] == BLOCKED else world.pause

        def begin() -> None:
            """All anomalies of a run begin and end together, as the paper's do."""
            if world.now < end:
                for host in slow:
                    hamper(host, case["blocked"])
                world.at(world.now + case["blocked"] + case["between"], begin)

        packets, started = world.packets_sent, world.now
        begin()
        world.run(case["seconds"] + case["blocked"] + AFTER)
    names = {host.name for host in slow}
    false = [t for t in recorder.told_events if t.subject not in names]
    return {
        "false positives": len(false),
        "at healthy members": sum(told.observer not in names for told in false),
        "slow members announced": len(recorder.told_events) - len(false),
        "healthy members accused": sum(
            host.node.stats["refuted"] for host in hosts if host.name not in names
        ),
        "packets/s": (world.packets_sent - packets) / len(hosts) / (world.now - started),
    }


def total(runs: Sequence[Run], name: str) -> float:
    """The sum over runs."""
    return sum(run.measured[name] for run in runs)


def ratio(without: float, with_it: float) -> float:
    """How many times fewer; infinite for none where there were some."""
    return without / with_it if with_it else (inf if without else 1.0)


def fewer(times: float) -> str:
    """The ratio in words."""
    if times == inf:
        return "none is left"
    return f"{times:,.0f} times fewer" if times >= 1.5 else "about as many"


def without(runs: Sequence[Run], some: Sequence[Run]) -> list[Run]:
    """SWIM's runs in the same cases as these."""

    def key(run: Run) -> tuple[object, ...]:
        return (run.seed, *(run.case[name] for name in sorted(run.case) if name != "components"))

    wanted = {key(run) for run in some}
    return [run for run in select(runs, components="SWIM") if key(run) in wanted]


def read(runs: Sequence[Run]) -> Findings:
    """False positives by component, for both kinds of slowness."""
    kinds = [
        (how, name, some)
        for how in (BLOCKED, STOPPED)
        for name in COMPONENTS
        if (some := select(runs, how=how, components=name))
    ]
    rows: list[list[str | float]] = []
    goals = []
    for how, name, some in kinds:
        base, left = total(without(runs, some), FALSE), total(some, FALSE)
        compared = fewer(ratio(base, left)) if base and name != "SWIM" else ""
        rows.append([
            how, name, len(some), *(total(some, column) for column in COLUMNS),
            total(some, "packets/s") / len(some), compared,
        ])  # fmt: skip
        if how == BLOCKED and name.startswith("Lifeguard"):
            text = f"{name}: at least {GOAL:g} times fewer false positives than SWIM"
            found = f"{left:,.0f} instead of {base:,.0f}: {fewer(ratio(base, left))}"
            goals.append(Goal(text, found, base >= GOAL and ratio(base, left) >= GOAL))
        if how == STOPPED and name == "Lifeguard, ours":
            text = "stopped processes make no healthy member failed with everything on"
            goals.append(Goal(text, f"{left:.0f} false positives", left == 0))
    blocked = [(name, some) for how, name, some in kinds if how == BLOCKED]
    most = max(len(some) for _, some in blocked)
    alike = [(name, some) for name, some in blocked if len(some) == most]
    nodes = runs[0].case["nodes"]
    lengths = sorted({run.case["blocked"] for _, some in alike for run in some})
    return Findings(
        Table(("slowness", "components", "runs", *COLUMNS, "packets/s per member", "false positives beside SWIM's"), rows),
        [
            Bars("components", f"Healthy members declared dead in a pool of {nodes}, messages blocked",
                 "false positives: all views, all cases", [name for name, _ in alike],
                 {"false positives": [total(some, FALSE) for _, some in alike],
                  "... of them at healthy members": [total(some, COLUMNS[1]) for _, some in alike]},
                 log_y=True),
            Bars("lengths", "... by the time for which messages are blocked", "false positives: all views",
                 [f"{length:g} s" for length in lengths],
                 {name: [total(select(some, blocked=length), FALSE) for length in lengths]
                  for name, some in alike}, log_y=True),
        ],
        goals,
    )  # fmt: skip


def cases(
    how: str,
    components: Sequence[str],
    *,
    blocked: Sequence[float],
    slow: Sequence[int] = (16,),
    between: Sequence[float] = (0.064,),
    nodes: int = 128,
    seconds: float = 120.0,
) -> list[Case]:
    """Cases of one kind of slowness; `blocked` and `between` are the paper's D and I, seconds."""
    return grid(
        components=components, blocked=blocked, slow=slow, between=between, how=[how],
        nodes=[nodes], seconds=[seconds],
    )  # fmt: skip


EVERY = list(COMPONENTS)
SCENARIO = Scenario(
    name="lifeguard",
    title="Lifeguard: slow members and false positives",
    question="How many healthy members are declared dead because others are slow, and which component helps?",
    setup=(
        f"Settled pools, profile `lan` with the paper's suspicion multiplier of {SUSPICION_MULT} and three confirmations. Some "
        "members are hampered for a time, then run for a moment, again and again and all at once. *Messages "
        "blocked* is the paper's way: what they send and receive waits, their timers run. *Process stopped* is a "
        "SIGSTOP: nothing runs. A false positive is one node announcing one healthy member as failed. Each component is "
        "switched on alone, then all of the paper's, then with our two: a suspect's *last word* (whoever is about to "
        "declare a death tells the suspect first) and the *stall guard* (who wakes from a stop accuses nobody)."
    ),
    explanation=(
        "The paper reports more than 50 times fewer false positives with Lifeguard than with SWIM over its whole grid of "
        "anomalies, and so do we. Absolute numbers cannot be compared: memberlist waits in the middle of a probe when "
        "its messages are blocked, while our timers run on, and a blocked member goes on probing into the "
        "void and accuses one member after the other; that is harder on the healthy. "
        "LHA-Probe has such a member accuse less often, LHA-Suspicion has it wait for accusers that it does "
        "not hear; each helps alone, and together they multiply. While anomalies are shorter than the suspicion (10.5 s) few "
        "accusations outlive them; with longer ones a blocked member declares deaths, "
        "and as all are let go at once, their verdicts reach the healthy before the refutations "
        "do. LHA-Suspicion alone keeps that from the healthy members. "
        "The Buddy System alone gains next to nothing here: eager dissemination brings an accusation to the accused "
        "within milliseconds anyway. The last word is lost on a node whose packets are held up, and helps those who can send. "
        "A process that is stopped as a whole is a different matter: its timers do not run either, so it has at most "
        "one probe in flight when it wakes, and reads the answer that waits in its kernel. No healthy member is even accused, with or "
        "without Lifeguard and the stall guard; the pause experiment with genuine Serf processes found no false positive either. "
        "That a slow member itself is announced as failed is right: it does not answer."
    ),
    sizes={
        Size.TINY: Plan(
            cases(BLOCKED, ["SWIM", "Lifeguard"], blocked=[8.192], slow=[3], nodes=16, seconds=10.0)
        ),
        Size.QUICK: Plan([
            *cases(BLOCKED, EVERY[:6], blocked=[32.768, 8.192], seconds=40.0),
            *cases(BLOCKED, EVERY[6:], blocked=[8.192], seconds=40.0),
            *cases(
                STOPPED, ["SWIM", "SWIM, stall guard", "Lifeguard", "Lifeguard, ours"],
                blocked=[8.192], seconds=40.0,
            ),
        ]),
        Size.FULL: Plan([
            case
            for how in (BLOCKED, STOPPED)
            for case in cases(
                how, EVERY, blocked=[32.768, 8.192, 2.048, 0.128], slow=[32, 8, 1],
                between=[0.001, 0.256, 16.384],
            )
        ]),
    },
    run=run,
    read=read,
)  # fmt: skip
