"""Merge rules: who may be in which pool of an agent, in Consul's words.

Serf merges any two pools that find each other, and one wrong address at one node is enough. So every
member is judged before it is taken in: alone when gossip brings it, and with all its fellows when two
pools are about to merge, which then happens completely or not at all.

The rules are Consul's (``lanMergeDelegate``, ``wanMergeDelegate``) and three of our own: a ``dc`` tag
counts whatever the role is; the LAN and the WAN pool of one datacenter never merge, although all their
servers would satisfy both; and node IDs are compared with those of the pool besides those of newcomers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.servers import server_of, tag_port
from agent.version import REVISION
from gossip.events import MemberStatus
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossip.events import Member

__all__ = [
    "NodeIds",
    "has_wan_name",
    "lan_problem",
    "wan_address",
    "wan_problem",
]

FIRST_UNIQUE = (0, 8, 5)
"""Before this version Consul derived node IDs from the host, and several agents of one shared it."""
MIN_PURGE = 64
"""Node IDs remembered without looking whether their holders are still there."""


def lan_problem(member: Member, datacenter: str, *, strict: bool = False) -> str | None:
    """Why a member may not be in the LAN pool of a datacenter; None if it may.

    A member without a ``dc`` tag is a plain Serf node, and welcome unless `strict`.
    """
    theirs = member.tags.get("dc", "" if strict else datacenter)
    if theirs != datacenter:
        return f"Member '{member.name}' part of wrong datacenter '{theirs}'"
    if server_of(member) and has_wan_name(member):
        return (
            f"Member '{member.name}' is a server of a WAN pool,"
            f" and this is the LAN pool of datacenter '{datacenter}'"
        )
    if segment := member.tags.get("segment"):
        return f"Member '{member.name}' part of wrong segment '{segment}' (expected '')"
    return None


def wan_problem(member: Member) -> str | None:
    """Why a member may not be in the WAN pool; None if it may: it is a server, and of that pool."""
    if server_of(member) is None:
        return f"Member '{member.name}' is not a server"
    if not has_wan_name(member):
        return (
            f"Member '{member.name}' is a server of the LAN pool of datacenter"
            f" '{member.tags.get('dc', '')}', and this is a WAN pool"
        )
    return None


def wan_address(member: Member) -> str | None:
    """``ip:port`` at which a server of a LAN pool is in the WAN pool; None when it does not say."""
    port = tag_port(member, "wan_join_port")
    if not port or server_of(member) is None:
        return None
    return join_host_port(member.addr, port)


def has_wan_name(member: Member) -> bool:
    """Whether a server presents itself as they do in the WAN pool.

    Its name there ends in its datacenter. One of the LAN pool that happens to be called so tells the
    port of its WAN pool.
    """
    return (
        member.name.endswith(f".{member.tags.get('dc', '')}") and "wan_join_port" not in member.tags
    )


class NodeIds:
    """Keeps node IDs unique in a pool: one that two nodes use is a copied data directory.

    IDs are looked up in an index, whatever the size of the pool. It tells who was admitted last with an
    ID; whether that member is there and still has it is looked up when it matters, so that nothing
    has to be told to the index when members change.

    Args:
        name: ours.
        node_id: ours.
        find: the member of a name in the pool.
    """

    def __init__(self, name: str, node_id: str, find: Callable[[str], Member | None]) -> None:
        self._name = name
        self._node_id = node_id
        self._find = find
        self._holders: dict[str, str] = {}
        self._purge_at = MIN_PURGE

    def __len__(self) -> int:
        return len(self._holders)

    def admit(self, members: Sequence[Member]) -> str | None:
        """Why these members may not come in together, or None: then their IDs are remembered."""
        fresh: dict[str, str] = {}
        for member in members:
            node_id = member.tags.get("id", "")
            if not node_id or member.status is MemberStatus.LEFT:
                continue
            problem = f"Member '{member.name}' has conflicting node ID '{node_id}'"
            if node_id == self._node_id and member.name != self._name:
                return f"{problem} with this agent's ID"
            if not _promises_unique_id(member):
                continue
            other = fresh.get(node_id) or self._holder(node_id)
            if other not in {None, member.name}:
                return f"{problem} with member '{other}'"
            fresh[node_id] = member.name
        if len(self._holders) > self._purge_at:
            self._purge()  # before newcomers are in the index: they are not in the pool yet
        self._holders |= fresh
        return None

    def _holder(self, node_id: str) -> str | None:
        """The running member that has an ID, as far as we know."""
        member = self._find(self._holders.get(node_id, ""))
        if member is None or member.status is not MemberStatus.ALIVE:
            return None
        return member.name if member.tags.get("id") == node_id else None

    def _purge(self) -> None:
        """Forget who is not there any more; the next time is so far off that it costs next to nothing."""
        there = {name: self._find(name) for name in self._holders.values()}
        self._holders = {
            node_id: name
            for node_id, name in self._holders.items()
            if (member := there[name]) is not None and member.tags.get("id") == node_id
        }
        self._purge_at = max(MIN_PURGE, 2 * len(self._holders))


def _promises_unique_id(member: Member) -> bool:
    """Whether it is of a version whose node IDs are its own; ours always are."""
    version, _, revision = member.tags.get("build", "").partition(":")
    numbers = re.match(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version, re.ASCII)
    return revision == REVISION or (
        numbers is not None and tuple(map(int, numbers.groups())) >= FIRST_UNIQUE
    )
