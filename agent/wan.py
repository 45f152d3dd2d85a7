"""WAN pool: the servers of all datacenters, each of which is in the LAN pool of its own besides.

A server is ``<node>.<datacenter>`` there. It is enough to join one server of another datacenter: each
server brings the others of its LAN pool along, as Consul does (``flood.go``), by the port that they
announce in the tag ``wan_join_port``. Slow networks are what this pool is made for, so it takes its
time; see `gossip.config.Config.wan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from agent.logs import Value
from agent.merge import wan_address, wan_problem
from agent.pool import Pool
from agent.seeds import SeedSettings
from agent.servers import server_of
from gossip.errors import JoinError
from gossip.events import (
    Gap,
    MemberJoined,
    MemberStatus,
    MemberUpdated,
    NameConflictLost,
    QueryReceived,
    UserEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config import AgentConfig
    from gossip.aio import Cluster
    from gossip.config import Config
    from gossip.events import Member

__all__ = ["WanPool"]

FLOOD_INTERVAL = 60.0
"""Seconds between looks whether a server of the LAN pool is missing here."""
FLOOD_DELAY = (0.1, 0.3)
"""Seconds until a look when a server came to the LAN pool: several often come together."""


class WanPool(Pool):
    """The WAN pool of a server.

    Args:
        config: of the agent.
        settings: of the pool.
        lan: the LAN pool, started.
        give_up: called when `retry_join_wan` was in vain.
    """

    def __init__(
        self, config: AgentConfig, settings: Config, lan: Cluster, *, give_up: Callable[[], None]
    ) -> None:
        super().__init__(
            "wan",
            settings,
            rule=wan_problem,
            snapshot=config.snapshot_path("remote"),
            keyring_file=config.keyring_path("remote"),
            seeds=SeedSettings.of(config, "_wan"),
            give_up=give_up,
        )
        self._datacenter = config.datacenter
        self._lan = lan
        self._server_came = asyncio.Event()
        self._flooding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Become a pool of one, and bring in the servers of the LAN pool from now on."""
        await super().start()
        self._tasks.spawn(self._follow_changes())
        self._tasks.spawn(self._follow_servers())
        self._flooding = self._tasks.spawn(self._keep_flooding())

    async def leave(self) -> None:
        """Leave gracefully; the sockets stay open until `stop`."""
        if self._flooding is not None:
            self._flooding.cancel()
        await super().leave()

    def full_name(self, node: str) -> str:
        """The name here of a node of our datacenter, which may be given already."""
        suffix = f".{self._datacenter}"
        return node if node.endswith(suffix) else node + suffix

    def datacenters(self) -> set[str]:
        """Ours, and those of all members that have not left."""
        return {self._datacenter} | {
            member.tags.get("dc", "")
            for member in self.cluster.members()
            if member.status is not MemberStatus.LEFT
        }

    async def _follow_changes(self) -> None:
        async for event in self.cluster.subscribe():
            # Nobody fires or asks anything here.
            if not isinstance(event, UserEvent | QueryReceived | NameConflictLost):
                self.log_change(event)

    # Bringing in the servers of the LAN pool

    async def _follow_servers(self) -> None:
        async for event in self._lan.subscribe(kinds=(MemberJoined, MemberUpdated)):
            match event:
                case MemberJoined(member) | MemberUpdated(member) if server_of(member):
                    self._server_came.set()
                case Gap():
                    self._server_came.set()

    async def _keep_flooding(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(*FLOOD_DELAY))
            self._server_came.clear()
            await self._flood()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.75, 1.25) * FLOOD_INTERVAL):
                    await self._server_came.wait()

    async def _flood(self) -> None:
        addresses = [address for m in self._lan.members() if (address := self._missing(m))]
        if not addresses:
            return
        try:
            count = await self.cluster.join(addresses)
        except JoinError as error:
            self.log.warning("servers of the LAN pool do not answer error=%s", Value(error))
        else:
            self.log.info("brought in servers of the LAN pool servers=%d", count)

    def _missing(self, member: Member) -> str | None:
        """Where a server of the LAN pool is to be found; None when it is here or is no such server."""
        if member.status is not MemberStatus.ALIVE or member.tags.get("dc") != self._datacenter:
            return None
        held = self.cluster.member(f"{member.name}.{self._datacenter}")
        # Who failed may be back at another port. Who left does so in the LAN pool next.
        if held is not None and held.status is not MemberStatus.FAILED:
            return None
        return wan_address(member)
