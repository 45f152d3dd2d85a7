"""Agents whose HTTP interface is measured: each alone in its pool, on one core, leading a full catalog."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from simulations.bench.load import Client, LoadError, Timing, connected, encode, load
from simulations.bench.processes import cpu_seconds
from simulations.cluster.agent import LocalAgent
from simulations.cluster.cluster import DEFAULT_COMMAND
from simulations.local.wait import eventually
from simulations.peers.consul import ConsulAgent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from simulations.local.ports import Ports

__all__ = ["SYSTEMS", "Catalog", "Served", "cores", "served"]

WRITERS = 64
"""Connections that register."""
QUIET = 0.02
"""CPU seconds per second below which a server has nothing to do."""


class Catalog:
    """What is registered: nodes with as many services each, every service with a check.

    The first service of each node is called ``web``; the names of the others have ten instances each.
    """

    def __init__(self, nodes: int, services: int) -> None:
        self.nodes = nodes
        self.services = services

    def service(self, number: int) -> str:
        """The name of a service, counted over all nodes."""
        return f"service-{number % self.names}" if number % self.services else "web"

    @property
    def names(self) -> int:
        """About how many services have another name than ``web``."""
        return max(1, self.nodes * self.services // 10)

    def registrations(self) -> Iterator[bytes]:
        """Bodies for ``/v1/catalog/register``, one per service."""
        for number in range(self.nodes * self.services):
            yield self.registration(number)

    def registration(self, number: int, output: str = "ok") -> bytes:
        """The body that registers one service with its node and a check that says `output`."""
        node, name = number // self.services, self.service(number)
        id_ = f"{name}-{number}"
        body = {
            "Node": f"node-{node}",
            "Address": f"10.{node >> 16}.{node >> 8 & 255}.{node & 255}",
            "Service": {
                "ID": id_,
                "Service": name,
                "Tags": ["primary", "v1"],
                "Port": 8000 + number % self.services,
                "Meta": {"version": "1.2.3"},
            },
            "Check": {
                "CheckID": f"service:{id_}",
                "Name": f"Service '{name}' check",
                "Status": "passing",
                "ServiceID": id_,
                "Output": output,
            },
        }
        return json.dumps(body).encode()


class Served:
    """One running agent."""

    def __init__(self, system: str, agent: LocalAgent) -> None:
        self.system = system
        self.agent = agent
        self.address = agent.http

    def request(self, method: str, target: str, body: bytes = b"") -> bytes:
        """The bytes of a request to it."""
        return encode(self.address, method, target, body)

    def connected(
        self, count: int, ready: Callable[[Client], None] = lambda _: None
    ) -> contextlib.AbstractAsyncContextManager[list[Client]]:
        """So many connections to it, see `simulations.bench.load.connected`."""
        return connected(self.address, count, ready)

    def cpu(self) -> float:
        """CPU seconds that it has used so far."""
        return cpu_seconds(self.agent.process.pid)

    async def fill(self, catalog: Catalog) -> Timing:
        """Register everything."""
        bodies = catalog.registrations()

        def next_request() -> bytes | None:
            body = next(bodies, None)
            return None if body is None else self.request("PUT", "/v1/catalog/register", body)

        async with self.connected(WRITERS) as clients:
            return await load(clients, next_request, within=600)

    async def settled(self, within: float = 30.0) -> None:
        """Wait until it has nothing to do: what was sent has been taken in."""
        every, before = 0.1, self.cpu()

        def quiet() -> bool:
            nonlocal before
            spent, before = self.cpu() - before, self.cpu()
            return spent < QUIET * every

        await eventually(quiet, within=within, what=f"{self.system} has nothing to do", every=every)


def cores() -> tuple[int, int]:
    """The core of the servers and that of the clients; the same one where there is no other."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


@contextlib.contextmanager
def _one_core(core: int) -> Iterator[None]:
    """Have the processes started meanwhile run on this core, which Go is told of too."""
    before, setting = os.sched_getaffinity(0), os.environ.get("GOMAXPROCS")
    os.sched_setaffinity(0, {core})
    os.environ["GOMAXPROCS"] = "1"
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        del os.environ["GOMAXPROCS"]
        if setting is not None:
            os.environ["GOMAXPROCS"] = setting


def _consul(name: str, ports: Ports, folder: Path, settings: str) -> LocalAgent:
    arguments = [f"-config-file={settings}"]
    return ConsulAgent(name, ports=ports, folder=folder, log_level="info", arguments=arguments)


def _agent(name: str, ports: Ports, folder: Path, settings: str) -> LocalAgent:
    return LocalAgent(
        name,
        DEFAULT_COMMAND,
        http_port=ports.take(),
        gossip_port=ports.take(),
        wan_port=ports.take(),
        folder=folder,
        arguments=[
            "-server",
            "-bootstrap",
            f"-server-port={ports.take()}",
            "-log-level=info",
            f"-config-file={settings}",
        ],
    )


def _settings(folder: Path) -> str:
    """A file that lifts a limit: this is one client with a thousand connections, and both allow 200."""
    folder.mkdir()
    path = folder / "limits.json"
    path.write_text(json.dumps({"limits": {"http_max_conns_per_client": 0}}))
    return str(path)


SYSTEMS: dict[str, Callable[[str, Ports, Path, str], LocalAgent]] = {
    "consul": _consul,
    "agent": _agent,
}
"""What can be measured: genuine Consul and our agent."""


@contextlib.asynccontextmanager
async def served(system: str, ports: Ports, folder: Path) -> AsyncIterator[Served]:
    """A server of this system that leads its datacenter, on the core of the servers."""
    agent = SYSTEMS[system](system, ports, folder, _settings(folder))
    try:
        with _one_core(cores()[0]):
            await agent.start()
        await agent.ready(30.0)

        async def leads() -> bool:
            return bool((await agent.call("GET", "/v1/status/leader", within=2.0)).json())

        await eventually(leads, within=30.0, what=lambda: f"it leads{agent.process.tail()}")
        yield Served(system, agent)
    except (TimeoutError, LoadError) as error:
        error.add_note(agent.process.tail())
        raise
    finally:
        await agent.process.close()
