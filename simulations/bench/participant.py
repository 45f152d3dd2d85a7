"""One observed agent of any kind, behind the same interface: what the figures are measured through."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING

from simulations.bench.news import Kind, News, NewsFeed, json_news, log_news
from simulations.cluster.agent import HOST, LocalAgent
from simulations.cluster.cluster import DEFAULT_COMMAND
from simulations.local.http import HttpError
from simulations.local.process import Process
from simulations.local.wait import eventually
from simulations.peers.consul import ConsulAgent
from simulations.peers.serf import SerfAgent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulations.local.ports import Ports

__all__ = ["SYSTEMS", "Participant"]

START_WITHIN = 20.0
CONNECTIONS = 64
"""Requests to one agent at a time; Consul takes 200 connections from one client."""
RETRY_AFTER = 0.02
"""Seconds until a client asks again that was told to come back later."""


class Participant(ABC):
    """An agent process whose news are collected in `news` from its start on."""

    name: str
    gossip: tuple[str, int]
    process: Process
    news: NewsFeed

    @abstractmethod
    async def start(self) -> None:
        """Start it and return with its first answer to a client."""

    @abstractmethod
    async def join(self, address: tuple[str, int]) -> None:
        """Join by one member's gossip address; returns when the exchange is done."""

    @abstractmethod
    async def fire(self, name: str, payload: bytes) -> None:
        """Broadcast a user event; the request is on its way before the first suspension."""

    @abstractmethod
    async def leave(self) -> None:
        """Leave gracefully; returns when the request is answered or the process ends."""

    async def close(self) -> None:
        """End the process."""
        await self.process.close()


class SerfParticipant(Participant):
    """A genuine Serf agent, driven through its RPC."""

    def __init__(self, name: str, ports: Ports, folder: Path) -> None:
        self.news = NewsFeed(log_news)
        self._agent = SerfAgent(
            name,
            port=ports.take(),
            rpc_port=ports.take(),
            folder=folder,
            log_level="info",
            watch=self.news.watch,
        )
        self.name, self.gossip, self.process = name, self._agent.gossip, self._agent.process

    async def start(self) -> None:
        await self._agent.start(START_WITHIN)

    async def join(self, address: tuple[str, int]) -> None:
        await self._agent.join([address])

    async def fire(self, name: str, payload: bytes) -> None:
        await self._agent.rpc.fire(name, payload)

    async def queued(self, queue: str) -> int:
        """How many broadcasts wait in its ``event``, ``intent`` or ``query`` queue."""
        return int((await self._agent.rpc.stats())["serf"][f"{queue}_queue"])

    async def leave(self) -> None:
        await self._agent.rpc.leave()

    async def close(self) -> None:
        await self._agent.close()


class HttpParticipant(Participant):
    """An agent driven through Consul's HTTP API, observed through its log."""

    def __init__(self, agent: LocalAgent, news: NewsFeed) -> None:
        self.news = news
        self._agent = agent
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self.name, self.gossip, self.process = agent.name, agent.gossip, agent.process

    async def start(self) -> None:
        await self._agent.start()
        await self._agent.ready(START_WITHIN)

    async def join(self, address: tuple[str, int]) -> None:
        await self._agent.join([address])

    async def fire(self, name: str, payload: bytes) -> None:
        async with self._connections:
            while True:
                try:
                    await self._agent.fire(name, payload)
                except HttpError as error:
                    if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                        raise
                    await asyncio.sleep(RETRY_AFTER)
                else:
                    return

    async def leave(self) -> None:
        await self._agent.call("PUT", "/v1/agent/leave")


class AgentParticipant(HttpParticipant):
    """Our full agent."""

    def __init__(self, name: str, ports: Ports, folder: Path) -> None:
        news = NewsFeed(log_news)
        agent = LocalAgent(
            name,
            DEFAULT_COMMAND,
            http_port=ports.take(),
            gossip_port=ports.take(),
            folder=folder / name,
            arguments=["-log-level=debug"],
            watch=news.watch,
        )
        super().__init__(agent, news)

    async def start(self) -> None:
        await super().start()
        # Its log tells about others only, the views of Serf and Consul contain themselves.
        self.news.add(News(time.monotonic(), Kind.JOINED, self.name))


class ConsulParticipant(HttpParticipant):
    """A genuine Consul agent: the pool's first is its server, the others are clients."""

    def __init__(self, name: str, ports: Ports, folder: Path) -> None:
        news = NewsFeed(log_news)
        agent = ConsulAgent(
            name, ports=ports, folder=folder / name, server=name.endswith("-1"), watch=news.watch
        )
        super().__init__(agent, news)


class NodeParticipant(Participant):
    """Our library without the agent around it: ``python -m simulations.bench.node``."""

    def __init__(self, name: str, ports: Ports, folder: Path) -> None:
        self.news = NewsFeed(json_news)
        self.gossip = (HOST, ports.take())
        self.name = name
        self.process = Process(
            name,
            [DEFAULT_COMMAND[0], "-m", "simulations.bench.node", name, str(self.gossip[1])],
            log=folder / f"{name}.log",
            watch=self._watch,
            commanded=True,
        )
        self._rest = b""
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._turn = asyncio.Lock()

    def _watch(self, at: float, output: bytes) -> None:
        """Answers to commands are taken out at once, news are kept for later."""
        self.news.watch(at, output)
        lines, _, self._rest = (self._rest + output).rpartition(b"\n")
        if b"=" in lines:
            for line in lines.splitlines():
                if line.startswith(b"="):
                    self._answers.put_nowait(line[1:])

    async def _answer(self, within: float) -> bytes:
        async def received() -> bytes:
            if not self.process.running and self._answers.empty():
                raise RuntimeError(f"{self.name} ended{self.process.tail()}")
            async with asyncio.timeout(0.2):
                return await self._answers.get()

        return await eventually(
            received,
            within=within,
            what=lambda: f"{self.name} answers{self.process.tail()}",
            every=0,
        )

    async def _command(self, line: str, within: float) -> None:
        async with self._turn:
            self.process.send(line)
            answer = await self._answer(within)
            if answer != b"ok":
                raise OSError(f"{self.name}: {line}: {answer.decode(errors='replace')}")

    async def start(self) -> None:
        await self.process.start()
        await self._answer(START_WITHIN)

    async def join(self, address: tuple[str, int]) -> None:
        await self._command(f"join {address[0]}:{address[1]}", 15)

    async def fire(self, name: str, payload: bytes) -> None:
        self.process.send(f"fire {name} {payload.hex()}")

    async def leave(self) -> None:
        await self._command("leave", 15)


SYSTEMS: dict[str, Callable[[str, Ports, Path], Participant]] = {
    "serf": SerfParticipant,
    "consul": ConsulParticipant,
    "node": NodeParticipant,
    "agent": AgentParticipant,
}
"""What can be measured: genuine Serf and Consul, our library alone and our agent."""
