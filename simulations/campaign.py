"""Campaign: many seeds, each a pool of its own under faults of its own, and what was found.

    chaos, under the safety checkers --> calm, under the liveness checks --> result

Everything about a run follows from its seed and its length, so a failure is replayed by them.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from simulations.calm import Accuracy, Calm
from simulations.checkers import CHECKERS
from simulations.faults import Faults
from simulations.plan import Plan, Step
from simulations.trace import Trace
from simulations.watch import Watch
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["COVERAGE", "Result", "plan_of", "run_seed", "uncovered"]

SIZES = (1, 2, 3, 5, 8, 16, 32, 64)
WEIGHTS = (1, 3, 4, 5, 5, 3, 2, 1)
"""Small pools find most; large ones cost most."""
COVERAGE = (
    "packets_lost", "packets_duplicated", "packets_reordered", "packets_delayed", "packets_cut",
    "segments_lost", "segments_cut", "streams_in_pieces", "streams_refused", "streams_timed_out",
    "did_partition", "did_cut", "did_kill", "did_leave", "did_join", "did_pause", "did_slow",
    "did_jump", "did_fire", "did_tags", "did_force_leave", "did_ask", "disk_writes_failed", "disks_damaged", "restarts_with_memory",
    "restarts_without", "keys_rotated", "plaintext_injected", "poison_sent", "suspected",
    "declared_dead", "refuted", "stalls", "probes_failed", "name_conflicts", "events_duplicate",
)  # fmt: skip
"""What a campaign has to have seen; one that did not tested less than it says."""
TRACE_LINES = 40


@dataclass
class Result:
    """What came of one seed."""

    seed: int
    nodes: int
    minutes: float
    profile: str
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    """The last lines before the first violation."""
    covered: Counter[str] = field(default_factory=Counter)
    transitions: int = 0
    packets: int = 0
    node_seconds: float = 0.0
    wall_seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    """How long the promises of the calm phase took, by invariant."""
    digest: str = ""
    replay: str = ""
    """The command that does it again."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return found | {"covered": dict(self.covered)}


def plan_of(seed: int, minutes: float) -> tuple[Plan, str]:
    """The plan of a seed, and the name of its kind of trouble."""
    rng = random.Random(f"plan {seed}")
    nodes = rng.choices(SIZES, WEIGHTS)[0]
    profile = rng.choice(("mixed", "mixed", "mixed", "network", "processes", "keys", "poison"))
    seconds = minutes * 60.0
    settings: dict[str, Any] = {
        "dead_node_reclaim_time": rng.choice((0.0, 30.0)),
        "reconnect_timeout": rng.choice((24 * 3600.0, 120.0)),
        "udp_buffer_size": rng.choice((1400, 1400, 65507)),
        "tags": rng.choice(({}, {"role": "web", "dc": "one"})),
    }
    settings["tombstone_timeout"] = settings["reconnect_timeout"]
    if nodes <= 8 and rng.random() < 0.2:
        settings["compress"] = True
    makers = _MAKERS[profile]
    steps: list[Step] = []
    at = 10.0
    while at < seconds - 5:
        make = getattr(_Maker, rng.choice(makers))
        steps.append(make(rng, at, nodes, bool(settings["dead_node_reclaim_time"])))
        at += rng.expovariate(1 / 6.0)
    encrypted = profile == "keys" or rng.random() < 0.3
    return (
        Plan(
            name=f"seed {seed}", nodes=nodes, seconds=seconds, settings=settings,
            encrypted=encrypted, steps=tuple(steps),
        ),
        profile,
    )  # fmt: skip


