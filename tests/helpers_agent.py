"""Agents on loopback with real pools and real HTTP listeners, for tests."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from agent.agent import Agent
from agent.config import AgentConfig, HttpConfig, Limits, Ports
from agent.forward.listener import LIMITS, ForwardListener
from agent.http.app import HttpServer
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from agent.http.gate import GateLimits
    from agent.store.store import Store

__all__ = ["WAN", "Answer", "TestAgent", "eventually", "raw_exchange", "running"]

WAN: dict[str, Any] = {"server": True, "ports": Ports(http=0, serf_lan=0, serf_wan=0)}
"""Settings of a server that is in the WAN pool."""

FAST = {
    "leave_propagate_delay": 0.02,
    "gossip_interval": 0.02,
    "probe_interval": 0.2,
    "probe_timeout": 0.1,
    "suspicion_mult": 1,
    "broadcast_timeout": 2.0,
}


@dataclass(slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


@dataclass(slots=True)
class TestAgent:
    """A running agent and how to ask it."""

    __test__ = False

    agent: Agent
    http: HttpServer
    forward: ForwardListener | None = None

    @property
    def listener(self) -> ForwardListener:
        """Of a server."""
        assert self.forward is not None
        return self.forward

    @property
    def store(self) -> Store:
        """Of a leader."""
        assert self.agent.store is not None
        return self.agent.store

    @property
    def server_port(self) -> int:
        """Where a server takes what is forwarded to it."""
        return self.listener.addresses[0][1]

    @property
    def name(self) -> str:
        return self.agent.config.node_name

    @property
    def port(self) -> int:
        return self.http.addresses[0][1]

    @property
    def gossip(self) -> str:
        return join_host_port(*self.agent.cluster.local_address)

    @property
    def wan_gossip(self) -> str:
        assert self.agent.wan is not None
        return join_host_port(*self.agent.wan.cluster.local_address)

    async def ask(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Answer:
        """One request on a connection of its own, sent exactly as given."""
        own = join_host_port(host, self.port)
        lines = {"Host": own, "Connection": "close"} | dict(headers or {})
        if body is not None and "Transfer-Encoding" not in lines:
            lines.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        request = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")
        return parse_answer(await raw_exchange(self.port, request, host=host), method)

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.ask("GET", target, headers=headers)

    async def put(self, target: str, body: bytes | None = None, **headers: str) -> Answer:
        return await self.ask("PUT", target, body=body, headers=headers)


def agent_config(name: str = "one", **settings: Any) -> AgentConfig:
    """A client on loopback with ports of the system's choice."""
    values: dict[str, Any] = {
        "node_name": name,
        "data_dir": "/nonexistent",
        "bind_addr": "127.0.0.1",
        "ports": Ports(http=0, serf_lan=0),
        "log_level": "WARN",
    }
    if "http_config" in settings:
        settings["http_config"] = HttpConfig(**settings["http_config"])
    if "config_limits" in settings:
        settings["limits"] = Limits(**settings.pop("config_limits"))
    return AgentConfig(**(values | settings))


@asynccontextmanager
async def running(
    name: str = "one",
    *,
    limits: GateLimits | None = None,
    forward_limits: GateLimits = LIMITS,
    pool: Any = None,
    **settings: Any,
) -> AsyncIterator[TestAgent]:
    """An agent with fast pools and an HTTP listener, stopped at the end of the block.

    A server whose port is 0 also takes what is forwarded to it. Without a `data_dir` of the caller's
    the agent has one for the time of the block.
    """
    with TemporaryDirectory() as folder:
        config = agent_config(name, **({"data_dir": folder} | settings))
        node_id = config.node_id or str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        fast = FAST | (pool or {})
        agent = Agent(
            config,
            node_id,
            pool=config.gossip_config(node_id, **fast),
            wan_pool=config.wan_gossip_config(node_id, **fast) if config.runs_wan else None,
        )
        http = HttpServer(agent, limits=limits)
        listens = config.server and config.ports.server == 0
        forward = ForwardListener(agent, limits=forward_limits) if listens else None
        try:
            await agent.start()
            if forward is not None:
                await forward.start()
            await http.start()
            yield TestAgent(agent, http, forward)
        finally:
            await http.close()
            if forward is not None:
                await forward.close()
            await agent.stop()


async def raw_exchange(
    port: int, request: bytes, *, seconds: float = 10, host: str = "127.0.0.1"
) -> bytes:
    """Send bytes, and everything that comes back until the server closes."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def parse_answer(data: bytes, method: str = "GET") -> Answer:
    """Take an answer apart, and check that its length is what it says."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        key, _, value = line.partition(": ")
        assert key.lower() not in headers, f"{key} is there twice"
        headers[key.lower()] = value
    if method != "HEAD":
        assert len(body) == int(headers["content-length"])
    return Answer(int(status.split(" ")[1]), headers, body)


async def eventually(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], *, seconds: float = 10
) -> Any:
    """Poll until the condition holds, and give what it returned."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if isinstance(value, asyncio.Future) or hasattr(value, "__await__"):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)
