"""The coordinates of a pool as one node knows them: its own, and those that came with acks.

    ping -->          ack: our coordinate rides on it, encoded once per change
    <-- ack           its coordinate and the round trip move ours, and it is kept for the member

What is kept hangs on the member and goes with it. A member that has coordinates off, or that we have not
probed yet, has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.serf.coordinates import CoordinateClient
from gossip.wire.values import decode_coordinate, encode_coordinate

if TYPE_CHECKING:
    from collections import Counter
    from random import Random

    from gossip.serf.members import MemberRegistry
    from gossip.wire.coordinate import Coordinate

__all__ = ["MemberCoordinate", "PoolCoordinates"]


class MemberCoordinate:
    """What is held of one member: its latest coordinate, and the latest round trips to it."""

    __slots__ = ("coordinate", "recent")

    def __init__(self, coordinate: Coordinate, recent: list[float]) -> None:
        self.coordinate = coordinate
        self.recent = recent


class PoolCoordinates:
    """The coordinates that a `Node` knows.

    Args:
        name: our own name.
        members: whom coordinates are kept for.
        stats: counts what is refused.
        rng: every random choice.
    """

    def __init__(
        self, name: str, members: MemberRegistry, stats: Counter[str], rng: Random
    ) -> None:
        self._name = name
        self._members = members
        self._stats = stats
        self._client = CoordinateClient(rng)
        self._changes = 0
        self._payload = encode_coordinate(self._client.own)

    @property
    def own(self) -> Coordinate:
        """Our own coordinate."""
        return self._client.own

    @property
    def version(self) -> int:
        """Grows with every change of `all`, and of the members that it belongs to."""
        return self._changes + self._members.version

    @property
    def resets(self) -> int:
        """How often our coordinate had become unusable and began anew."""
        return self._client.resets

    def ack_payload(self) -> bytes:
        """Our coordinate as it rides on our acks."""
        return self._payload

    def learn(self, name: str, rtt: float, payload: bytes) -> None:
        """A member answered our direct ping, `rtt` seconds later, with this payload."""
        member = self._members.get(name)
        if member is None or not payload:
            return
        try:
            coordinate = decode_coordinate(payload)
        except WireError:
            self._stats["coordinates_refused"] += 1
            return
        if coordinate is None:
            self._stats["coordinates_of_other_versions"] += 1
            return
        recent = member.coordinate.recent if member.coordinate else []
        if not self._client.update(coordinate, rtt, recent):
            self._stats["coordinates_refused"] += 1
            return
        member.coordinate = MemberCoordinate(coordinate, recent)
        self._payload = encode_coordinate(self._client.own)
        self._changes += 1

    def of(self, name: str) -> Coordinate | None:
        """The coordinate of a member, ourselves included, or None."""
        if name == self._name:
            return self._client.own
        member = self._members.get(name)
        return member.coordinate.coordinate if member and member.coordinate else None

    def all(self) -> dict[str, Coordinate]:
        """Every coordinate that is known, by the member's name; our own is there."""
        found = {
            member.info.name: member.coordinate.coordinate
            for member in self._members
            if member.coordinate
        }
        return found | {self._name: self._client.own}
