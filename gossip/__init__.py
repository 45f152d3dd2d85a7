"""The gossip protocol: a member of a Serf pool as a plain asyncio library.

Every name is loaded at its first use, so that a part can be imported without the rest: the pure ones
without asyncio, and what only computes without the wire.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossip.aio import Cluster, Subscription
    from gossip.config import Config
    from gossip.errors import ConfigError, GossipError, JoinError, LimitError, WireError
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
        UserEvent,
    )
    from gossip.serf.coordinates import Coordinate, distance

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
    "Subscription",
    "UserEvent",
    "WireError",
    "distance",
]

_HOMES = {
    "gossip.aio": {"Cluster", "Subscription"},
    "gossip.config": {"Config"},
    "gossip.errors": {"ConfigError", "GossipError", "JoinError", "LimitError", "WireError"},
    "gossip.serf.coordinates": {"Coordinate", "distance"},
}
"""Where the names come from; all others are from ``gossip.events``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "gossip.events")
    value = globals()[name] = getattr(import_module(home), name)
    return value
