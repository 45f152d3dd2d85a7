"""serfHealth: the leader writes into the catalog what gossip says about the members.

    alive     node with its address, `consul` service of a server, serfHealth passing
    failed    serfHealth critical; services and other checks are left as they are
    left      the node is removed, with everything on it
    reaped    likewise

Member events are acted on as they come. A pass over all members, at the start and then every
`RECONCILE_INTERVAL`, repairs what was missed; it writes nothing where the catalog is right already. Nodes
that gossip does not know any more go with such a pass, but only those that were missing in the one before
too, and not while we are alone: a leader that starts again finds its pool bit by bit. Nodes that gossip knows
nothing of and that have no serfHealth check were registered by somebody else, and are never touched.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agent.definitions import CONSUL_SERVICE
from agent.logs import Value
from agent.servers import server_of
from agent.store.entries import (
    SERF_CHECK,
    CheckEntry,
    Deregistration,
    NodeEntry,
    Registration,
    ServiceEntry,
    Status,
    folded,
)
from agent.user_events import NEW_LEADER
from gossip.errors import GossipError
from gossip.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from agent.store.catalog import Catalog
    from agent.store.entries import Write
    from agent.store.store import Store
    from gossip.aio import Cluster
    from gossip.events import Member

__all__ = ["RECONCILE_INTERVAL", "Reconciler", "wanted"]

log = logging.getLogger(__name__)

RECONCILE_INTERVAL = 60.0
"""Seconds between passes over all members."""
TOGETHER = 256
"""Members compared at a time in a pass; their writes share a sync of the disk."""

ALIVE = "Agent alive and reachable"
FAILED = "Agent not live or unreachable"


def wanted(member: Member, catalog: Catalog, datacenter: str) -> Write | None:
    """What has to be written for the catalog to say what gossip says about a member; None if nothing."""
    if member.tags.get("role") not in {"consul", "node"} or member.tags.get("dc") != datacenter:
        return None
    match member.status:
        case MemberStatus.ALIVE:
            return _alive(member, catalog)
        case MemberStatus.FAILED:
            return _failed(member, catalog)
        case MemberStatus.LEFT:
            return _gone(member.name, catalog)
        case _:
            return None


def _alive(member: Member, catalog: Catalog) -> Write | None:
    known = catalog.node(member.name)
    service = _consul_service(member)
    node = NodeEntry(node=member.name, address=member.addr, id=member.tags.get("id", ""))
    if known is not None:
        held = known.services.get(CONSUL_SERVICE)
        is_right = known.node.address == member.addr and (
            service is None
            or (held is not None and held.meta == service.meta and held.port == service.port)
        )
        if is_right and _says(catalog, member.name, Status.PASSING):
            return None
    check = _serf_check(member.name, Status.PASSING, ALIVE)
    # The rest of the node is told by its own agent, perhaps at this moment.
    return Registration(node=node, service=service, checks=(check,), keep_details=True)


def _failed(member: Member, catalog: Catalog) -> Write | None:
    known = catalog.node(member.name)
    if known is None or _says(catalog, member.name, Status.CRITICAL):
        return None
    check = _serf_check(member.name, Status.CRITICAL, FAILED)
    return Registration(node=known.node, checks=(check,), keep_node=True)


def _gone(name: str, catalog: Catalog) -> Write | None:
    return None if catalog.node(name) is None else Deregistration(node=name)


def _serf_check(node: str, status: Status, output: str) -> CheckEntry:
    return CheckEntry(
        node=node, check_id=SERF_CHECK, name="Serf Health Status", status=status, output=output
    )


def _says(catalog: Catalog, node: str, status: Status) -> bool:
    """Whether the node's serfHealth check has this status."""
    check = catalog.check(node, SERF_CHECK)
    return check is not None and check.status is status


def _consul_service(member: Member) -> ServiceEntry | None:
    """The service by which clients find a server, with the metadata that Consul gives it."""
    server = server_of(member)
    if server is None:
        return None
    meta = {
        "non_voter": "false",
        "raft_version": member.tags.get("raft_vsn", ""),
        "serf_protocol_current": str(member.protocol_cur),
        "serf_protocol_max": str(member.protocol_max),
        "serf_protocol_min": str(member.protocol_min),
        "version": member.tags.get("build", "").partition(":")[0],
    }
    _, port = server.address
    return ServiceEntry(
        node=member.name, id=CONSUL_SERVICE, service=CONSUL_SERVICE, port=port, meta=meta
    )


_FOLLOWED = (MemberJoined, MemberUpdated, MemberFailed, MemberLeft, MemberReaped)


