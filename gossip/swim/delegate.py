"""What the membership asks of the layer above it (memberlist's delegate.go)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.swim.members import NodeInfo, Record
    from gossip.wire.address import Address

__all__ = ["Delegate", "NullDelegate"]


class Delegate(Protocol):
    """The user of a `Membership`. Calls happen inside its inputs; all times are local time."""

    def admit(self, newcomers: Sequence[tuple[NodeInfo, int]]) -> str | None:
        """Why these may not be in our pool, one of them or all together; None when they may.

        They are those of a state to be merged that are not held as they are, or a single one; the
        number is the state (`gossip.swim.members.Status`) that they are said to be in.
        """

    def notify_join(self, record: Record, now: float) -> None:
        """A member became alive that was unknown, dead or left."""

    def notify_leave(self, record: Record, now: float) -> None:
        """A member became dead or left."""

    def notify_update(self, record: Record, now: float) -> None:
        """An alive member changed its meta."""

    def notify_conflict(self, held: NodeInfo, other: NodeInfo, now: float) -> None:
        """Another address claims the name of a member; ours is kept."""

    def notify_message(self, data: bytes, source: Address | None, now: float) -> None:
        """A user message arrived; `source` is None when it came over TCP."""

    def local_state(self, *, join: bool) -> bytes:
        """Our part of a push/pull."""

    def merge_remote_state(self, data: bytes, now: float, *, join: bool, ignore_old: bool) -> None:
        """Their part of a push/pull; `ignore_old` asks not to replay events from before a join."""

    def ack_payload(self) -> bytes:
        """What rides on our acks."""

    def notify_ping_complete(self, record: Record, rtt: float, payload: bytes) -> None:
        """A direct ping was answered in time, `rtt` seconds later."""


class NullDelegate:
    """A membership without a layer above it: everything is admitted, nothing is told."""

    def admit(self, newcomers: Sequence[tuple[NodeInfo, int]]) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Admit everybody."""
        return None

    def notify_join(self, record: Record, now: float) -> None:
        """Ignore it."""

    def notify_leave(self, record: Record, now: float) -> None:
        """Ignore it."""

    def notify_update(self, record: Record, now: float) -> None:
        """Ignore it."""

    def notify_conflict(self, held: NodeInfo, other: NodeInfo, now: float) -> None:
        """Ignore it."""

    def notify_message(self, data: bytes, source: Address | None, now: float) -> None:
        """Ignore it."""

    def local_state(self, *, join: bool) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing to tell."""
        return b""

    def merge_remote_state(self, data: bytes, now: float, *, join: bool, ignore_old: bool) -> None:
        """Ignore it."""

    def ack_payload(self) -> bytes:
        """Nothing to tell."""
        return b""

    def notify_ping_complete(self, record: Record, rtt: float, payload: bytes) -> None:
        """Ignore it."""
