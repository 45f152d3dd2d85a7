"""PoolView: what a member sees of its pool, and waiting until that changes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gossip.changes import Changes
from gossip.errors import GossipError
from gossip.events import MemberStatus
from gossip.swim.tcp_only import some_of

if TYPE_CHECKING:
    from gossip.config import Config
    from gossip.events import Member
    from gossip.serf.coordinates import Coordinate
    from gossip.serf.node import Node
    from gossip.wire.address import Address

__all__ = ["UDP_UNREACHABLE", "PoolView"]

UDP_UNREACHABLE = "UDP unreachable"
"""What `PoolView.stats` calls degraded when members answer over TCP only."""
NAMES_IN_STATS = 32
"""Names of members in one value of the statistics; the others are counted."""


class PoolView:
    """The side of a `gossip.Cluster` that only looks.

    Args:
        config: the pool's settings.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stats: Counter[str] = Counter()  # of the driver, beside the node's own
        self._node: Node | None = None
        self._members_changes = Changes(lambda: self.members_version)
        self._coordinates_changes = Changes(lambda: self.coordinates_version)

    @property
    def local_address(self) -> Address:
        """The address that others are told, IP as text and port."""
        return self.node.membership.own.info.address

    @property
    def node(self) -> Node:
        """The state machine inside; read it freely, change it only through the `Cluster`."""
        if self._node is None:
            raise GossipError("the cluster has not been started")
        return self._node

    def members(self) -> list[Member]:
        """Everybody we know, failed and left members included."""
        return self.node.members.views()

    def member(self, name: str) -> Member | None:
        """Who is known by a name."""
        members = self.node.members
        held = members.get(name)
        return None if held is None else members.view(held)

    def local_member(self) -> Member:
        """Ourselves."""
        own = self.member(self.config.name)
        assert own is not None  # noqa: S101 - it is added at the start and never reaped
        return own

    @property
    def rejoining(self) -> bool:
        """Nobody else is alive, and the snapshot knows of members that should be."""
        return self.node.rejoining

    @property
    def members_version(self) -> int:
        """A number that grows with every change of `members`."""
        return self.node.members.version

    async def members_changed(self, version: int) -> int:
        """Wait until `members_version` is not `version`, or the cluster is closed; returns it."""
        return await self._members_changes.wait(version)

    @property
    def coordinate(self) -> Coordinate | None:
        """Our network coordinate; None when `Config.coordinates` is off."""
        return self.coordinate_of(self.config.name)

    def coordinate_of(self, name: str) -> Coordinate | None:
        """The coordinate that a member told when we probed it last, or our own.

        `gossip.distance` estimates the round trip between any two. None: coordinates are off, here or
        there, or the member is unknown or has not answered a probe yet.
        """
        coordinates = self.node.coordinates
        return coordinates.of(name) if coordinates else None

    def coordinates(self) -> dict[str, Coordinate]:
        """Every coordinate that is known, by the member's name, our own included."""
        coordinates = self.node.coordinates
        return coordinates.all() if coordinates else {}

    @property
    def coordinates_version(self) -> int:
        """A number that grows with every change of `coordinates`, and of `members`."""
        coordinates = self.node.coordinates
        return coordinates.version if coordinates else self.members_version

    async def coordinates_changed(self, version: int) -> int:
        """Wait until `coordinates_version` is not `version`, or the cluster is closed; returns it."""
        return await self._coordinates_changes.wait(version)

    def stats(self) -> dict[str, str]:
        """Serf's statistics, what is degraded, and every counter that is not zero.

        ``degraded`` is empty, or `UDP_UNREACHABLE`; then ``udp_unreachable_members`` names those that
        answer over TCP only.
        """
        node = self.node
        membership, counts = node.membership, node.members.counts
        tcp_only = membership.prober.tcp_only.names()
        values = {
            "members": len(node.members),
            "failed": counts[MemberStatus.FAILED],
            "left": counts[MemberStatus.LEFT],
            "health_score": membership.awareness.score,
            "member_time": node.member_clock.time,
            "event_time": node.event_clock.time,
            "query_time": node.query_clock.time,
            "intent_queue": len(membership.dissemination.intents),
            "event_queue": len(membership.dissemination.events),
            "query_queue": len(membership.dissemination.queries),
            "encrypted": "true" if node.keyring else "false",
            "coordinate_resets": node.coordinates.resets if node.coordinates else 0,
            "degraded": UDP_UNREACHABLE if tcp_only else "",
            "udp_unreachable_members": some_of(tcp_only, NAMES_IN_STATS),
        }
        counters = sorted((self._stats + node.stats).items())
        return {name: str(value) for name, value in [*values.items(), *counters]}

    def _check_changes(self) -> None:
        """Wake who waits for a change, if there was one."""
        self._members_changes.check()
        self._coordinates_changes.check()

    def _close_changes(self) -> None:
        """Wake everybody who waits: nothing changes any more."""
        self._members_changes.close()
        self._coordinates_changes.close()
