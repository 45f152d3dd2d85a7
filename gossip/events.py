"""What an application sees: members, and what happens to them and around them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from gossip.wire.serf import UserEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Admit",
    "Event",
    "Gap",
    "Member",
    "MemberEvent",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberReaped",
    "MemberStatus",
    "MemberUpdated",
    "NameConflictLost",
    "QueryAck",
    "QueryAnswer",
    "QueryReceived",
    "QueryReply",
    "UserEvent",
]


class MemberStatus(IntEnum):
    """Serf's view of a member; the numbers are those of Consul's HTTP API."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


@dataclass(slots=True, frozen=True)
class Member:
    """One member as this node sees it at one moment."""

    name: str
    addr: str
    """IP address as text."""
    port: int
    tags: Mapping[str, str]
    status: MemberStatus
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int


@dataclass(slots=True, frozen=True)
class MemberJoined:
    """A member is alive that was unknown, failed or left."""

    member: Member


@dataclass(slots=True, frozen=True)
class MemberLeft:
    """A member left of its own accord, or was forced to."""

    member: Member


@dataclass(slots=True, frozen=True)
class MemberFailed:
    """A member stopped answering."""

    member: Member


@dataclass(slots=True, frozen=True)
class MemberUpdated:
    """An alive member changed its tags or versions."""

    member: Member


@dataclass(slots=True, frozen=True)
class MemberReaped:
    """A failed or left member was forgotten."""

    member: Member


@dataclass(slots=True, frozen=True)
class Gap:
    """A subscriber was too slow: so many events before the next one were dropped."""

    missed: int


@dataclass(slots=True, frozen=True)
class QueryReceived:
    """A member asks; answer with `gossip.Cluster.respond`, once and before the deadline.

    `id` and `ltime` name the query in the pool. `source` is the asking member, empty when an old one
    does not say. `deadline` is the driver's time (``time.monotonic``), seconds.
    """

    id: int
    ltime: int
    name: str
    payload: bytes
    source: str
    deadline: float


@dataclass(slots=True, frozen=True)
class QueryAck:
    """A member has received our query."""

    node: str


@dataclass(slots=True, frozen=True)
class QueryAnswer:
    """A member's answer to our query."""

    node: str
    payload: bytes


QueryReply: TypeAlias = QueryAck | QueryAnswer


@dataclass(slots=True, frozen=True)
class NameConflictLost:
    """The pool holds another node for the owner of our name: this one has shut down.

    `votes` of `voters` members hold our address.
    """

    name: str
    votes: int
    voters: int


Admit: TypeAlias = "Callable[[Sequence[Member]], str | None]"
"""Tells why some members may not be in the pool, one of them or all together, or None when they may.

It is asked about a single member that gossip brings, and about all those of another pool that are news
before anything of it is merged (memberlist: merge_delegate.go). A member's status is what is claimed."""

MemberEvent: TypeAlias = MemberJoined | MemberLeft | MemberFailed | MemberUpdated | MemberReaped
Event: TypeAlias = MemberEvent | UserEvent | QueryReceived | NameConflictLost
