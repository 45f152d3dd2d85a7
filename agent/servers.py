"""Servers: who can be asked on behalf of a datacenter, as far as gossip tells.

A member is a server when its ``role`` tag is ``consul`` and its ``port`` tag is a port. Those of our own
datacenter are in the LAN pool, those of the others in the WAN pool, which only servers are in. Genuine
Consul servers carry the same tags and speak another protocol on that port, so ours have one tag more:
`FORWARD_TAG`, whose value is the newest version of `agent.forward` that they understand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossip.events import MemberStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossip.aio import Cluster
    from gossip.events import Member
    from gossip.wire.address import Address

__all__ = ["FORWARD_TAG", "FORWARD_VERSION", "Server", "Servers", "server_of", "tag_port"]

FORWARD_TAG = "gapi"
"""Short, because all tags of a member share 512 bytes."""
FORWARD_VERSION = 1


@dataclass(slots=True, frozen=True)
class Server:
    """One server.

    Attributes:
        name: of the member; in the WAN pool ``<node>.<datacenter>``.
        dc: its datacenter.
        address: IP address and server port.
        ours: it understands `agent.forward`; genuine Consul servers do not.
        bootstrap: it announces that it may elect itself.
    """

    name: str
    dc: str
    address: Address
    ours: bool
    bootstrap: bool


def server_of(member: Member) -> Server | None:
    """The server that a member is; None when it is none."""
    port = tag_port(member, "port")
    expect = _number(member.tags.get("expect", "0"))
    if member.tags.get("role") != "consul" or not port or expect is None:
        return None
    return Server(
        member.name,
        member.tags.get("dc", ""),
        (member.addr, port),
        (_number(member.tags.get(FORWARD_TAG, "")) or 0) >= FORWARD_VERSION,
        "bootstrap" in member.tags,
    )


class Servers:
    """The servers of all datacenters.

    Args:
        lan: pool of our own datacenter.
        wan: pool of the servers of all datacenters; None on clients, and where it is off.
        datacenter: ours.

    Attributes:
        datacenter: ours.
    """

    def __init__(self, lan: Cluster, wan: Cluster | None, datacenter: str) -> None:
        self.datacenter = datacenter
        self._lan = _Pool(lan)
        self._wan = None if wan is None else _Pool(wan)

    def of(self, datacenter: str) -> list[Server]:
        """The servers of a datacenter that are alive, in the order in which they were first seen."""
        pool = self._pool(datacenter)
        return [] if pool is None else list(pool.servers().get(datacenter, ()))

    def cluster_of(self, datacenter: str) -> Cluster:
        """The pool through which the servers of a datacenter are known."""
        pool = self._pool(datacenter)
        return (pool or self._lan).cluster

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The pools that we are in."""
        return tuple(pool.cluster for pool in (self._lan, self._wan) if pool is not None)

    def clusters_with(self, ip: str) -> list[Cluster]:
        """The pools in which somebody at this address forwards: LAN agents, servers of the WAN pool."""
        found = [self._lan.cluster] if ip in self._lan.agents(self.datacenter) else []
        if self._wan is not None and ip in self._wan.hosts():
            found.append(self._wan.cluster)
        return found

    def _pool(self, datacenter: str) -> _Pool | None:
        return self._lan if datacenter == self.datacenter else self._wan


class _Pool:
    """What the tags of one pool say, read again only when a member changed."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._version = -1
        self._servers: dict[str, list[Server]] = {}
        self._agents: dict[str, set[str]] = {}

    def servers(self) -> Mapping[str, list[Server]]:
        """Alive servers by datacenter."""
        self._read()
        return self._servers

    def agents(self, datacenter: str) -> set[str]:
        """Addresses of the alive agents of a datacenter, servers and clients."""
        self._read()
        return self._agents.get(datacenter, set())

    def hosts(self) -> set[str]:
        """Addresses of all alive servers."""
        return {server.address[0] for servers in self.servers().values() for server in servers}

    def _read(self) -> None:
        version = self.cluster.members_version
        if version == self._version:
            return
        self._version = version
        self._servers, self._agents = {}, {}
        for member in self.cluster.members():
            if member.status not in {MemberStatus.ALIVE, MemberStatus.LEAVING}:
                continue
            if member.tags.get("role") in {"consul", "node"}:
                self._agents.setdefault(member.tags.get("dc", ""), set()).add(member.addr)
            server = server_of(member)
            if server is not None and member.status is MemberStatus.ALIVE:
                self._servers.setdefault(server.dc, []).append(server)


def tag_port(member: Member, tag: str) -> int:
    """The port that a tag of a member names; 0 when it names none."""
    port = _number(member.tags.get(tag, ""))
    return port if port is not None and port <= 65535 else 0


def _number(text: str) -> int | None:
    """A decimal number of a tag; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
