"""The body of a push/pull: every member that the sender knows, and the state of the layer above."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from gossip.wire.codec import Fields, meta, name, pack, raw, u16, u32, uint

__all__ = ["NodeState", "PushPull", "PushPullNode", "push_pull_node_from"]


class NodeState(IntEnum):
    """A member's state as push/pull carries it."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(slots=True)
class PushPullNode:
    """One member as the sender of a push/pull knows it."""

    name: str
    addr: bytes
    port: int
    meta: bytes
    incarnation: int
    state: int
    vsn: bytes

    def encode(self) -> bytes:
        """Write the record; it has no type byte."""
        return pack(
            {
                "Addr": self.addr or None,
                "Incarnation": self.incarnation,
                "Meta": self.meta or None,
                "Name": self.name,
                "Port": self.port,
                "State": self.state,
                "Vsn": self.vsn or None,
            }
        )


@dataclass(slots=True)
class PushPull:
    """A full state: every member the sender knows, and the state of the layer above.

    `skipped` counts the records left out on receipt because a name or meta exceeds our limits.
    Genuine members do not make such records, but they would pass on somebody's; refusing the state
    for one of them would let that somebody cut us off from everybody.
    """

    join: bool
    nodes: list[PushPullNode]
    user_state: bytes
    skipped: int = field(default=0, compare=False)

    def encode(self) -> bytes:
        """Write the message with its type byte."""
        header = {
            "Join": self.join,
            "Nodes": len(self.nodes),
            "UserStateLen": len(self.user_state),
        }
        parts = [b"\x06", pack(header)]
        parts += [node.encode() for node in self.nodes]
        parts.append(self.user_state)
        return b"".join(parts)


def push_pull_node_from(f: Fields) -> PushPullNode:
    """Read one record of a push/pull."""
    return PushPullNode(
        name(f, b"Name"),
        raw(f, b"Addr"),
        u16(f, b"Port"),
        meta(f, b"Meta"),
        u32(f, b"Incarnation"),
        uint(f, b"State", NodeState.LEFT),
        raw(f, b"Vsn"),
    )
