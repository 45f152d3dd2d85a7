"""Agent: a member of the LAN pool with Consul's rules, and what the HTTP interface asks.

It owns a `Cluster` and the buffer of recent user events. Nothing here knows HTTP; `agent.run` puts
the two together and lives as long as the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.coordinates import datacenter_coordinates, node_coordinates
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
from agent.logs import Value
from agent.seeds import Seeds
from gossip.aio import Cluster
from gossip.errors import GossipError, LimitError, WireError
from gossip.events import Gap, Member, MemberStatus
from gossip.events import UserEvent as SerfEvent
from gossip.tasks import Tasks
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.config import AgentConfig
    from agent.coordinates import DatacenterCoordinates, NodeCoordinate
    from gossip.config import Config
    from gossip.serf.coordinates import Coordinate

__all__ = ["Agent", "BusyError", "Description", "datacenter_problem"]

log = logging.getLogger(__name__)

INTERNAL_PREFIX = "consul:"
NEW_LEADER = "consul:new-leader"
MAX_FIRING = 256
"""Events that may wait for their turn; clients beyond are told to come back later."""


class BusyError(GossipError):
    """More is asked for than the pool can take; nothing was done, try again in a moment."""


@dataclass(slots=True, frozen=True)
class Description:
    """Everything that ``/v1/agent/self`` shows, taken at one moment."""

    config: AgentConfig
    node_id: str
    http_port: int
    member: Member
    leader: str
    isolated: bool
    pool: dict[str, str]
    coordinate: Coordinate | None


class Agent:
    """One agent. Everything runs on the loop that called `start`.

    Args:
        config: its settings.
        node_id: its UUID, see `agent.node_id.ensure_node_id`.
        pool: settings of the LAN pool; None takes those that `config` gives.

    Attributes:
        events: the recent user events.
        http_port: of the HTTP interface, which sets it when the system chose one.
        finished: the exit code, once there is a reason to end: a leave over HTTP, or joining in vain.
    """

    def __init__(self, config: AgentConfig, node_id: str, *, pool: Config | None = None) -> None:
        self.config = config
        self.node_id = node_id
        self.events = EventBuffer()
        self.http_port = config.ports.http
        self.finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cluster = Cluster(pool or config.gossip_config(node_id), admit=self._admit)
        self.seeds = Seeds(
            self.cluster,
            tuple(dict.fromkeys((*config.start_join, *config.retry_join))),
            retry_interval=config.retry_interval,
            retry_max=config.retry_max,
        )
        # Indexes go on growing across a restart, or a client would wait with one from before it.
        self._index_base = int(time.time() * 1000)
        self._firing = 0
        self._joining: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._tasks = Tasks(log)

    # Life

    async def start(self) -> None:
        """Become a pool of one.

        Raises:
            OSError: the gossip address cannot be bound.
            ConfigError: an address or a tag is not usable.
        """
        await self.cluster.start()
        self._tasks.spawn(self._follow_events())

    async def join_configured(self) -> None:
        """Join what the configuration names: `start_join` now, `retry_join` until one answers.

        From then on all of these are seeds: they are tried again when the pool is lost.

        Raises:
            JoinError: none of the addresses of `start_join` answers.
        """
        if self.config.start_join:
            count = await self.cluster.join(self.config.start_join)
            log.info("joined at start nodes=%d", count)
        if self.config.start_join or self.config.retry_join:
            self._joining = self._tasks.spawn(self._stay_joined())

    async def leave(self) -> None:
        """Leave gracefully, then finish with exit code 0. Goes on when the caller is cancelled."""
        if self._leaving is None:
            self._leaving = self._tasks.spawn(self._leave())
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        log.info("leaving the pool")
        if self._joining is not None:
            self._joining.cancel()
        await self.cluster.leave()
        self._finish(0)

    async def stop(self) -> None:
        """End everything at once; without `leave` before, the others see a failure. Idempotent."""
        await self._tasks.cancel()
        await self.cluster.close()

    def _finish(self, code: int) -> None:
        if not self.finished.done():
            self.finished.set_result(code)

    async def _stay_joined(self) -> None:
        """Find the pool through `retry_join`, and find it again whenever it is lost."""
        if self.config.retry_join and not await self.seeds.join(self.config.retry_join):
            self._finish(1)
            return
        await self.seeds.stay_joined()

    # Members

    def _admit(self, member: Member) -> str | None:
        return datacenter_problem(member, self.config.datacenter)

    @property
    def members_index(self) -> int:
        """Grows with every change of the members, across restarts too."""
        return self._index_base + self.cluster.members_version

    async def members(self, *, index: int = 0, wait: float = 0.0) -> tuple[list[Member], int]:
        """Everybody known and the index of that list, once it exceeds `index`.

        Index 0 never waits. Otherwise it waits `wait` seconds at most and gives the list unchanged.
        """
        cluster = self.cluster
        await self._outlast(index, wait, lambda: cluster.members_version, cluster.members_changed)
        return self.cluster.members(), self.members_index

    async def _outlast(
        self,
        index: int,
        wait: float,
        version: Callable[[], int],
        changed: Callable[[int], Awaitable[int]],
    ) -> None:
        """Wait until the index of a version exceeds `index`, at most `wait` seconds; 0 never waits."""
        if not index:
            return
        try:
            async with asyncio.timeout(wait):
                while self._index_base + (seen := version()) <= index:
                    if await changed(seen) == seen:
                        return  # closed
        except TimeoutError:
            pass

    async def join(self, address: str) -> int:
        """Join the pool of a node; returns how many of its addresses answered.

        Raises:
            JoinError: none did.
        """
        return await self.cluster.join([address])

    async def force_leave(self, name: str, *, prune: bool = False) -> MemberStatus:
        """Declare that a failed member left, or forget it; see `Cluster.force_leave`.

        Raises:
            GossipError: the news could not be told in time.
        """
        try:
            status = await self.cluster.force_leave(name, prune=prune)
        except TimeoutError:
            raise GossipError("timed out broadcasting node removal") from None
        if status is MemberStatus.NONE and not prune:
            log.warning("force-leave of an unknown node name=%s", Value(name))
        elif status in {MemberStatus.ALIVE, MemberStatus.LEAVING}:
            log.warning("force-leave of a running node, which will refute it name=%s", Value(name))
        return status

    # Servers, as far as gossip tells

    def leader(self) -> str:
        """``ip:port`` of the server that is bootstrapped, ourselves or another; empty if none is."""
        if self.config.server and (self.config.bootstrap or self.config.dev):
            return _server_address(self.cluster.local_member()) or ""
        candidates = [m for m in self._servers() if "bootstrap" in m.tags]
        return min((_server_address(m) or "" for m in candidates), default="")

    def peers(self) -> list[str]:
        """``ip:port`` of the leader and of the other servers; empty without a leader."""
        leader = self.leader()
        if not leader:
            return []
        others = {_server_address(member) or "" for member in self._servers()} - {leader}
        return [leader, *sorted(others)]

    def _servers(self) -> list[Member]:
        """Alive servers of our datacenter."""
        return [
            member
            for member in self.cluster.members()
            if member.status is MemberStatus.ALIVE
            and member.tags.get("dc") == self.config.datacenter
            and _server_address(member)
        ]

    # Coordinates

    async def coordinates(
        self, *, index: int = 0, wait: float = 0.0
    ) -> tuple[list[NodeCoordinate], int]:
        """The coordinates of the nodes of our datacenter and their index; waits as `members` does."""
        cluster = self.cluster
        await self._outlast(
            index, wait, lambda: cluster.coordinates_version, cluster.coordinates_changed
        )
        return node_coordinates(cluster), self._index_base + cluster.coordinates_version

    def datacenter_coordinates(self) -> list[DatacenterCoordinates]:
        """The coordinates of the servers of each datacenter that is known."""
        return datacenter_coordinates(self.cluster, self.config.datacenter)

    # User events

    async def fire(
        self,
        name: str,
        payload: bytes = b"",
        *,
        node: str = "",
        service: str = "",
        tag: str = "",
        dc: str = "",
    ) -> UserEvent:
        """Fire a user event; the result has no Lamport time yet.

        Args:
            name: without any prefix.
            payload: opaque bytes.
            node: filter on node names.
            service: filter on services.
            tag: filter on the tags of the same services.
            dc: datacenter; empty is ours.

        Raises:
            EventError: a filter or the name is not usable.
            LimitError: it is too large; nothing was sent.
            BusyError: too many events wait for their turn.
            GossipError: another datacenter is asked for.
        """
        event = new_event(name, payload, node=node, service=service, tag=tag)
        if dc and dc != self.config.datacenter:
            raise GossipError("No path to datacenter")
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
                case Gap():
                    log.warning("events were lost, this agent is too slow missed=%d", event.missed)
                case _:
                    log.info(
                        "%s member=%s address=%s",
                        type(event).__name__,
                        Value(event.member.name),
                        event.member.addr,
                    )

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
            self.cluster.stats(),
            self.cluster.coordinate,
        )


def datacenter_problem(member: Member, datacenter: str) -> str | None:
    """Why a member may not be in the LAN pool of a datacenter, in Consul's words; None if it may.

    A member without a ``dc`` tag is a plain Serf node, and welcome.
    """
    theirs = member.tags.get("dc")
    if theirs is None or theirs == datacenter:
        return None
    return f"Member '{member.name}' part of wrong datacenter '{theirs}'"


def _server_address(member: Member) -> str | None:
    """``ip:port`` of a Consul server's RPC; None when the member is none."""
    port = member.tags.get("port", "")
    if member.tags.get("role") != "consul" or not (port.isascii() and port.isdigit()):
        return None
    return join_host_port(member.addr, int(port))
