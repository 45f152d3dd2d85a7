"""Network coordinates as Consul's catalog lists them: by node, and by datacenter.

Consul's agents send theirs to a server now and then. Ours need none: each lists its own, and what members
told it when it probed them, which is newer. A member that this agent has not probed yet is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gossip.events import MemberStatus

if TYPE_CHECKING:
    from gossip.aio import Cluster
    from gossip.serf.coordinates import Coordinate

__all__ = ["DatacenterCoordinates", "NodeCoordinate", "datacenter_coordinates", "node_coordinates"]


@dataclass(slots=True, frozen=True)
class NodeCoordinate:
    """Where one node is."""

    node: str
    segment: str
    coordinate: Coordinate


@dataclass(slots=True, frozen=True)
class DatacenterCoordinates:
    """Where the servers of one datacenter are.

    Attributes:
        area: the pool, ``wan`` or ``lan``; distances have a meaning within one only.
    """

    datacenter: str
    area: str
    servers: list[NodeCoordinate]


def node_coordinates(pool: Cluster) -> list[NodeCoordinate]:
    """Every node of a pool whose coordinate is known, by name; those that left are gone."""
    known = pool.coordinates()
    return sorted(
        (
            NodeCoordinate(member.name, member.tags.get("segment", ""), known[member.name])
            for member in pool.members()
            if member.name in known and member.status is not MemberStatus.LEFT
        ),
        key=lambda entry: entry.node,
    )


def datacenter_coordinates(
    lan: Cluster, datacenter: str, wan: Cluster | None = None
) -> list[DatacenterCoordinates]:
    """The servers of all datacenters, ours first.

    Args:
        lan: our datacenter's pool.
        datacenter: its name.
        wan: the pool of all servers; without it there is our own datacenter, as the LAN pool sees it.
    """
    pool, area = (lan, "lan") if wan is None else (wan, "wan")
    tags = {member.name: member.tags for member in pool.members()}
    servers: dict[str, list[NodeCoordinate]] = {datacenter: []}
    for entry in node_coordinates(pool):
        dc = tags[entry.node].get("dc", "")
        if tags[entry.node].get("role") == "consul" and dc:
            # In the WAN pool names end with the datacenter's.
            name = entry.node if wan is None else entry.node.removesuffix(f".{dc}")
            servers.setdefault(dc, []).append(replace(entry, node=name))
    return [
        DatacenterCoordinates(dc, area, servers[dc])
        for dc in sorted(servers, key=lambda dc: (dc != datacenter, dc))
    ]
