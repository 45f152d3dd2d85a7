"""The gossip protocol: a member of a Serf pool as a plain asyncio library.

`Cluster` and what belongs to it are loaded at first use, so that the pure parts can be imported without
asyncio.
"""

from importlib import import_module
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

if TYPE_CHECKING:
    from gossip.aio import Cluster
    from gossip.keys import KeyManager, KeyResult, RotationStep
    from gossip.queries import QueryReplies
    from gossip.subscriptions import Subscription

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Event",
    "Gap",
    "GossipError",
    "JoinError",
    "KeyManager",
    "KeyResult",
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
    "RotationStep",
    "Subscription",
    "UserEvent",
    "WireError",
]


_DRIVER = {
    "Cluster": "aio",
    "KeyManager": "keys",
    "KeyResult": "keys",
    "QueryReplies": "queries",
    "RotationStep": "keys",
    "Subscription": "subscriptions",
}


def __getattr__(name: str) -> Any:
    if name in _DRIVER:
        return getattr(import_module(f"gossip.{_DRIVER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