class _Maker:
    """Draws one step of each kind."""

    @staticmethod
    def some(rng: random.Random, nodes: int) -> str:
        return f"random:{max(1, min(nodes, round(rng.paretovariate(1.5))))}"

    @staticmethod
    def loss(rng: random.Random, at: float, nodes: int, _reclaim: bool) -> Step:  # noqa: FBT001
        who = _Maker.some(rng, nodes) if rng.random() < 0.4 else ""
        rate, seconds = rng.choice((0.05, 0.2, 0.5)), rng.uniform(1, 40)
        return Step(at=at, do="loss", nodes=who, rate=rate, seconds=seconds)

    @staticmethod
    def duplicate(rng: random.Random, at: float, _n: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="duplicate", rate=rng.choice((0.1, 0.5)), seconds=rng.uniform(5, 60))

    @staticmethod
    def reorder(rng: random.Random, at: float, _n: int, _r: bool) -> Step:  # noqa: FBT001
        delay = rng.choice((0.05, 1.0, 20.0))
        return Step(at=at, do="reorder", rate=0.2, delay=delay, seconds=rng.uniform(5, 60))

    @staticmethod
    def delay(rng: random.Random, at: float, _n: int, _r: bool) -> Step:  # noqa: FBT001
        delay, jitter = rng.choice((0.005, 0.1, 0.4)), rng.choice((0.001, 0.05, 0.5))
        return Step(at=at, do="delay", delay=delay, jitter=jitter, seconds=rng.uniform(5, 40))

    @staticmethod
    def cut(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        some, others = _Maker.some(rng, nodes), _Maker.some(rng, nodes)
        return Step(
            at=at, do="cut", nodes=some, to=rng.choice(("all", others)),
            udp_only=rng.random() < 0.3, seconds=rng.uniform(1, 60),
        )  # fmt: skip

    @staticmethod
    def partition(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        half = f"random:{max(1, nodes // 2)}"
        some = rng.choice((half, _Maker.some(rng, nodes)))
        return Step(at=at, do="partition", nodes=some, seconds=rng.choice((3.0, 20.0, 90.0)))

    @staticmethod
    def kill(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="kill", nodes=_Maker.some(rng, nodes), machine=rng.random() < 0.3)

    @staticmethod
    def restart(rng: random.Random, at: float, nodes: int, reclaim: bool) -> Step:  # noqa: FBT001
        who = rng.choice((f"dead:{nodes}", "dead:1", "random:1"))
        moves = reclaim and rng.random() < 0.2
        with_memory = rng.random() < 0.5
        return Step(at=at, do="restart", nodes=who, with_memory=with_memory, new_address=moves)

    @staticmethod
    def leave(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="leave", nodes=rng.choice(("random:1", "random:1", "random:2")))

    @staticmethod
    def join(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        if rng.random() < 0.5:
            return Step(at=at, do="join", nodes=f"late-{rng.randrange(100):02}")
        return Step(at=at, do="join", nodes="node-000", to="random:1")

    @staticmethod
    def pause(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        seconds = rng.choice((0.3, 2.0, 8.0, 45.0)) * rng.uniform(0.5, 1.5)
        return Step(at=at, do="pause", nodes=_Maker.some(rng, nodes), seconds=seconds)

    @staticmethod
    def slow(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        delay = rng.choice((0.005, 0.05, 0.5))
        some = _Maker.some(rng, nodes)
        return Step(at=at, do="slow", nodes=some, delay=delay, seconds=rng.uniform(5, 40))

    @staticmethod
    def jump(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="jump", nodes="random:1", seconds=rng.choice((0.5, 30.0, 4000.0)))

    @staticmethod
    def fire(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        some, payload = _Maker.some(rng, nodes), f"{rng.getrandbits(64):x}"
        return Step(at=at, do="fire", nodes=some, payload=payload, count=rng.choice((1, 1, 20)))

    @staticmethod
    def tags(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        tags = {"v": str(rng.randrange(1000)), "x": "y" * rng.choice((1, 100, 600))}
        return Step(at=at, do="tags", nodes="random:1", tags=tags)

    @staticmethod
    def force_leave(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        to = rng.choice(("dead:1", "dead:1", "random:1"))
        return Step(at=at, do="force_leave", nodes="random:1", to=to, prune=rng.random() < 0.2)

    @staticmethod
    def ask(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="ask", nodes="random:1", payload=f"{rng.getrandbits(32):x}")

    @staticmethod
    def disk_full(rng: random.Random, at: float, nodes: int, _r: bool) -> Step:  # noqa: FBT001
        some = _Maker.some(rng, nodes)
        return Step(at=at, do="disk_full", nodes=some, seconds=rng.uniform(1, 60))

    @staticmethod
    def disk_damage(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="disk_damage", nodes=rng.choice(("dead:1", "random:1")))

    @staticmethod
    def rotate_key(_rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="rotate_key")

    @staticmethod
    def plaintext(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="plaintext", nodes="random:1", count=rng.choice((1, 10)))

    @staticmethod
    def poison(rng: random.Random, at: float, _nodes: int, _r: bool) -> Step:  # noqa: FBT001
        return Step(at=at, do="poison", nodes="random:1", seconds=rng.uniform(5, 30))


_NETWORK = ("loss", "duplicate", "reorder", "delay", "cut", "partition", "fire", "tags")
_PROCESSES = (
    "kill", "restart", "restart", "leave", "join", "pause", "slow", "jump", "fire", "tags",
    "force_leave", "ask", "disk_full", "disk_damage",
)  # fmt: skip
_MAKERS = {
    "mixed": _NETWORK + _PROCESSES,
    "network": _NETWORK,
    "processes": _PROCESSES,
    "keys": ("rotate_key", "plaintext", "restart", "kill", "fire", "pause", "loss"),
    "poison": ("poison", "poison", "fire", "loss", "pause", "restart"),
}


def run_seed(
    seed: int, minutes: float, *, tell: Callable[[str], None] = lambda _step: None
) -> Result:
    """Run one seed, chaos and calm."""
    plan, profile = plan_of(seed, minutes)
    exactly = str(minutes).removesuffix(".0")
    replay = f"python -m simulations campaign --replay {seed} --minutes {exactly}"
    return run_plan(plan, seed, profile=profile, replay=replay, tell=tell)


def run_plan(
    plan: Plan,
    seed: int,
    *,
    profile: str = "plan",
    replay: str = "",
    tell: Callable[[str], None] = lambda _step: None,
) -> Result:
    """Run a plan under all checkers, then the calm phase.

    Args:
        plan: the faults.
        seed: whatever else happens follows from it.
        profile: the kind of trouble, for tables.
        replay: the command that does it again.
        tell: hears how far it is, once per virtual second.
    """
    started = perf_counter()
    honest = not any(step.do == "poison" for step in plan.steps)
    watch = Watch((*CHECKERS, Accuracy), honest=honest)
    trace = Trace()
    world = World(seed, trace=trace, watch=watch)
    faults = Faults(world, plan, random.Random(f"choices {seed}"))
    result = Result(seed, plan.nodes, plan.seconds / 60, profile, replay=replay)
    faults.begin()
    begin = world.now
    end = begin + plan.seconds
    while world.now < end and not watch.violations:
        before = world.now
        tell(f"second {before - begin:.0f} of {plan.seconds:.0f}")
        world.run_to(min(world.now + 1.0, end))
        result.node_seconds += len(world.running()) * (world.now - before)
    if not watch.violations:
        calm_from = world.now
        tell("waiting for calm")
        if honest:
            calm = Calm(watch, faults, random.Random(f"calm {seed}"))
            calm.run()
            result.times = calm.times
        result.node_seconds += len(world.running()) * (world.now - calm_from)
    for host in world.hosts.values():
        world.covered.update(host.node.stats)
    result.covered = world.covered
    result.violations = [str(found) for found in watch.violations]
    if watch.violations:
        first = watch.violations[0]
        result.trace = trace.around(first.at, first.names, TRACE_LINES, keys=faults.keys())
    result.transitions = watch.transitions
    result.packets = world.packets_sent
    result.digest = trace.digest()
    result.wall_seconds = perf_counter() - started
    return result


def uncovered(results: Sequence[Result]) -> list[str]:
    """What no seed of a campaign has exercised."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.covered)
    return [name for name in COVERAGE if not total[name]]
