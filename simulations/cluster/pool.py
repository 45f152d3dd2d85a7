"""The nodes of an experiment: agents as processes, each on a machine of its own where a router is there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any, Final

from gossip.wire.address import join_host_port
from simulations.bench.processes import cpu_seconds
from simulations.cluster.agent import LocalAgent
from simulations.cluster.cluster import DEFAULT_COMMAND
from simulations.cluster.machines import mount_memory
from simulations.faults import FIRST_KEY, SEEDS
from simulations.plan import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from simulations.cluster.machines import Machine, Router
    from simulations.cluster.observe import Observer
    from simulations.local.ports import Ports
    from simulations.plan import Plan

__all__ = ["Host", "Pool", "check_settings"]

GOSSIP_PORT = 7946
"""Of machines with an address of their own."""
DISK = 4 << 20
"""Bytes of the disk of a node, in a plan that fills it."""
START_WITHIN = 60.0
"""Seconds until a process answers; fifty that start at once on two cores take twenty."""
LEAVE_WITHIN = 30.0
"""Seconds until a process that leaves has ended."""
_TUNING: Final = {
    "gossip_interval": True, "gossip_nodes": False, "probe_interval": True, "probe_timeout": True,
    "suspicion_mult": False, "retransmit_mult": False,
}  # fmt: skip
"""Settings of a plan that an agent takes, and whether they are durations."""


def check_settings(plan: Plan) -> None:
    """Raises PlanError for a setting that an agent does not have."""
    known = (*_TUNING, "tags", "reconnect_timeout")
    for name in plan.settings:
        if name not in known:
            raise PlanError(f"settings.{name} cannot be set for processes: {', '.join(known)} can")


class Host:
    """One node.

    Attributes:
        agent: its process.
        machine: where it runs; None is this machine, with ports of its own.
        running: its process is up, or paused; it has not begun to leave.
        leaving: it was asked to leave, and not killed since.
        paused_until: monotonic time until which it is stopped.
        tags: its own ones.
    """

    def __init__(self, agent: LocalAgent, machine: Machine | None, tags: dict[str, str]) -> None:
        self.agent = agent
        self.machine = machine
        self.running = False
        self.leaving = False
        self.paused_until = 0.0
        self.tags = tags

    @property
    def name(self) -> str:
        """Its name."""
        return self.agent.name

    @property
    def address(self) -> str:
        """Its IP address."""
        return self.agent.gossip[0]

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.agent.folder / "data"


class Pool:
    """Starts and ends the nodes of a plan.

    Args:
        plan: says how many, and their settings.
        folder: where data, logs and sockets go; a short path, since sockets have no long ones.
        ports: for nodes that share this machine.
        router: makes machines; None has all nodes share this one.
        observer: follows every node that runs.
    """

    def __init__(
        self, plan: Plan, folder: Path, ports: Ports, router: Router | None, observer: Observer
    ) -> None:
        self.hosts: dict[str, Host] = {}
        self.key = FIRST_KEY
        """The gossip key of nodes that start, if the plan is encrypted."""
        self._plan = plan
        self._folder = folder
        self._ports = ports
        self._router = router
        self._observer = observer
        self._small_disks = any(step.do == "disk_full" for step in plan.steps)

    def running(self) -> list[Host]:
        """The nodes whose process runs, in the order of their first start."""
        return [host for host in self.hosts.values() if host.running]

    def addresses(self) -> dict[str, str]:
        """The address of every node."""
        return {host.name: host.address for host in self.hosts.values()}

    async def begin(self) -> None:
        """Start the plan's nodes at once; they join through the first ones.

        Raises:
            RuntimeError, TimeoutError: one of them did not start.
            OSError: the system refuses a machine or a port.
        """
        hosts = [await self._add(name) for name in self._plan.names]
        seeds = hosts[:SEEDS]
        await asyncio.gather(*(self._start(host, seeds) for host in seeds))
        await asyncio.gather(*(self._start(host, seeds) for host in hosts[SEEDS:]))

    async def start(self, name: str) -> Host:
        """Start a node of a new name; it joins through the oldest ones."""
        host = await self._add(name)
        await self._start(host, self.running()[:SEEDS])
        return host

    async def restart(self, host: Host, *, with_memory: bool, new_address: bool) -> None:
        """Start a node's process again, killing it if it runs."""
        await self.kill(host)
        if new_address:
            assert self._router is not None  # noqa: S101 - checked with the plan
            old = host.machine
            await self._place(host, await self._router.new_machine())
            if old is not None:
                old.close()
        if not with_memory and host.data.exists():
            for entry in host.data.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        await self._start(host, [seed for seed in self.running()[:SEEDS] if seed is not host])

    async def kill(self, host: Host) -> None:
        """End a node's process without a word; one that is about to leave does not get that far."""
        host.running = host.leaving = False
        host.paused_until = 0.0  # the next process of this node is not this one
        self._observer.forget(host.agent)
        if host.agent.process.running:
            await host.agent.process.kill()

    async def leave(self, host: Host) -> None:
        """Have a node leave; its process ends. It may be killed or started again meanwhile."""
        host.running, host.leaving = False, True
        self._observer.forget(host.agent)
        try:
            await host.agent.leave(within=LEAVE_WITHIN)
        except OSError:
            if not host.leaving:
                return
            await host.agent.process.kill()
            raise

    async def set_tags(self, host: Host, tags: dict[str, str]) -> None:
        """Change a node's tags by its configuration; raises `HttpError` when they are refused."""
        before, host.tags = host.tags, tags
        self._write_configuration(host, ())
        try:
            await host.agent.call("PUT", "/v1/agent/reload")
        except OSError:
            host.tags = before
            raise

    async def close(self) -> None:
        """End all processes and give the machines up."""
        await asyncio.gather(*(host.agent.process.close() for host in self.hosts.values()))
        for host in self.hosts.values():
            if host.machine is not None:
                host.machine.close()
        self.hosts.clear()

    def cpu_seconds(self) -> dict[int, float]:
        """Processor time since their start of the processes that run, by process id."""
        found = {}
        for host in self.running():
            pid = host.agent.process.pid
            with contextlib.suppress(OSError):  # it just ended
                found[pid] = cpu_seconds(pid)
        return found

    async def _add(self, name: str) -> Host:
        machine = await self._router.new_machine() if self._router is not None else None
        tags = dict(self._plan.settings.get("tags", {}))
        host = Host(self._agent(name, machine), machine, tags)
        self.hosts[name] = host
        if self._small_disks:
            host.data.mkdir(parents=True, exist_ok=True)
            mount_memory(host.data, DISK)
        return host

    async def _place(self, host: Host, machine: Machine) -> None:
        host.machine = machine
        host.agent = self._agent(host.name, machine)

    def _agent(self, name: str, machine: Machine | None) -> LocalAgent:
        folder = self._folder / name
        place: dict[str, Any] = {"gossip_port": self._ports.take()}
        if machine is not None:
            place = {"gossip_port": GOSSIP_PORT, "host": machine.address, "enter": machine.enter}
        return LocalAgent(
            name,
            DEFAULT_COMMAND,
            http_socket=folder / "http",
            folder=folder,
            arguments=[f"-config-file={folder / 'agent.json'}"],
            **place,
        )

    async def _start(self, host: Host, seeds: Iterable[Host]) -> None:
        self._write_configuration(host, seeds)
        await host.agent.start()
        host.running = True
        self._observer.follow(host.agent)
        await host.agent.ready(START_WITHIN)

    def _write_configuration(self, host: Host, seeds: Iterable[Host]) -> None:
        settings = self._plan.settings
        addresses = [join_host_port(*seed.agent.gossip) for seed in seeds if seed is not host]
        path = host.agent.folder / "agent.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not addresses and path.exists():
            addresses = json.loads(path.read_text())["retry_join"]
        values: dict[str, Any] = {
            "addresses": {"http": host.agent.url},
            "retry_join": addresses,
            "retry_interval": "1s",
            "tags": host.tags,
            "gossip_lan": {
                name: f"{settings[name]}s" if duration else settings[name]
                for name, duration in _TUNING.items()
                if name in settings
            },
        }
        if "reconnect_timeout" in settings:
            values["reconnect_timeout"] = f"{settings['reconnect_timeout']}s"
        if any(step.do == "rotate_key" for step in self._plan.steps):
            # Only servers change keys; without a WAN pool they gossip as the others do.
            values |= {"server": True, "ports": {"serf_wan": -1, "server": -1}}
        if self._plan.encrypted:
            values["encrypt"] = base64.b64encode(self.key).decode()
        path.write_text(json.dumps(values))
