"""Several of our agents as processes on loopback, started, joined and ended together."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from simulations.cluster.agent import HOST, LocalAgent
from simulations.local.ports import Ports
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

__all__ = ["LocalCluster", "all_see"]

DEFAULT_COMMAND = (sys.executable, "-m", "agent")


class LocalCluster:
    """`size` agents named node1 to nodeN, of one datacenter.

    ``async with`` starts and joins them, and ends them.

    Whatever happens inside, no process outlives the ``async with``: see `simulations.local.process`.

    Example:
        async with LocalCluster(3) as cluster:
            await cluster.agents[0].fire("deploy", b"v2")
            await cluster.agents[2].process.kill()
            await cluster.complete(within=20)  # the two others agree that they are two
    """

    def __init__(
        self,
        size: int,
        *,
        join: bool = True,
        servers: int = 0,
        datacenter: str = "dc1",
        prefix: str = "node",
        http_port: int | None = None,
        arguments: Sequence[str] = (),
        host: str = HOST,
        folder: Path | None = None,
        command: Sequence[str] = DEFAULT_COMMAND,
        start_within: float = 20.0,
    ) -> None:
        """Describe the cluster without starting it.

        Args:
            size: number of agents started by entering.
            join: also join them into one cluster and wait until every view is complete.
            servers: how many of them are servers; the first ones.
            datacenter: name of their datacenter.
            prefix: what the names of agents and folders begin with.
            http_port: HTTP port of the first agent (OSError when taken); the others follow it where
                free. None: any free ports.
            arguments: given to every agent besides names, addresses and folders.
            host: loopback address of all of them, ``::1`` for IPv6.
            folder: where data and logs go and stay; None: a temporary folder, removed at the end.
            command: what starts one agent.
            start_within: seconds for all agents to answer, and again for their views to be complete.
        """
        self.agents: list[LocalAgent] = []
        self.folder = folder or Path()
        self._temporary = folder is None
        self._size = size
        self._join = join
        self._servers = servers
        self.datacenter = datacenter
        self._prefix = prefix
        self._http_port = http_port
        self._host = host
        self._arguments = tuple(arguments)
        self._command = tuple(command)
        self._start_within = start_within
        self._ports = Ports()

    async def __aenter__(self) -> Self:
        if self._temporary:
            self.folder = Path(tempfile.mkdtemp(prefix="gossip-cluster-"))
        try:
            for _ in range(self._size):
                self.add()
            await self.start()
            if self._join and self._size > 1:
                await self.join()
                await self.complete(within=self._start_within)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def add(self, *arguments: str) -> LocalAgent:
        """Describe one more agent (the caller starts it), with `arguments` of its own."""
        number = len(self.agents) + 1
        if self._http_port is not None and number == 1:
            http_port = self._ports.take_exactly(self._http_port)
        else:
            # Following the first one is easy to remember; where taken, anything free does.
            near = None if self._http_port is None else self._http_port + number - 1
            http_port = self._ports.take(near)
        server = number <= self._servers
        role = ["-server", f"-server-port={self._ports.take()}"] if server else []
        agent = LocalAgent(
            f"{self._prefix}{number}",
            self._command,
            http_port=http_port,
            gossip_port=self._ports.take(),
            wan_port=self._ports.take() if server else None,
            folder=self.folder / f"{self._prefix}{number}",
            host=self._host,
            arguments=(f"-datacenter={self.datacenter}", *role, *self._arguments, *arguments),
        )
        self.agents.append(agent)
        return agent

    async def start(self, agents: Iterable[LocalAgent] | None = None) -> None:
        """Start agents (None: all) together and wait until each answers HTTP."""
        starting = list(self.agents if agents is None else agents)
        for agent in starting:
            await agent.start()
        await asyncio.gather(*(agent.ready(self._start_within) for agent in starting))

    async def join(self) -> None:
        """Join every running agent by the first one's gossip address."""
        first, *others = self.running()
        await asyncio.gather(*(agent.join([first.gossip]) for agent in others))

    def servers(self) -> list[LocalAgent]:
        """The agents that are in the WAN pool too and run."""
        return [agent for agent in self.running() if agent.wan is not None]

    def running(self) -> list[LocalAgent]:
        """The agents whose process runs, paused ones included."""
        return [agent for agent in self.agents if agent.process.running]

    async def complete(self, *, within: float) -> None:
        """Wait until every running agent sees exactly the running ones alive.

        Raises:
            TimeoutError: showing what each agent saw instead.
        """
        agents = self.running()
        await all_see(agents, {agent.name for agent in agents}, within=within)

    def logs(self, lines: int = 15) -> str:
        """The end of every agent's log, for a failure message."""
        return "".join(agent.process.tail(lines) for agent in self.agents)

    async def close(self) -> None:
        """Kill every agent, release the ports and remove a temporary folder; safe to call again.

        There is no farewell: nobody remains to hear it. `LocalAgent.leave` is the graceful way.
        """
        try:
            await asyncio.gather(*(agent.process.close() for agent in self.agents))
        finally:
            self._ports.close()
            if self._temporary:
                shutil.rmtree(self.folder, ignore_errors=True)


async def all_see(
    agents: Sequence[LocalAgent], expected: set[str], *, within: float, wan: bool = False
) -> None:
    """Wait until each of some agents sees exactly these members alive, in the WAN pool if so.

    Raises:
        TimeoutError: showing what each agent saw instead.
    """
    views: dict[str, set[str]] = {}

    async def looks() -> bool:
        seen = await asyncio.gather(*(agent.alive(wan=wan) for agent in agents))
        views.update({agent.name: view for agent, view in zip(agents, seen, strict=True)})
        return all(view == expected for view in seen)

    def progress() -> str:
        holes = [
            f"\n  {name} misses {', '.join(sorted(expected - view)) or 'none'}"
            f" and still has {', '.join(sorted(view - expected)) or 'none'}"
            for name, view in views.items()
            if view != expected
        ]
        return f"every agent sees {len(expected)} members alive" + "".join(holes)

    await eventually(looks, within=within, what=progress, every=0.05)
