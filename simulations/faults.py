"""Runs a plan in a simulated world: what each action of `simulations.plan` does to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gossip.errors import ConfigError, LimitError
from gossip.serf.leave import Lifecycle
from gossip.swim.members import NodeInfo, Status
from gossip.wire.keyring import Keyring
from gossip.wire.messages import Dead, Ping
from simulations.disk import Disk
from simulations.network import Weather
from simulations.plan import select
from simulations.poison import Poisoner

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from simulations.host import Host
    from simulations.plan import Plan, Step
    from simulations.world import World

__all__ = ["FIRST_KEY", "SEEDS", "Faults", "stranger_packet"]

FIRST_KEY = b"the first key of"
SEEDS = 3
JOIN_RETRY = 5.0
SEED_CHECK = 60.0
"""A process looks for its seeds so often, alone and in company, seconds."""
ROTATION_PAUSE = 5.0
"""Between installing a key everywhere and using it, and again before the old one is removed."""
POISON_PER_SECOND = 10.0


class Faults:
    """A plan in the course of being carried out.

    Args:
        world: where.
        plan: what; its nodes are started and joined by `begin`.
        rng: draws whom ``random:N`` means.
        pool: which pool the nodes belong to.
    """

    def __init__(self, world: World, plan: Plan, rng: Random, *, pool: str = "") -> None:
        self.world = world
        self.plan = plan
        self.pool = pool
        self.actions = 0
        self._rng = rng
        self._key = FIRST_KEY
        self._keys = 0
        self._cuts = 0
        self._heals = 0
        self._steps: dict[str, Callable[[Step], None]] = {
            name.removeprefix("_do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_do_")
        }

    # Nodes

    def start_node(self, name: str) -> Host:
        """Start a node of the plan's pool."""
        return self.world.add(
            name, pool=self.pool, keyring=self._keyring(), disk=Disk(), **self.plan.settings
        )

    def begin(self) -> None:
        """Start the plan's nodes, join them, and book its steps from now on."""
        self.start_nodes()
        self.book_steps()

    def start_nodes(self) -> None:
        """Start the plan's nodes and have them join."""
        hosts = [self.start_node(name) for name in self.plan.names]
        for host in hosts:
            self.stay_joined(host)

    def book_steps(self) -> None:
        """Have the plan's steps happen from now on."""
        for step in self.plan.steps:
            self.world.at(self.world.now + step.at, self.do, step)

    def stay_joined(self, host: Host, *, again: bool = False) -> None:
        """Try seeds that are missing from the host's pool, for as long as it runs.

        As an agent with ``retry_join`` does (agent/seeds.py): often while alone, else rarely. The seeds
        are the oldest processes that run, as a service registry would tell.
        """
        if not host.running or host.node.lifecycle is not Lifecycle.ALIVE:
            return
        table = host.node.membership.table
        missing = []
        for seed in self._running()[:SEEDS]:
            record = table.get(seed.name)
            if seed is not host and (record is None or record.status is not Status.ALIVE):
                missing.append(seed.address)
        if missing:
            self.world.give(
                host,
                lambda: host.node.join(missing, self.world.time_of(host), ignore_old=not again),
            )
        pause = JOIN_RETRY if table.alive <= 1 else SEED_CHECK
        again = again or table.alive > 1
        self.world.at(self.world.now + pause, partial(self.stay_joined, again=again), host)

    def do(self, step: Step) -> None:
        """Carry out one step now."""
        self.actions += 1
        self.world.covered[f"did_{step.do}"] += 1
        self.world.note("plan", step.nodes, step.to, text=step.do)
        self._steps[step.do](step)

    def heal(self) -> None:
        """End all faults of the network and of the machines; whoever is dead stays dead."""
        world = self.world
        self._heals += 1
        world.network.mend()
        world.network.weather = Weather()
        for host in world.hosts.values():
            if host.disk is not None:
                host.disk.full = False
            host.loss_in = host.loss_out = host.delay = host.slowness = 0.0
            world.resume(host)

    def _running(self) -> list[Host]:
        return [host for host in self.world.running() if host.pool == self.pool]

    def _chosen(self, selector: str) -> list[Host]:
        hosts = [host for host in self.world.hosts.values() if host.pool == self.pool]
        running = [host.name for host in hosts if host.running]
        dead = [host.name for host in hosts if not host.running]
        return [self.world.hosts[name] for name in select(selector, running, dead, self._rng)]

    def _chosen_running(self, selector: str) -> list[Host]:
        return [host for host in self._chosen(selector) if host.running]

    def _keyring(self) -> Keyring | None:
        return Keyring([self._key]) if self.plan.encrypted else None

    def _later(self, seconds: float, action: Callable[..., object], *args: object) -> None:
        """End a fault after its time, unless all faults have been ended before."""
        heals = self._heals

        def end() -> None:
            if self._heals == heals:
                action(*args)

        if seconds:
            self.world.at(self.world.now + seconds, end)

    # Processes

    def _do_join(self, step: Step) -> None:
        known = {host.name for host in self._chosen("all")}
        for name in step.names():
            if name not in known:
                self.stay_joined(self.start_node(name))
            elif peers := self._chosen_running(step.to or "random:1"):
                self.world.join(self.world.hosts[name], *peers)

    def _do_leave(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            self.world.leave(host)

    def _do_force_leave(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            for target in self._chosen(step.to):
                self.world.force_leave(host, target.name, prune=step.prune)

    def _do_kill(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            self.world.kill(host, machine=step.machine)

    def _do_restart(self, step: Step) -> None:
        for host in self._chosen(step.nodes):
            ip = self.world.new_address() if step.new_address else None
            new = self.world.restart(
                host, ip=ip, with_memory=step.with_memory, keyring=self._keyring(),
                **self.plan.settings,
            )  # fmt: skip
            remembered = step.with_memory and any(new.resumed or ())
            self.world.covered["restarts_with_memory" if remembered else "restarts_without"] += 1
            self.stay_joined(new)

    def _do_pause(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            self.world.pause(host, step.seconds)

    def _do_slow(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            host.slowness = step.delay
            self._later(step.seconds, setattr, host, "slowness", 0.0)

    def _do_jump(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            self.world.jump(host, step.seconds)

    def _do_disk_full(self, step: Step) -> None:
        for host in self._chosen(step.nodes):
            if (disk := host.disk) is not None:
                disk.full = True
                self._later(step.seconds, setattr, disk, "full", False)  # noqa: FBT003

    def _do_disk_damage(self, step: Step) -> None:
        for host in self._chosen(step.nodes):
            if host.disk is not None:
                host.disk.damage(self._rng)
                self.world.covered["disks_damaged"] += 1

    # What applications do

    def _do_ask(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            self.world.ask(host, step.name, step.payload.encode(), request_ack=True)

    def _do_fire(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            for _ in range(step.count):
                try:
                    self.world.fire(host, step.name, step.payload.encode())
                except LimitError:
                    self.world.covered["events_refused"] += 1

    def _do_tags(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            try:
                self.world.set_tags(host, step.tags)
            except ConfigError:
                self.world.covered["tags_refused"] += 1

    # The network

    def _do_loss(self, step: Step) -> None:
        if not step.nodes:
            self._weather("loss", step.rate, step.seconds)
            return
        for host in self._chosen_running(step.nodes):
            host.loss_in = step.rate
            self._later(step.seconds, setattr, host, "loss_in", 0.0)

    def _do_duplicate(self, step: Step) -> None:
        self._weather("duplicate", step.rate, step.seconds)

    def _do_reorder(self, step: Step) -> None:
        self.world.network.weather.reorder_delay = step.delay or 0.05
        self._weather("reorder", step.rate, step.seconds)

    def _do_delay(self, step: Step) -> None:
        self._weather("latency", step.delay, step.seconds)
        self._weather("jitter", step.jitter, step.seconds)

    def _weather(self, what: str, value: float, seconds: float) -> None:
        weather = self.world.network.weather
        setattr(weather, what, value)
        self._later(seconds, setattr, weather, what, getattr(Weather(), what))

    def _do_cut(self, step: Step) -> None:
        sources = frozenset(host.name for host in self._chosen(step.nodes))
        targets = frozenset(host.name for host in self._chosen(step.to))
        key = self._next_cut()
        self.world.network.cut(
            key, lambda a, b: a.name in sources and b.name in targets, udp_only=step.udp_only
        )
        self._later(step.seconds, self.world.network.mend, key)

    def _do_partition(self, step: Step) -> None:
        groups = [{host.name for host in self._chosen(step.nodes)}]
        if step.to:
            groups.append({host.name for host in self._chosen(step.to)} - groups[0])
        key = self._next_cut()
        self.world.network.partition(key, groups)
        self._later(step.seconds, self.world.network.mend, key)

    def _do_heal(self, _step: Step) -> None:
        self.heal()

    def _next_cut(self) -> str:
        self._cuts += 1
        return f"{self.pool}/{self._cuts}"

    # Keys and enemies

    def _do_rotate_key(self, _step: Step) -> None:
        """Install a key everywhere, use it, remove the old one, as an operator does."""
        old = self._key
        self._keys += 1
        new = b"key %012d" % self._keys
        for host in self._running():
            self._ring(host).install(new)
        self.world.at(self.world.now + ROTATION_PAUSE, self._use_key, old, new)

    def _use_key(self, old: bytes, new: bytes) -> None:
        self._key = new
        for host in self._running():
            ring = self._ring(host)
            ring.install(new)  # those that started meanwhile
            ring.install(old)
            ring.use(new)
        self.world.at(self.world.now + ROTATION_PAUSE, self._remove_key, old)

    def _remove_key(self, old: bytes) -> None:
        for host in self._running():
            ring = self._ring(host)
            if ring.primary != old:
                ring.remove(old)
        self.world.covered["keys_rotated"] += 1

    def keys(self) -> list[bytes]:
        """Every key that the pool has had."""
        if not self.plan.encrypted:
            return []
        return [FIRST_KEY, *(b"key %012d" % n for n in range(1, self._keys + 1))]

    @staticmethod
    def _ring(host: Host) -> Keyring:
        assert host.node.keyring is not None  # noqa: S101 - the plan is encrypted
        return host.node.keyring

    def _do_plaintext(self, step: Step) -> None:
        """A stranger sends pings, and what would be news."""
        for host in self._chosen_running(step.nodes):
            own: NodeInfo = host.node.membership.own.info
            others = [h for h in self._running() if h is not host] or [host]
            for _ in range(step.count):
                victim = self._rng.choice(others)
                self.world.covered["plaintext_injected"] += 1
                self.world.inject(host, stranger_packet(victim.name, own.name, self._rng))
                if not host.running:
                    break

    def _do_poison(self, step: Step) -> None:
        for host in self._chosen_running(step.nodes):
            rate = POISON_PER_SECOND * (step.rate or 1.0)
            until = self.world.now + (step.seconds or self.plan.seconds)
            Poisoner(self.world, host, self._rng, rate, until).start()


def stranger_packet(victim: str, reader: str, rng: Random) -> bytes:
    """What a stranger without a key may send to `reader`: a ping, or the news that `victim` is dead."""
    message: Dead | Ping = Dead(1 + rng.randrange(5), victim, reader)
    if rng.random() < 0.5:
        message = Ping(rng.getrandbits(32), reader)
    return message.encode()
