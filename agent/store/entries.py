"""The nouns of the catalog: nodes, services and checks, and what is asked to change about them.

Entries are values: once made they do not change, so they are handed out as they are. What a reader made
of one (its JSON) may be kept in `memo`, and goes when the entry does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SERF_CHECK",
    "CheckEntry",
    "Deregistration",
    "DiskError",
    "Entry",
    "NodeEntry",
    "Registration",
    "ServiceEntry",
    "Status",
    "StoreError",
    "Write",
    "folded",
]

SERF_CHECK = "serfHealth"
"""ID of the check by which gossip tells whether a node is alive."""


class StoreError(GossipError):
    """The catalog cannot do what it is asked to; nothing was changed. The text is Consul's where it has one."""


class DiskError(StoreError):
    """The disk did not take the write; nothing was changed."""


class Status(StrEnum):
    """What a check says."""

    UNKNOWN = "unknown"
    """It has not run yet; only registered that way, checks of agents start as critical."""
    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


def folded(name: str) -> str:
    """The name of a node or a service as it is looked up: they are the same in any case."""
    return name.lower()


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeEntry:
    """One node.

    Attributes:
        node: its name.
        address: IP address, or whatever was registered.
        id: UUID; empty when none is known.
        tagged_addresses: further addresses by purpose, such as ``wan``.
        meta: free text by key.
        create_index: of the write that made it; 0 before it is stored.
        modify_index: of the write that changed it last.
    """

    node: str
    address: str
    id: str = ""
    tagged_addresses: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0
    memo: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)


@dataclass(slots=True, frozen=True, kw_only=True)
class ServiceEntry:
    """One instance of a service.

    Attributes:
        node: name of its node.
        id: unique on the node.
        service: its name.
        tags: in the order in which they were given.
        port: 0 when it has none.
        address: empty when it is the node's.
        meta: free text by key.
        tagged_addresses: further addresses by purpose, each an address and a port.
        weights: for those who balance load, while it is passing and while it is warning.
        enable_tag_override: others may change the tags, and the agent takes theirs over.
        create_index: see `NodeEntry`.
        modify_index: likewise.
    """

    node: str
    id: str
    service: str
    tags: tuple[str, ...] = ()
    port: int = 0
    address: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    tagged_addresses: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    weights: tuple[int, int] = (1, 1)
    enable_tag_override: bool = False
    create_index: int = 0
    modify_index: int = 0
    memo: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)


@dataclass(slots=True, frozen=True, kw_only=True)
class CheckEntry:
    """One check, of a node or of one of its services.

    Attributes:
        node: name of its node.
        check_id: unique on the node.
        name: for people.
        status: what it says.
        notes: for people.
        output: what it printed last.
        service_id: of the service that it is about; empty when it is about the node.
        service_name: of that service; the store fills it in.
        service_tags: likewise.
        type: how it is made, such as ``http``; empty when nobody told.
        definition: how it is made, in the words of the API; the store only keeps it.
        create_index: see `NodeEntry`.
        modify_index: likewise.
    """

    node: str
    check_id: str
    name: str
    status: Status = Status.CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    definition: Mapping[str, Any] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0
    memo: dict[str, str] = field(default_factory=dict, init=False, compare=False, repr=False)


Entry: TypeAlias = NodeEntry | ServiceEntry | CheckEntry


@dataclass(slots=True, frozen=True, kw_only=True)
class Registration:
    """A node, and perhaps a service and checks of it, to be there as described, all or nothing.

    Attributes:
        node: replaces what is known of it.
        service: likewise.
        checks: likewise.
        keep_node: a node that exists is left as it is.
    """

    node: NodeEntry
    service: ServiceEntry | None = None
    checks: tuple[CheckEntry, ...] = ()
    keep_node: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class Deregistration:
    """A service with its checks, else a check, else a node with everything on it, to be gone.

    Attributes:
        node: name.
        service_id: wins over a check.
        check_id: used when there is no service.
    """

    node: str
    service_id: str = ""
    check_id: str = ""


Write: TypeAlias = Registration | Deregistration
