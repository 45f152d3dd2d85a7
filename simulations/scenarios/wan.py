"""Two datacenters: a LAN pool in each, and their servers in a WAN pool across a slow, lossy link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.config import Config
from gossip.events import MemberFailed, MemberStatus, UserEvent
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
from simulations.theory import first_ping_periods
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulations.host import Host
    from simulations.scenario import Case, Measured, Run

__all__ = ["SCENARIO"]

DATACENTERS = ("east", "west")
SERVERS = 3
LIMIT = 300.0
LOOK_EVERY = 0.02
LOSS = 0.01
CUT = 240.0
"""The link is cut for so long, seconds."""
LAN, WAN = Config.lan("x"), Config.wan("x")
WAN_SIZE = SERVERS * len(DATACENTERS)


def profile(name: str, **settings: Any) -> Config:
    """The WAN's settings for servers in the WAN pool, whose names end as Consul's do."""
    make = Config.wan if name.rpartition(".")[2] in DATACENTERS else Config.lan
    return make(name, **settings)


def place_of(host: Host) -> str:
    """The datacenter of a node."""
    return "east" if "east" in host.name else "west"


class _Datacenters:
    """The pools of the experiment."""

    def __init__(self, case: Case, seed: int) -> None:
        self.recorder = Recorder(MemberFailed, UserEvent)
        self.world = World(seed, profile=profile, weather=Weather(loss=LOSS), watch=self.recorder)
        latency = case["latency"]
        self.world.network.distance = lambda a, b: 0.0 if place_of(a) == place_of(b) else latency
        self.lans = {dc: self._lan(dc, case["nodes"]) for dc in DATACENTERS}
        self.wan = [
            self.world.add(f"{host.name}.{dc}", pool="wan")
            for dc, lan in self.lans.items()
            for host in lan[:SERVERS]
        ]
        for server in self.wan[1:]:
            self.world.join(server, self.wan[0])
        for pool in (*self.lans.values(), self.wan):
            self.complete(pool)

    def _lan(self, dc: str, nodes: int) -> list[Host]:
        lan: list[Host] = []
        for number in range(nodes):
            host = self.world.add(f"{dc}-{number}", pool=dc)
            if lan:
                self.world.join(host, lan[0])
            lan.append(host)
        return lan

    def complete(self, pool: list[Host]) -> float:
        """Wait until a pool's views are complete; how long that took."""
        running = [host for host in pool if host.running]

        def agreed() -> bool:
            alive = MemberStatus.ALIVE
            return all(host.node.members.counts[alive] == len(running) for host in running)

        return self.world.run_until(agreed, LIMIT, every=LOOK_EVERY)

    def failures(self, pool: list[Host], subject: str = "") -> list[float]:
        """When members of a pool were told that somebody, or anybody, failed."""
        names = {host.name for host in pool}
        return [
            told.at
            for told in self.recorder.told_events
            if told.observer in names
            and told.kind is MemberFailed
            and subject in {"", told.subject}
        ]


def run(case: Case, seed: int) -> Measured:
    """Watch both pools in peace, then lose a server, then the link."""
    pools = _Datacenters(case, seed)
    world, recorder, (east, west) = pools.world, pools.recorder, pools.lans.values()
    recorder.forget()
    world.run(case["peace"])
    false = len(pools.failures([*east, *west, *pools.wan]))

    world.fire(east[-1], "deploy", b"v2")
    world.run(10.0)
    heard = {told.observer for told in recorder.told_events if told.kind is UserEvent}

    lost = (
        west[SERVERS - 1],
        next(s for s in pools.wan if s.name.startswith(f"west-{SERVERS - 1}.")),
    )
    recorder.forget()
    killed_at = world.now
    for host in lost:
        world.kill(host, machine=True)
    times = {}
    for kind, pool, host in (("LAN", west, lost[0]), ("WAN", pools.wan, lost[1])):
        others = sum(other.running for other in pool)
        name = host.name

        def told_all(pool: list[Host] = pool, name: str = name, others: int = others) -> bool:
            return len(pools.failures(pool, name)) >= others

        world.run_until(told_all, LIMIT, every=LOOK_EVERY)
        times[kind] = max(pools.failures(pool, name)) - killed_at

    recorder.forget()
    world.network.cut("link", lambda a, b: place_of(a) != place_of(b))
    world.run(CUT)
    across = len(pools.failures(pools.wan))
    within = len(pools.failures([*east, *west]))
    world.network.mend()
    healed = pools.complete(pools.wan)
    servers = SERVERS, SERVERS - 1
    return {
        "false positives": false,
        "heard in the other datacenter": sum(host.name in heard for host in west),
        "heard at home, %": 100 * sum(host.name in heard for host in east) / len(east),
        "server failed in its LAN, s": times["LAN"],
        "server failed in the WAN, s": times["WAN"],
        "announced across the cut, %": 100 * across / (2 * servers[0] * servers[1]),
        "announced within a datacenter": within,
        "WAN healed, s": healed,
    }


