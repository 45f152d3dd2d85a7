"""The gossip protocol: a member of a Serf pool as a plain asyncio library.

`Cluster` is loaded at its first use, so that the pure parts can be imported without asyncio.
"""

from typing import TYPE_CHECKING, Any

from gossip.config import Config
from gossip.errors import (
    ConfigError,
    GossipError,
    JoinError,
    LimitError,
    QueryError,
    WireError,
)
from gossip.events import (
    Event,
    Gap,
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
    MemberUpdated,
    NameConflictLost,
    QueryAck,
    QueryAnswer,
    QueryReceived,
    UserEvent,
)
from gossip.serf.coordinates import Coordinate, distance

if TYPE_CHECKING:
    from gossip.aio import Cluster, QueryReplies, Subscription

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Coordinate",
    "Event",
    "Gap",
    "GossipError",
    "JoinError",
    "LimitError",
    "Member",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberReaped",
    "MemberStatus",
    "MemberUpdated",
    "NameConflictLost",
    "QueryAck",
    "QueryAnswer",
    "QueryError",
    "QueryReceived",
    "QueryReplies",
    "Subscription",
    "UserEvent",
    "WireError",
    "distance",
]


def __getattr__(name: str) -> Any:
    if name in {"Cluster", "QueryReplies", "Subscription"}:
        from gossip import aio  # noqa: PLC0415 - see above

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
