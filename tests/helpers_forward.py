"""Agents that forward to one another, for tests."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Ports
from agent.http.routing import Call, Forwards, Methods, Route, Router
from agent.servers import Server
from agent.sync.schedule import Syncer
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "KEY",
    "NEW_KEY",
    "SERVER",
    "encrypted",
    "join",
    "join_wan",
    "know",
    "no_sync",
    "serve",
    "server",
    "servers_at",
    "stats",
    "two_datacenters",
]

KEY, NEW_KEY = b"k" * 32, b"n" * 16
SERVER: dict[str, Any] = {"server": True, "ports": Ports(http=0, serf_lan=0, serf_wan=0, server=0)}


def encrypted(key: bytes | None) -> dict[str, Any]:
    """The settings of an agent with this gossip key."""
    return {"encrypt": base64.b64encode(key).decode()} if key else {}


def server(
    name: str, dc: str, key: bytes | None = None, **settings: Any
) -> AbstractAsyncContextManager[TestAgent]:
    """A server that takes what is forwarded to it."""
    return running(name, datacenter=dc, **SERVER, **encrypted(key), **settings)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents tell the catalog nothing by themselves: its indexes and requests are the test's alone."""

    async def tell_nothing(_self: Syncer) -> None:
        pass

    monkeypatch.setattr(Syncer, "run", tell_nothing)


async def join(agent: TestAgent, other: TestAgent) -> None:
    """Join a server, and know it."""
    await agent.agent.join(other.gossip)
    await eventually(lambda: len(agent.agent.servers.of(agent.agent.config.datacenter)))


async def join_wan(agent: TestAgent, other: TestAgent) -> None:
    """Join the WAN pool of a server of another datacenter; both know each other then."""
    await agent.agent.join(other.wan_gossip, wan=True)
    for one, two in ((agent, other), (other, agent)):
        await eventually(lambda one=one, two=two: one.agent.servers.of(two.agent.config.datacenter))


@asynccontextmanager
async def two_datacenters(
    key: bytes | None = None, **client: Any
) -> AsyncIterator[tuple[TestAgent, TestAgent, TestAgent, TestAgent]]:
    """A client and a server of dc1, a server and a client of dc2."""
    async with (
        server("one", "dc1", key) as one,
        server("two", "dc2", key) as two,
        running("web-1", datacenter="dc1", **encrypted(key), **client) as web1,
        running("web-2", datacenter="dc2", **encrypted(key)) as web2,
    ):
        await join_wan(two, one)
        await join(web1, one)
        await join(web2, two)
        yield web1, one, two, web2


def serve(
    handler: Callable[[Call], Any], *agents: TestAgent, methods: Methods = Methods.READ
) -> None:
    """Give agents one endpoint, /x, that only servers serve."""
    route = Route("/x", methods, handler, True, Forwards.SERVER, 1024)
    for agent in agents:
        agent.http._router = Router([route])
        if agent.forward is not None:
            agent.listener._router = Router([route])


def know(agent: TestAgent, *servers: Server) -> None:
    """Let an agent take these for the servers of every datacenter."""
    agent.agent.servers.of = lambda _dc: list(servers)  # type: ignore[method-assign, assignment]


def stats(agent: TestAgent) -> dict[str, int]:
    """Counters of both sides."""
    return dict(agent.agent.forwarder.stats)


def servers_at(*ports: int, dc: str = "dc1") -> list[Server]:
    """Servers on these ports of loopback."""
    return [
        Server(f"at-{port}", dc, ("127.0.0.1", port), ours=True, bootstrap=False) for port in ports
    ]
