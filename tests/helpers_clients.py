"""Pools of one server and one client, as processes, that genuine clients talk to."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulations.cluster.agent import ALIVE, LocalAgent
from simulations.local.wait import eventually

if TYPE_CHECKING:
    import contextlib
    from pathlib import Path

    from simulations.local.ports import Ports

__all__ = ["ID", "KEY", "SETTINGS", "WEB", "Pool", "complete", "ours", "settings"]

ID = "3d9a3f0a-5b6c-4f7e-9b3e-0123456789a{}"
KEY = base64.b64encode(b"a" * 32).decode()
SETTINGS = {
    "encrypt": KEY,
    "gossip_lan": {
        "gossip_interval": "20ms",
        "probe_interval": "300ms",
        "probe_timeout": "200ms",
    },
}
"""Of every agent here, ours or genuine: failures are seen within a few seconds."""
WEB = {
    "name": "web",
    "port": 80,
    "tags": ["blue", "v1"],
    "check": {"ttl": "1h", "status": "passing"},
}
"""What the server serves, from its configuration."""


@dataclass(slots=True)
class Pool:
    """A server ``one``, its client ``two``, and where more of ours come from."""

    server: LocalAgent
    client: LocalAgent
    folder: Path
    ports: Ports
    stack: contextlib.AsyncExitStack

    @property
    def address(self) -> str:
        """Where the server's HTTP API answers."""
        return "{}:{}".format(*self.server.http)

    async def join(self, name: str) -> LocalAgent:
        """One more client of ours in the pool."""
        agent = ours(name, self.folder, self.ports)
        self.stack.push_async_callback(agent.process.close)
        await agent.start()
        await agent.ready()
        await agent.join([self.server.gossip])
        await self.until(name, ALIVE)
        return agent

    async def until(self, name: str, status: int | None) -> None:
        """Wait until the server gives this status to a member; None: until it has forgotten it."""

        async def there() -> bool:
            return (await self.server.members()).get(name) == status

        await eventually(there, within=20, what=f"{name} has status {status} at the server")


def ours(name: str, folder: Path, ports: Ports, *arguments: str) -> LocalAgent:
    return LocalAgent(
        name,
        [sys.executable, "-m", "agent"],
        http_port=ports.take(),
        gossip_port=ports.take(),
        wan_port=ports.take() if "-server" in arguments else None,
        folder=folder / name,
        arguments=[f"-config-file={settings(folder, 'shared', SETTINGS)}", *arguments],
    )


def settings(folder: Path, name: str, values: Any) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(values))
    return path


async def complete(pool: Pool) -> Pool:
    """Start the client, and wait until the catalog has all of the pool."""
    await pool.client.start()
    await pool.client.ready()
    await pool.client.join([pool.server.gossip])
    await pool.until("two", ALIVE)

    async def catalogued() -> bool:
        nodes = (await pool.server.call("GET", "/v1/catalog/nodes")).json()
        web = (await pool.server.call("GET", "/v1/health/service/web")).json()
        # Both tell the catalog where they can be reached a little after they are in it.
        return len(nodes) == 2 and all(node["TaggedAddresses"] for node in nodes) and bool(web)

    await eventually(catalogued, within=30, what="both nodes and web in the catalog")
    return pool
