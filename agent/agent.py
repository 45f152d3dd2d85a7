"""Agent: a member of the LAN pool, a server also of the WAN pool, and what the HTTP interface asks.

It owns the pools and the buffer of recent user events. Nothing here knows HTTP; `agent.run` puts
the two together and lives as long as the process.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

from agent.coordinates import datacenter_coordinates
from agent.errors import BusyError
from agent.events import EventBuffer, UserEvent, new_event
from agent.forward.forwarder import Forwarder
from agent.local_state import LocalState
from agent.log_stream import LogStream
from agent.logs import Value
from agent.merge import lan_problem
from agent.pool import Pool
from agent.seeds import SeedSettings
from agent.servers import Servers, server_of
from agent.sync.catalogs import ForwardedCatalog, StoredCatalog
from agent.sync.node import node_entry
from agent.sync.schedule import Syncer
from agent.user_events import NEW_LEADER, UserEvents
from agent.wan import WanPool
from gossip.errors import GossipError
from gossip.events import (
    MemberJoined,
    MemberUpdated,
    NameConflictLost,
    QueryReceived,
)
from gossip.events import UserEvent as SerfEvent
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.config import AgentConfig
    from agent.coordinates import DatacenterCoordinates
    from agent.reload import Reloader
    from agent.servers import Server
    from agent.store.entries import NodeEntry
    from agent.store.store import Store
    from agent.watches.watcher import Watches
    from gossip.config import Config
    from gossip.events import Event, Member
    from gossip.subscriptions import Subscription

__all__ = ["Agent"]

log = logging.getLogger(__name__)

MAX_ASKING = 64
"""Queries of clients that wait for replies at the same time; a pool can have 256 open."""


class Agent:
    """One agent. Everything runs on the loop that called `start`.

    Args:
        config: its settings.
        node_id: its UUID, see `agent.node_id.ensure_node_id`.
        pool: settings of the LAN pool; None takes those that `config` gives.
        wan_pool: the same for the WAN pool of a server.
        logs: what watchers of the log see; None shows them nothing.

    Attributes:
        lan: the LAN pool.
        wan: the WAN pool; None on clients and where it is turned off.
        cluster: the member of the LAN pool that we are.
        seeds: of the LAN pool.
        logs: the recent lines of the log, and those to come.
        events: the recent user events.
        local: the services and checks of this agent.
        store: the catalog of the datacenter, kept by its leader; None on all others.
        servers: who can be asked on behalf of a datacenter.
        forwarder: asks them.
        sync: tells the catalog of `local`.
        http_port: of the HTTP interface, which sets it when the system chose one.
        reloader: reads the configuration again; set by whoever read it first.
        watches: those of the configuration; set by whoever serves what they ask for.
        finished: the exit code, once there is a reason to end: a leave over HTTP, or joining in vain.
    """

    def __init__(
        self,
        config: AgentConfig,
        node_id: str,
        *,
        pool: Config | None = None,
        wan_pool: Config | None = None,
        logs: LogStream | None = None,
    ) -> None:
        self.config = config
        self.node_id = node_id
        self.events = EventBuffer()
        self.logs = logs or LogStream()
        self.http_port = config.ports.http
        self.reloader: Reloader | None = None
        self.watches: Watches | None = None
        self.finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.lan = Pool(
            "lan",
            pool or config.gossip_config(node_id),
            rule=self._lan_rule,
            node_id=node_id,
            snapshot=config.snapshot_path("local"),
            keyring_file=config.keyring_path("local"),
            seeds=SeedSettings.of(config),
            give_up=self._give_up,
        )
        self.cluster = self.lan.cluster
        self.seeds = self.lan.seeds
        self.wan: WanPool | None = None
        if config.runs_wan:
            wan_pool = wan_pool or config.wan_gossip_config(node_id)
            self.wan = WanPool(config, wan_pool, self.cluster, give_up=self._give_up)
        self._pools: list[Pool] = [self.lan, *([self.wan] if self.wan else [])]
        self.store: Store | None = None
        if config.leads:
            from agent.store.store import Store  # noqa: PLC0415 - SQLite is for those who have one

            self.store = Store(config.catalog_path)
        self._server_port: int | None = None
        self.local = LocalState(config, config.local_dir)
        self.servers = Servers(
            self.cluster, self.wan.cluster if self.wan else None, config.datacenter
        )
        self.forwarder = Forwarder(
            self.servers,
            config.node_name,
            is_server=config.server,
            source="" if ip_address(config.bind_addr).is_unspecified else config.bind_addr,
        )
        self.sync = Syncer(
            self.local,
            StoredCatalog(self.store, config.node_name)
            if self.store
            else ForwardedCatalog(self.forwarder, lambda: self.config),
            node=self._catalog_node,
            members=lambda: len(self.cluster.members()),
            update_interval=config.check_update_interval,
            rng=random.Random(),
        )
        self._syncing: asyncio.Task[None] | None = None
        self._user_events = UserEvents(
            self.cluster, self.events, config.node_name, self.local.services.values()
        )
        self._asking = 0
        self._leaving: asyncio.Task[None] | None = None
        self._tasks = Tasks(log)

    # Life

    async def start(self) -> None:
        """Become a pool of one, or two, and look for those that we belonged to when we ran last.

        Raises:
            OSError: a gossip address cannot be bound.
            ConfigError: an address, a tag, a snapshot or the catalog is not usable.
        """
        if self.store is not None:
            await self.store.start()
        await self.local.start()
        for pool in self._pools:
            await pool.start()
        if self.wan and not self.config.ports.serf_wan:  # only now the port is known
            await self.announce(self.config)
        self._syncing = self._tasks.spawn(self.sync.run())
        # From now on, not from when the task has its first turn: nothing that is fired meanwhile is lost.
        self._tasks.spawn(self._follow_events(self.cluster.subscribe()))
        if self.store is not None:
            self._tasks.spawn(self._reconcile(self.store))

    async def join_configured(self) -> None:
        """Join what the configuration names; see `Pool.join_configured`.

        Raises:
            JoinError: none of the addresses to join at start answers.
        """
        for pool in self._pools:
            await pool.join_configured()

    async def reload(self) -> list[str]:
        """Read the configuration again; see `Reloader.reload`.

        Raises:
            GossipError: it has mistakes, and nothing was changed; or there is none to read.
        """
        if self.reloader is None:
            raise GossipError("there is no configuration to read again")
        return await self.reloader.reload()

    @property
    def leaving(self) -> bool:
        """Whether `leave` has been called."""
        return self._leaving is not None

    async def leave(self) -> None:
        """Leave gracefully, then finish with exit code 0. Goes on when the caller is cancelled.

        The WAN pool comes first, so that nobody there sends us requests when the LAN does without us.
        """
        if self._leaving is None:
            self._leaving = self._tasks.spawn(self._leave())
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()  # or we might be in the catalog again after the leader removed us
        for pool in reversed(self._pools):
            await pool.leave()
        self._finish(0)

    async def stop(self) -> None:
        """End everything at once; without `leave` before, the others see a failure. Idempotent."""
        await self._tasks.cancel()
        await self.local.stop()
        await self.forwarder.close()
        for pool in reversed(self._pools):
            await pool.stop()
        if self.store is not None:
            await self.store.close()

    def _give_up(self) -> None:
        self._finish(1)

    def _finish(self, code: int) -> None:
        if not self.finished.done():
            self.finished.set_result(code)

    # Members

    def _lan_rule(self, member: Member) -> str | None:
        return lan_problem(member, self.config.datacenter, strict=self.config.strict_merge)

    async def announce(self, config: AgentConfig) -> None:
        """Tell the pools the tags of a configuration, with the ports that are open.

        Raises:
            ConfigError: they do not fit; nothing was told, as the LAN pool is first and gets the most.
        """
        for pool in self._pools:
            wan_port = max(self.wan_port, 0) if pool is self.lan else 0
            tags = config.member_tags(
                self.node_id, wan_port=wan_port, server_port=self._server_port
            )
            await pool.cluster.set_tags(tags)

    @property
    def wan_port(self) -> int:
        """Of our WAN pool; -1 without one."""
        return self.wan.cluster.local_address[1] if self.wan else -1

    async def join(self, address: str, *, wan: bool = False) -> int:
        """Join the pool of a node; returns how many of its addresses answered.

        Raises:
            JoinError: none did.
            GossipError: we have no WAN pool to join with.
        """
        pool = self._wan_pool("join WAN cluster") if wan else self.lan
        return await pool.cluster.join([address])

    async def force_leave(self, name: str, *, prune: bool = False, wan: bool = False) -> bool:
        """Declare that a failed member left, or forget it; False if nobody has that name.

        Args:
            name: in the LAN pool; a server leaves the WAN pool too.
            prune: forget it.
            wan: act on the WAN pool only, where the name is ``<node>.<datacenter>``.

        Raises:
            GossipError: the news could not be told in time, or we have no WAN pool.
        """
        if wan:
            pool = self._wan_pool("force-leave a node from the WAN cluster")
            found = await pool.force_leave(name, prune=prune)
        else:
            found = await self.lan.force_leave(name, prune=prune)
            if self.wan:
                full_name = self.wan.full_name(name)
                found |= await self.wan.force_leave(full_name, prune=prune)
        if not found:
            log.warning("force-leave of an unknown node name=%s", Value(name))
        return found

    def _wan_pool(self, purpose: str) -> WanPool:
        if not self.config.server:
            raise GossipError(f"Must be a server to {purpose}")
        if self.wan is None:
            raise GossipError("WAN Federation is disabled")
        return self.wan

    # Keys and queries

    @property
    def encrypted(self) -> bool:
        """Whether the LAN pool has a key, configured or from its keyring file."""
        return bool(self.cluster.node.keyring)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Take one of the places for queries of clients, so that those for keys always have one.

        Raises:
            BusyError: there is none.
        """
        if self._asking >= MAX_ASKING:
            raise BusyError("too many queries wait for replies")
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def datacenters(self) -> list[str]:
        """The datacenters that we know: our own first, then those of the WAN pool by name."""
        own = self.config.datacenter
        others = self.wan.datacenters() - {own} if self.wan else set()
        return [own, *sorted(others)]

    # Servers, as far as gossip tells

    def leader(self) -> str:
        """``ip:port`` of the server that is bootstrapped, ourselves or another; empty if none is."""
        if self.config.leads:
            own = server_of(self.cluster.local_member())
            return "" if own is None else join_host_port(*own.address)
        return min(
            (join_host_port(*server.address) for server in self._servers() if server.bootstrap),
            default="",
        )

    def peers(self) -> list[str]:
        """``ip:port`` of the leader and of the other servers; empty without a leader."""
        leader = self.leader()
        if not leader:
            return []
        others = {join_host_port(*server.address) for server in self._servers()} - {leader}
        return [leader, *sorted(others)]

    def _servers(self) -> list[Server]:
        return self.servers.of(self.config.datacenter)

    async def announce_server_port(self, port: int) -> None:
        """Tell the pools on which port this server takes what is forwarded to it.

        Raises:
            ConfigError: the tags are too long with it.
        """
        self._server_port = port
        await self.announce(self.config)

    def _catalog_node(self) -> NodeEntry:
        wan = self.wan.cluster.local_address[0] if self.wan else ""
        return node_entry(self.config, self.node_id, self.cluster.local_address[0], wan)

    def datacenter_coordinates(self) -> list[DatacenterCoordinates]:
        """The coordinates of the servers of each datacenter that is known."""
        wan = self.wan.cluster if self.wan else None
        return datacenter_coordinates(self.cluster, self.config.datacenter, wan)

    # User events

    async def fire(
        self,
        name: str,
        payload: bytes = b"",
        *,
        node: str = "",
        service: str = "",
        tag: str = "",
    ) -> UserEvent:
        """Fire a user event in our datacenter; the result has no Lamport time yet.

        Args:
            name: without any prefix.
            payload: opaque bytes.
            node: filter on node names.
            service: filter on services.
            tag: filter on the tags of the same services.

        Raises:
            GossipError: nothing was sent; see `UserEvents.fire`.
        """
        event = new_event(name, payload, node=node, service=service, tag=tag)
        await self._user_events.fire(event)
        return event

    async def _reconcile(self, store: Store) -> None:
        from agent.reconcile import Reconciler  # noqa: PLC0415 - only the leader

        await Reconciler(
            self.cluster,
            store,
            self.config.datacenter,
            is_isolated=lambda: self.seeds.isolated,
        ).run()

    async def _follow_events(self, events: Subscription[Event]) -> None:
        async for event in events:
            match event:
                case SerfEvent():
                    self._user_events.receive(event)
                    if event.name == NEW_LEADER:
                        self.sync.compare_soon()
                case QueryReceived():
                    pass  # whoever registered a handler for it answers
                case NameConflictLost():
                    log.error("another node has our name, this agent ends name=%s", event.name)
                    self._finish(1)
                case _:
                    self.lan.log_change(event)
                    if isinstance(event, MemberJoined | MemberUpdated) and server_of(event.member):
                        self.sync.compare_soon()
