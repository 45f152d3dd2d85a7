"""Carries out the steps of a plan on real processes: what `simulations.faults` does in virtual time.

Processes are stopped, resumed, killed and started by signals; what applications do goes through the HTTP
API; loss and cuts are rules of the kernel, see `nftables`; delay, reordering and duplication are done by
the `relay`. What cannot be done to a real process is refused before anything starts.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from simulations.cluster.network import among
from simulations.cluster.nftables import Rule
from simulations.cluster.pool import check_settings
from simulations.disk import damaged
from simulations.faults import stranger_packet
from simulations.plan import PlanError, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from simulations.cluster.network import Network
    from simulations.cluster.observe import Observer
    from simulations.cluster.pool import Host, Pool
    from simulations.cluster.record import Record
    from simulations.plan import Plan, Step

__all__ = ["RealFaults", "check", "needs_machines", "needs_mounts", "needs_relay"]

MAX_PROCESSES = 500
"""Nodes of a plan: what a large machine can start within the time that the join may take."""
_IMPOSSIBLE: Final = {
    "slow": "a process cannot be made to take longer over each input",
    "jump": "the clock of a running machine cannot be moved",
    "poison": "a member that lies is no process of ours",
}
_ON_THE_NETWORK = frozenset({"loss", "duplicate", "reorder", "delay", "cut", "partition"})
_BY_THE_RELAY = frozenset({"duplicate", "reorder", "delay"})
_REORDER_DELAY = 0.05


def check(plan: Plan) -> None:
    """Raises PlanError naming the first step or setting that cannot be done to processes."""
    if plan.nodes > MAX_PROCESSES:
        raise PlanError(
            f"nodes {plan.nodes} are more than the {MAX_PROCESSES} that can be processes"
        )
    check_settings(plan)
    for number, step in enumerate(plan.steps):
        if reason := _IMPOSSIBLE.get(step.do):
            raise PlanError(f"steps[{number}]: {step.do} is for the simulator only, {reason}")


def needs_machines(plan: Plan) -> str:
    """The first step that needs network namespaces or mounts, as text; empty when none does."""
    for number, step in enumerate(plan.steps):
        if step.do in _ON_THE_NETWORK or step.do == "disk_full" or step.machine or step.new_address:
            extra = " of a machine" * step.machine + " with new_address" * step.new_address
            return f"steps[{number}]: {step.do}{extra}"
    return ""


def needs_relay(plan: Plan) -> str:
    """The first step that delays, reorders or duplicates packets, as text; empty when none does."""
    for number, step in enumerate(plan.steps):
        if step.do in _BY_THE_RELAY:
            return f"steps[{number}]: {step.do}"
    return ""


def needs_mounts(plan: Plan) -> bool:
    """Whether some step fills a disk."""
    return any(step.do == "disk_full" for step in plan.steps)


class RealFaults:
    """Does steps of a checked plan, one by one.

    Args:
        pool: the nodes.
        network: between them.
        observer: tells the time.
        record: gets what was done to whom.
    """

    def __init__(self, pool: Pool, network: Network, observer: Observer, record: Record) -> None:
        self._pool = pool
        self._network = network
        self._observer = observer
        self._record = record
        self._rng = random.Random("choices 1")
        self._heals = 0
        self._cuts = 0
        self._keys = 0
        self._ends: set[asyncio.Task[None]] = set()
        self._steps: dict[str, Callable[[Step], Awaitable[Iterable[Host]]]] = {
            name.removeprefix("_do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_do_")
        }

    async def close(self) -> None:
        """Drop whatever was to end later."""
        for task in self._ends:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def do(self, step: Step) -> None:
        """Carry out one step now; one that does not work is recorded, since others may depend on it."""
        at = self._observer.now
        try:
            whom = list(await self._steps[step.do](step))
        except (OSError, RuntimeError) as error:
            self._record.problems.append(f"{at:.1f} s {step.do} {step.nodes}: {error}")
            return
        self._record.did(at, at + step.lasting, step.do, [host.name for host in whom])

    # Whom and when

    def _chosen(self, selector: str) -> list[Host]:
        hosts = self._pool.hosts
        running = [host.name for host in hosts.values() if host.running]
        dead = [host.name for host in hosts.values() if not host.running]
        return [hosts[name] for name in select(selector, running, dead, self._rng)]

    def _chosen_running(self, selector: str) -> list[Host]:
        return [host for host in self._chosen(selector) if host.running]

    def _later(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """End a fault after its time, unless all faults have been ended before."""
        heals = self._heals

        async def end() -> None:
            await asyncio.sleep(seconds)
            if self._heals == heals:
                await action()

        if seconds:
            task = asyncio.create_task(end())
            self._ends.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ends.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._record.problems.append(f"{self._observer.now:.1f} s end of a fault: {error}")

    # Processes

    async def _do_join(self, step: Step) -> list[Host]:
        joined = []
        for name in step.names():
            host = self._pool.hosts.get(name)
            if host is None:
                self._record.began(name, self._observer.now)
                joined.append(await self._pool.start(name))
            elif not host.running:
                await self._restart(host, step)
                joined.append(host)
            elif peers := self._chosen_running(step.to or "random:1"):
                await host.agent.join([peer.agent.gossip for peer in peers])
                joined.append(host)
        return joined

    async def _do_leave(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        for host in hosts:
            self._record.ended(host.name, self._observer.now, "leave")
        await asyncio.gather(*(self._pool.leave(host) for host in hosts))
        return hosts

    async def _do_force_leave(self, step: Step) -> list[Host]:
        targets = self._chosen(step.to)
        for host in self._chosen_running(step.nodes):
            for target in targets:
                name = quote(target.name, safe="")
                prune = "?prune=1" if step.prune else ""
                await host.agent.call("PUT", f"/v1/agent/force-leave/{name}{prune}")
        return targets

    async def _do_kill(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        if step.machine:
            self._network.bury(host.name for host in hosts)
        for host in hosts:
            self._record.ended(host.name, self._observer.now, "kill")
        await asyncio.gather(*(self._pool.kill(host) for host in hosts))
        return hosts

    async def _do_restart(self, step: Step) -> list[Host]:
        hosts = self._chosen(step.nodes)
        self._network.revive(host.name for host in hosts)
        await asyncio.gather(*(self._restart(host, step) for host in hosts))
        return hosts

    async def _restart(self, host: Host, step: Step) -> None:
        if host.running:
            self._record.ended(host.name, self._observer.now, "restart")
        self._record.began(host.name, self._observer.now)
        await self._pool.restart(host, with_memory=step.with_memory, new_address=step.new_address)

    async def _do_pause(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        loop = asyncio.get_running_loop()
        for host in hosts:
            host.agent.process.pause()
            host.paused_until = max(host.paused_until, loop.time() + step.seconds)
            now = self._observer.now
            self._record.paused(host.name, now, now + step.seconds)
            self._later(step.seconds, lambda host=host: self._resume(host))  # type: ignore[misc]  # a bound default
        return hosts

    async def _resume(self, host: Host) -> None:
        if asyncio.get_running_loop().time() >= host.paused_until - 0.001:
            host.agent.process.resume()

    async def _do_disk_full(self, step: Step) -> list[Host]:
        hosts = self._chosen(step.nodes)
        for host in hosts:
            with contextlib.suppress(OSError), (host.data / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(4096))
                    filler.flush()
        self._later(step.seconds, lambda: self._empty_disks(hosts))
        return hosts

    @staticmethod
    async def _empty_disks(hosts: Iterable[Host]) -> None:
        for host in hosts:
            (host.data / "filler").unlink(missing_ok=True)

    async def _do_disk_damage(self, step: Step) -> list[Host]:
        hosts = self._chosen(step.nodes)
        for host in hosts:
            path = host.data / "serf" / "local.snapshot"
            if path.exists():
                path.write_bytes(damaged(path.read_bytes(), self._rng))
        return hosts

    # What applications do

    async def _do_ask(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        path = f"/v1/agent/query/{quote(step.name)}?ack=1"
        body = step.payload.encode()
        await asyncio.gather(*(host.agent.call("PUT", path, body, within=60) for host in hosts))
        return hosts

    async def _do_fire(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        await asyncio.gather(*(self._fire(host, step) for host in hosts))
        return hosts

    async def _fire(self, host: Host, step: Step) -> None:
        for _ in range(step.count):
            at = self._observer.now
            key = await host.agent.fire(step.name, step.payload.encode())
            self._record.fired(key, step.name, host.name, at)

    async def _do_tags(self, step: Step) -> list[Host]:
        hosts = self._chosen_running(step.nodes)
        for host in hosts:
            await self._pool.set_tags(host, step.tags)
        return hosts

    # The network

    async def _do_loss(self, step: Step) -> list[Host]:
        if not step.nodes:
            self._put_rules({"loss": [Rule(rate=step.rate)]}, step.seconds)
            return []
        hosts = self._chosen_running(step.nodes)
        rules = {
            f"loss {host.name}": [Rule(target=among([host.name]), rate=step.rate)] for host in hosts
        }
        self._put_rules(rules, step.seconds)
        return hosts

    async def _do_cut(self, step: Step) -> list[Host]:
        sources = self._chosen(step.nodes)
        targets = among(host.name for host in self._chosen(step.to))
        source = among(host.name for host in sources)
        rule = Rule(source=source, target=targets, udp_only=step.udp_only)
        self._put_rules({self._next_cut(): [rule]}, step.seconds)
        return sources

    async def _do_partition(self, step: Step) -> list[Host]:
        hosts = self._chosen(step.nodes)
        groups = [{host.name for host in hosts}]
        if step.to:
            groups.append({host.name for host in self._chosen(step.to)} - groups[0])
        rules = []
        for group in groups:
            inside, outside = among(group), among(group, all_but=True)
            rules += [Rule(source=inside, target=outside), Rule(source=outside, target=inside)]
        self._put_rules({self._next_cut(): rules}, step.seconds)
        return hosts

    async def _do_heal(self, _step: Step) -> list[Host]:
        await self.heal()
        return []

    async def heal(self) -> None:
        """End all faults of the network and of the machines; whoever is dead stays dead."""
        self._heals += 1
        await self._network.heal()
        await self._empty_disks(self._pool.hosts.values())
        for host in self._pool.running():
            host.paused_until = 0.0
            host.agent.process.resume()

    def _put_rules(self, faults: dict[str, list[Rule]], seconds: float) -> None:
        for name, rules in faults.items():
            self._network.put(name, *rules)

        async def end() -> None:
            self._network.remove(*faults)

        self._later(seconds, end)

    def _next_cut(self) -> str:
        self._cuts += 1
        return f"cut {self._cuts}"

    async def _do_duplicate(self, step: Step) -> list[Host]:
        return await self._change_weather(step.seconds, duplicate=step.rate)

    async def _do_reorder(self, step: Step) -> list[Host]:
        delay = step.delay or _REORDER_DELAY
        return await self._change_weather(step.seconds, reorder=step.rate, reorder_delay=delay)

    async def _do_delay(self, step: Step) -> list[Host]:
        return await self._change_weather(step.seconds, latency=step.delay, jitter=step.jitter)

    async def _change_weather(self, seconds: float, **fields: float) -> list[Host]:
        await self._network.change_weather(**fields)
        self._later(seconds, lambda: self._network.calm(*fields))
        return []

    # Keys and enemies

    async def _do_rotate_key(self, _step: Step) -> list[Host]:
        """Install a key everywhere, use it, remove the old one; each is confirmed by every node."""
        self._keys += 1
        old, self._pool.key = self._pool.key, b"key %012d" % self._keys
        await self._keyring("POST", self._pool.key)
        await self._keyring("PUT", self._pool.key)
        await self._keyring("DELETE", old)
        return self._pool.running()

    async def _keyring(self, method: str, key: bytes) -> None:
        body = json.dumps({"Key": base64.b64encode(key).decode()}).encode()
        for host in self._pool.running()[:1]:  # nobody may be left
            await host.agent.call(method, "/v1/operator/keyring", body, within=60)

    async def _do_plaintext(self, step: Step) -> list[Host]:
        """A stranger sends pings, and what would be news."""
        hosts = self._chosen_running(step.nodes)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for host in hosts:
                others = [other for other in self._pool.running() if other is not host] or [host]
                for _ in range(step.count):
                    victim = self._rng.choice(others).name
                    stranger.sendto(
                        stranger_packet(victim, host.name, self._rng), host.agent.gossip
                    )
        return hosts