class Reconciler:
    """Keeps the catalog of our datacenter true to its pool.

    Args:
        cluster: the LAN pool.
        store: of the catalog.
        datacenter: whose members count.
        is_isolated: tells whether we are alone and should not be.
        interval: seconds between passes over all members.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        datacenter: str,
        *,
        is_isolated: Callable[[], bool],
        interval: float = RECONCILE_INTERVAL,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._datacenter = datacenter
        self._is_isolated = is_isolated
        self._interval = interval
        self._own_name = cluster.config.name
        self._missing: set[str] = set()

    async def run(self) -> None:
        """Until the pool is closed."""
        events = self._cluster.subscribe(kinds=_FOLLOWED)
        loop = asyncio.get_running_loop()
        try:
            await self._tell_of_the_leader()
            while True:
                await self.full_pass()
                next_pass = loop.time() + self._interval
                while not await self._follow(events, next_pass):
                    pass
        except StopAsyncIteration:
            pass
        finally:
            events.close()

    async def _tell_of_the_leader(self) -> None:
        """Have the agents of the pool know that somebody takes their registrations (again)."""
        try:
            await self._cluster.fire(
                NEW_LEADER, self._own_name.encode("utf-8", "surrogateescape"), coalesce=False
            )
        except GossipError as error:  # a name that is too long for an event
            log.warning("the new leader is not told of error=%s", Value(error))

    async def _follow(self, events: AsyncIterator[object], until: float) -> bool:
        """Act on one event; True when it is time for a pass over all members."""
        try:
            async with asyncio.timeout_at(until):
                event = await anext(events)
        except TimeoutError:
            return True
        match event:
            case MemberJoined() | MemberUpdated() | MemberFailed() | MemberLeft():
                await self._write([self._wanted(event.member.name)])
            case MemberReaped():
                await self._write([self._reaped(event.member.name)])
            case _:
                pass  # events that were lost are made up for by the next pass
        return False

    def _wanted(self, name: str) -> Write | None:
        """What is to be written about a member as it is now, which may be newer than an event."""
        member = self._cluster.member(name)
        if member is None:
            return None
        if name == self._own_name and member.status is not MemberStatus.ALIVE:
            return None  # we are leaving, and take nothing with us
        return wanted(member, self._store.catalog, self._datacenter)

    def _reaped(self, name: str) -> Write | None:
        if self._cluster.member(name) is not None:
            return None  # it came back
        catalog = self._store.catalog
        return _gone(name, catalog) if catalog.check(name, SERF_CHECK) else None

    async def full_pass(self) -> None:
        """Compare all members and the catalog."""
        self._look_for_rivals()
        names = [member.name for member in self._cluster.members()]
        for at in range(0, len(names), TOGETHER):
            await self._write(map(self._wanted, names[at : at + TOGETHER]))
            await asyncio.sleep(0)  # a large pool does not hold the loop
        there = {folded(member.name) for member in self._cluster.members()}
        catalog = self._store.catalog
        known = (folded(node.node) for node in catalog.nodes())
        missing = {name for name in known if name not in there and catalog.check(name, SERF_CHECK)}
        if self._is_isolated():
            missing = set()
        gone = sorted(missing & self._missing)
        self._missing = missing - set(gone)
        for at in range(0, len(gone), TOGETHER):
            await self._write(Deregistration(node=name) for name in gone[at : at + TOGETHER])

    def _look_for_rivals(self) -> None:
        """Tell of other servers that lead: each has a catalog of its own, and clients ask either."""
        for member in self._cluster.members():
            server = server_of(member)
            is_alive = member.status is MemberStatus.ALIVE
            if is_alive and server and server.bootstrap and member.name != self._own_name:
                log.error(
                    "two servers are in bootstrap mode, and only one may be other=%s",
                    Value(member.name),
                )

    async def _write(self, writes: Iterable[Write | None]) -> None:
        todo = [self._write_one(write) for write in writes if write is not None]
        for error in filter(None, await asyncio.gather(*todo, return_exceptions=True)):
            if not isinstance(error, GossipError):
                raise error
            log.warning("the catalog does not follow gossip error=%s", Value(error))

    async def _write_one(self, write: Write) -> None:
        match write:
            case Registration(node=node, checks=checks):
                await self._store.register(write)
                status = checks[0].status
                log.info("member in the catalog node=%s status=%s", Value(node.node), status)
            case Deregistration(node=name):
                await self._store.deregister(write)
                log.info("member gone from the catalog node=%s", Value(name))
