"""Agent: a member of the LAN pool, a server also of the WAN pool, and what the HTTP interface asks.

It owns the pools and the buffer of recent user events. Nothing here knows HTTP; `agent.run` puts
the two together and lives as long as the process.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import TYPE_CHECKING

from agent.coordinates import datacenter_coordinates
from agent.errors import BusyError
from agent.events import (
    EVENT_PREFIX,
    REMOTE_EXEC,
    VERSION,
    EventBuffer,
    EventError,
    UserEvent,
    check_size,
    decode_event,
    encode_event,
    is_for_us,
    new_event,
)
from agent.forward.forwarder import Forwarder
from agent.log_stream import LogStream
from agent.logs import Value
from agent.merge import lan_problem
from agent.pool import Pool
from agent.reconcile import Reconciler
from agent.servers import Servers, server_of
from agent.wan import WanPool
from gossip.errors import ConfigError, GossipError, LimitError, WireError
from gossip.events import Member, NameConflictLost, QueryReceived
from gossip.events import UserEvent as SerfEvent
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from agent.config import AgentConfig
    from agent.coordinates import DatacenterCoordinates
    from agent.servers import Server
    from agent.store.store import Store
    from gossip.config import Config
    from gossip.serf.coordinates import Coordinate

__all__ = ["Agent", "Description"]

log = logging.getLogger(__name__)

INTERNAL_PREFIX = "consul:"
NEW_LEADER = "consul:new-leader"
RELOADABLE = frozenset({"http_config", "log_level", "retry_join", "retry_join_wan", "tags"})
"""Settings that change while the agent runs; the others need a restart."""
MAX_FIRING = 256
"""Events that may wait for their turn; clients beyond are told to come back later."""

MAX_ASKING = 64
"""Queries of clients that wait for replies at the same time; a pool can have 256 open."""


@dataclass(slots=True, frozen=True)
class Description:
    """Everything that ``/v1/agent/self`` shows, taken at one moment."""

    config: AgentConfig
    node_id: str
    http_port: int
    member: Member
    leader: str
    isolated: bool
    encrypted: bool
    lan: dict[str, str]
    wan: dict[str, str]
    """Empty without a WAN pool."""
    wan_port: int
    """-1 without a WAN pool."""
    datacenters: list[str]
    forwarding: dict[str, str]
    coordinate: Coordinate | None


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
        store: the catalog of the datacenter, kept by its leader; None on all others.
        servers: who can be asked on behalf of a datacenter.
        forwarder: asks them.
        http_port: of the HTTP interface, which sets it when the system chose one.
        reloader: reads the configuration again; set by whoever read it first.
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
        self.reloader: Callable[[], Awaitable[None]] | None = None
        self.finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.lan = Pool(
            "lan",
            pool or config.gossip_config(node_id),
            rule=self._lan_rule,
            node_id=node_id,
            snapshot=config.snapshot_path("local"),
            keyring_file=config.keyring_path("local"),
            start_join=config.start_join,
            retry_join=config.retry_join,
            retry_interval=config.retry_interval,
            retry_max=config.retry_max,
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
        self.servers = Servers(
            self.cluster, self.wan.cluster if self.wan else None, config.datacenter
        )
        self.forwarder = Forwarder(
            self.servers,
            config.node_name,
            is_server=config.server,
            source="" if ip_address(config.bind_addr).is_unspecified else config.bind_addr,
        )
        self._firing = 0
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
        for pool in self._pools:
            await pool.start()
        if self.wan and not self.config.ports.serf_wan:  # only now the port is known
            await self._announce()
        self._tasks.spawn(self._follow_events())
        if self.store is not None:
            reconciler = Reconciler(
                self.cluster,
                self.store,
                self.config.datacenter,
                is_isolated=lambda: self.seeds.isolated,
            )
            self._tasks.spawn(reconciler.run())

    async def join_configured(self) -> None:
        """Join what the configuration names; see `Pool.join_configured`.

        Raises:
            JoinError: none of the addresses to join at start answers.
        """
        for pool in self._pools:
            await pool.join_configured()

    async def apply(self, config: AgentConfig) -> list[str]:
        """Take over what may change while the agent runs.

        Args:
            config: what the configuration says now.

        Returns:
            Keys that changed and need a restart; they stay as they were.

        Raises:
            ConfigError: the tags do not fit; nothing was changed.
        """
        old = self.config
        changed = [
            f.name for f in fields(config) if getattr(config, f.name) != getattr(old, f.name)
        ]
        taken = {name: getattr(config, name) for name in changed if name in RELOADABLE}
        self.config = old.replace(**taken)
        try:
            if "tags" in taken:
                await self._announce()
        except ConfigError:
            self.config = old
            raise
        if "retry_join" in taken:
            self.lan.retry_join(config.retry_join)
        if "retry_join_wan" in taken and self.wan is not None:
            self.wan.retry_join(config.retry_join_wan)
        return [name for name in changed if name not in RELOADABLE]

    async def reload(self) -> None:
        """Read the configuration again and take over what may change.

        Raises:
            GossipError: it has mistakes, and nothing was changed; or there is none to read.
        """
        if self.reloader is None:
            raise GossipError("there is no configuration to read again")
        await self.reloader()

    async def leave(self) -> None:
        """Leave gracefully, then finish with exit code 0. Goes on when the caller is cancelled.

        The WAN pool comes first, so that nobody there sends us requests when the LAN does without us.
        """
        if self._leaving is None:
            self._leaving = self._tasks.spawn(self._leave())
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        for pool in reversed(self._pools):
            await pool.leave()
        self._finish(0)

    async def stop(self) -> None:
        """End everything at once; without `leave` before, the others see a failure. Idempotent."""
        await self._tasks.cancel()
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

    async def _announce(self) -> None:
        """Tell the pools the ports that are known only now that they are open."""
        for pool in self._pools:
            wan_port = max(self.wan_port, 0) if pool is self.lan else 0
            tags = self.config.member_tags(
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
        await self._announce()

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
            EventError: a filter or the name is not usable.
            LimitError: it is too large; nothing was sent.
            BusyError: too many events wait for their turn.
        """
        event = new_event(name, payload, node=node, service=service, tag=tag)
        body = encode_event(event)
        limit = self.cluster.config.user_event_size_limit
        check_size(event, body, limit)
        if self._firing >= MAX_FIRING:
            raise BusyError("too many events wait to be sent")
        self._firing += 1
        try:
            await self.cluster.fire(EVENT_PREFIX + event.name, body, coalesce=False)
        except LimitError:
            raise LimitError(
                f"user event exceeds configured limit of {limit} bytes after encoding"
            ) from None
        finally:
            self._firing -= 1
        return event

    async def _follow_events(self) -> None:
        async for event in self.cluster.subscribe():
            match event:
                case SerfEvent():
                    self._receive_event(event)
                case QueryReceived():
                    pass  # whoever registered a handler for it answers
                case NameConflictLost():
                    log.error("another node has our name, this agent ends name=%s", event.name)
                    self._finish(1)
                case _:
                    self.lan.log_change(event)

    def _receive_event(self, received: SerfEvent) -> None:
        """Keep an event of the gossip layer if it is Consul's and meant for us."""
        name = received.name
        if not name.startswith(INTERNAL_PREFIX):
            return  # Serf's own; Consul's API has no place for it
        if not name.startswith(EVENT_PREFIX):
            if name != NEW_LEADER:
                log.warning("unknown internal event name=%s", Value(name))
            return
        try:
            event = decode_event(received.payload, received.ltime)
            if event.version > VERSION:
                log.warning(
                    "event of a newer version, which may mean more version=%d", event.version
                )
            wanted = event.name != REMOTE_EXEC and is_for_us(event, self.config.node_name)
        except (WireError, EventError) as error:
            log.warning("event dropped name=%s error=%s", Value(name), Value(error))
            return
        if wanted:
            log.debug("event name=%s id=%s", Value(event.name), event.id)
            self.events.append(event)

    # All of it

    def describe(self) -> Description:
        """What this agent is at the moment."""
        return Description(
            self.config,
            self.node_id,
            self.http_port,
            self.cluster.local_member(),
            self.leader(),
            self.seeds.isolated,
            self.encrypted,
            self.cluster.stats(),
            self.wan.cluster.stats() if self.wan else {},
            self.wan_port,
            self.datacenters(),
            {name: str(count) for name, count in sorted(self.forwarder.stats.items())},
            self.cluster.coordinate,
        )