def read(runs: Sequence[Run]) -> Findings:
    """Times against the latency of the link."""
    latencies = sorted({run.case["latency"] for run in runs})

    def of(name: str) -> list[tuple[float, float]]:
        return [(1000 * d, mean(select(runs, latency=d), name)) for d in latencies]

    def expected(config: Config, nodes: int) -> float:
        periods = first_ping_periods(nodes) + 1
        return periods * config.probe_interval + suspicion_bounds(config, nodes)[1]

    nodes = runs[0].case["nodes"]
    theory = {"LAN": expected(LAN, nodes), "WAN": expected(WAN, WAN_SIZE)}
    curves = [
        Curve("in its LAN", of("server failed in its LAN, s")),
        Curve("in the WAN", of("server failed in the WAN, s")),
        *(
            Curve(
                f"theory, {kind}",
                [(1000 * latencies[0], y), (1000 * latencies[-1], y)],
                theory=True,
            )
            for kind, y in theory.items()
        ),
    ]
    within = sum(run.measured["announced within a datacenter"] for run in runs)
    false = sum(run.measured["false positives"] for run in runs)
    peace = sum(run.case["peace"] for run in runs) * (2 * nodes + WAN_SIZE) / 3600
    abroad = sum(run.measured["heard in the other datacenter"] for run in runs)
    healed = max(run.measured["WAN healed, s"] for run in runs)
    names = ("server failed in its LAN, s", "server failed in the WAN, s",
             "announced across the cut, %", "announced within a datacenter", "WAN healed, s")  # fmt: skip
    return Findings(
        Table(
            ("link, ms one way", *names),
            [(f"{1000 * d:g}", *(mean(select(runs, latency=d), name) for name in names)) for d in latencies],
        ),
        [
            Lines("times", "A server dies", "latency between the datacenters, ms one way",
                  "until all have announced it failed, s", curves, log_x=True),
        ],
        [
            Goal("in peace nobody is announced failed", f"{false:.0f} in {peace:.3g} node hours", false == 0),
            Goal("events stay in their datacenter", f"{abroad:.0f} deliveries abroad", abroad == 0),
            Goal("a cut link makes nobody failed within a datacenter", f"{within:.0f} announcements", within == 0),
            Goal("the WAN is whole again within 75 s after the cut", f"{healed:.1f} s at most", healed <= 75),
        ],
    )  # fmt: skip


SCENARIO = Scenario(
    name="wan",
    title="Two datacenters",
    question="What do a slow link between datacenters, and its loss, do to the pools on both sides?",
    setup=(
        f"Two LAN pools, profile `lan`; {SERVERS} servers of each are in a third pool, profile `wan`. {100 * LOSS:g} % of all "
        f"packets are lost. After a while of peace an event is fired, a server's machine goes silent, "
        f"and then the link is cut for {CUT:g} s."
    ),
    explanation=(
        "The WAN pool probes every 5 s and gives suspects 30 s, so it takes about six times as long as a LAN to "
        "announce a server; what runs on that server is known in its own datacenter long before. "
        "The theory adds the expected first ping of that pool size in step, one period, and the shortest suspicion. "
        "The WAN lies on both sides of it: members probe at phases of their own, which is faster, but in a pool of six a "
        "suspicion is shortest only when all four others have accused too. For the same reason the two or three "
        "servers on one side of a cut take up to 180 s, the longest suspicion, to announce the other side. "
        "The latency itself hardly matters as long as a round trip fits into the probe timeout of 3 s. "
        "A cut makes the WAN pool announce everybody on the other side and the LAN pools nobody; afterwards "
        "it is mended by a reconnect, as a partition of one pool is."
    ),
    sizes={
        Size.TINY: Plan(grid(latency=[0.05], nodes=[4], peace=[10])),
        Size.QUICK: Plan(grid(latency=[0.3, 0.15, 0.05, 0.01], nodes=[20], peace=[120])),
        Size.FULL: Plan(grid(latency=[0.5, 0.3, 0.15, 0.05, 0.01], nodes=[50], peace=[3600]), 5),
    },
    run=run,
    read=read,
)  # fmt: skip
