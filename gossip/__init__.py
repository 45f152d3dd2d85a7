"""The gossip protocol: a member of a Serf pool as a plain asyncio library.

::

    async with Cluster(Config.lan("web-1")) as cluster:
        await cluster.join(["10.0.0.1"])
        async for event in cluster.subscribe():
            print(event)

`Cluster` is where to begin; `Config` has the settings, and what is raised on purpose is a `GossipError`,
except that wrong types are a TypeError and the system's refusals an OSError.

Every name is loaded at its first use, so that a part can be imported without the rest: the pure ones
without asyncio, and what only computes without the wire.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossip.aio import Cluster
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
    from gossip.keys import KeyManager, KeyResult, RotationStep
    from gossip.queries import QueryReplies
    from gossip.serf.coordinates import Coordinate, distance
    from gossip.subscriptions import Subscription

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Coordinate",
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
    "distance",
]

_HOMES = {
    "gossip.aio": {"Cluster"},
    "gossip.config": {"Config"},
    "gossip.errors": {
        "ConfigError",
        "GossipError",
        "JoinError",
        "LimitError",
        "QueryError",
        "WireError",
    },
    "gossip.keys": {"KeyManager", "KeyResult", "RotationStep"},
    "gossip.queries": {"QueryReplies"},
    "gossip.serf.coordinates": {"Coordinate", "distance"},
    "gossip.subscriptions": {"Subscription"},
}
"""Where the names come from; all others are from ``gossip.events``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "gossip.events")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """For ``help(gossip)`` and completion, which would know of no name until it was used."""
    return sorted({*globals(), *__all__})
