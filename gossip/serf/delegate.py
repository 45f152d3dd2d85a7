"""What Serf makes of what the membership below it reports and asks (serf's delegates in one).

admit           the application's word on newcomers
notify_...      members, name conflicts and Serf messages, each handed to the part that it is for
local_state     clocks, status times and recent events of a push/pull; merge_remote_state, a peer's
ack_payload     our network coordinate
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.events import MemberStatus
from gossip.serf.members import describe_member
from gossip.swim.members import Status
from gossip.wire.address import join_host_port
from gossip.wire.serf import (
    JoinIntent,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    StateSync,
    UserEvent,
    decode_serf,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gossip.events import Admit
    from gossip.serf.node import Node
    from gossip.swim.members import NodeInfo, Record
    from gossip.wire.address import Address

__all__ = ["SerfDelegate"]

_CLAIMED: Mapping[int, MemberStatus] = {
    Status.DEAD: MemberStatus.FAILED,
    Status.LEFT: MemberStatus.LEFT,
}
"""What an application is told about the state that a newcomer is said to be in; others are alive."""


class SerfDelegate:
    """The `gossip.swim.delegate.Delegate` of a node.

    Args:
        node: has the parts; nothing is called before all of them are there.
        admit: the application's rule, if it has one.
    """

    def __init__(self, node: Node, admit: Admit | None) -> None:
        self._node = node
        self._admit = admit

    def admit(self, newcomers: Sequence[tuple[NodeInfo, int]]) -> str | None:
        """Ask the application."""
        if self._admit is None:
            return None
        return self._admit(
            [
                describe_member(info, _CLAIMED.get(state, MemberStatus.ALIVE))
                for info, state in newcomers
            ]
        )

    def notify_join(self, record: Record, now: float) -> None:
        """A member is alive."""
        node = self._node
        node.members.joined(record, now)
        node.membership.dissemination.resize(members=len(node.members))

    def notify_leave(self, record: Record, now: float) -> None:
        """A member is dead or left."""
        self._node.members.gone(record, now)

    def notify_update(self, record: Record, now: float) -> None:
        """A member changed its tags."""
        self._node.members.updated(record, now)

    def notify_conflict(self, held: NodeInfo, other: NodeInfo, now: float) -> None:
        """Two nodes use one name."""
        node = self._node
        where, elsewhere = join_host_port(*held.address), join_host_port(*other.address)
        node.membership.notice(
            f"name conflict: {held.name} is at {where}, {elsewhere} claims it too"
        )
        if held is node.membership.own.info and node.config.resolve_name_conflicts:
            node.name_conflict.begin(other, now)

    def notify_message(self, data: bytes, source: Address | None, now: float) -> None:
        """A Serf message; what is new is passed on byte for byte."""
        node = self._node
        try:
            message = decode_serf(data)
        except WireError as error:
            node.stats[f"messages_refused_{error.layer}"] += 1
            return
        match message:
            case UserEvent():
                node.user_events.receive(message, data, source, now)
            case JoinIntent() | LeaveIntent():
                node.intents.receive(message, data, source, now)
            case Query():
                if node.witness(node.query_clock, message.ltime) and (
                    node.queries.receive(message, now)
                ):
                    node.broadcast(node.membership.dissemination.queries, data, source, now)
            case Relay():
                node.queries.forward(message)
            case QueryResponse():
                node.asking.receive(message, now)
            case _:
                node.stats["messages_unexpected_serf"] += 1

    def local_state(self, *, join: bool) -> bytes:  # noqa: ARG002 - both kinds carry the same
        """Clocks, status times and recent events, for a push/pull."""
        node = self._node
        return StateSync(
            ltime=node.member_clock.time,
            status_ltimes={member.info.name: member.status_ltime for member in node.members},
            left_members=list(node.members.names(MemberStatus.LEFT)),
            event_ltime=node.event_clock.time,
            events=node.ring.snapshot(),
            query_ltime=node.query_clock.time,
        ).encode()

    def merge_remote_state(self, data: bytes, now: float, *, join: bool, ignore_old: bool) -> None:
        """A peer's clocks, status times and recent events; none of it is passed on."""
        node = self._node
        try:
            state = decode_serf(data)
        except WireError as error:
            node.stats[f"messages_refused_{error.layer}"] += 1
            return
        if not isinstance(state, StateSync):
            node.stats["messages_unexpected_serf"] += 1
            return
        clocks = (
            (node.member_clock, state.ltime),
            (node.event_clock, state.event_ltime),
            (node.query_clock, state.query_ltime),
        )
        if all(seen <= 0 or node.witness(clock, seen - 1) for clock, seen in clocks):
            node.intents.merge(state, now)
            node.user_events.merge(state, now, ignore_old=join and ignore_old)

    def ack_payload(self) -> bytes:
        """Our coordinate, or nothing."""
        coordinates = self._node.coordinates
        return coordinates.ack_payload() if coordinates else b""

    def notify_ping_complete(self, record: Record, rtt: float, payload: bytes) -> None:
        """The round trip and the member's coordinate move ours."""
        if coordinates := self._node.coordinates:
            coordinates.learn(record.info.name, rtt, payload)
