"""The commands of Serf's RPC that have one answer: read the body, ask the agent, make the answer's body.

Answers have Serf's keys in its order, which is the alphabet's. A `GossipError` becomes the error of the
answer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from agent.config_rules import RESERVED_TAGS
from agent.logs import Value
from agent.patterns import PatternError, compile_pattern, searches
from agent.rpc.errors import RpcError
from agent.runtime import runtime_stats
from gossip.errors import JoinError
from gossip.wire.address import parse_ip
from gossip.wire.codec import boolean, raw, text, text_map, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from agent.patterns import Pattern
    from agent.rpc.session import Session
    from gossip.events import Member
    from gossip.wire.rpc import Request

    Body: TypeAlias = Mapping[str, Any] | None

__all__ = ["COMMANDS", "render_member"]

log = logging.getLogger(__name__)


def render_member(member: Member) -> dict[str, Any]:
    """A member as Serf's clients read it."""
    return {
        "Addr": parse_ip(member.addr),
        "DelegateCur": member.delegate_cur,
        "DelegateMax": member.delegate_max,
        "DelegateMin": member.delegate_min,
        "Name": member.name,
        "Port": member.port,
        "ProtocolCur": member.protocol_cur,
        "ProtocolMax": member.protocol_max,
        "ProtocolMin": member.protocol_min,
        "Status": member.status.name.lower(),
        "Tags": dict(member.tags),
    }


async def members(session: Session, _request: Request) -> Body:
    """Everybody known."""
    return {"Members": [render_member(member) for member in session.agent.cluster.members()]}


async def members_filtered(session: Session, request: Request) -> Body:
    """Those whose name, status and tags match; Serf anchors each expression at both ends."""
    body = request.body
    try:
        tags = {tag: _anchored(expr) for tag, expr in text_map(body, b"Tags").items()}
    except PatternError as error:
        raise _bad_pattern("regex", error) from None
    status = _filter("status regex", text(body, b"Status"))
    name = _filter("name regex", text(body, b"Name"))
    found = [
        member
        for member in session.agent.cluster.members()
        if all(searches(pattern, member.tags.get(tag, "")) for tag, pattern in tags.items())
        and (status is None or searches(status, member.status.name.lower()))
        and (name is None or searches(name, member.name))
    ]
    return {"Members": [render_member(member) for member in found]}


def _filter(what: str, expression: str) -> Pattern | None:
    try:
        return _anchored(expression) if expression else None
    except PatternError as error:
        raise _bad_pattern(what, error) from None


def _anchored(expression: str) -> Pattern:
    return compile_pattern(f"^{expression}$")


def _bad_pattern(what: str, error: PatternError) -> RpcError:
    # Serf hangs up instead, and its command line says "client closed".
    return RpcError(f"Failed to compile {what}: {error}", {"Members": []})


async def join(session: Session, request: Request) -> Body:
    """Join by any of the addresses; the answer tells how many nodes were reached."""
    addresses = texts(request.body, b"Existing")
    replay = boolean(request.body, b"Replay")
    try:
        joined = await session.agent.cluster.join(addresses, ignore_old_events=not replay)
    except JoinError as error:
        raise RpcError(str(error), {"Num": 0}) from None
    return {"Num": joined}


async def leave(session: Session, _request: Request) -> Body:
    """Leave gracefully; the process ends after the answer."""
    await session.agent.leave()
    return None


async def force_leave(session: Session, request: Request) -> Body:
    """Declare that a failed member left, or forget it; one that nobody knows is no error."""
    name, prune = text(request.body, b"Node"), boolean(request.body, b"Prune")
    await session.agent.force_leave(name, prune=prune)
    return None


async def event(session: Session, request: Request) -> Body:
    """Fire an event of Serf's; Consul's interface does not show it."""
    name, payload = text(request.body, b"Name"), raw(request.body, b"Payload")
    coalesce = boolean(request.body, b"Coalesce")
    await session.agent.cluster.fire(name, payload, coalesce=coalesce)
    return None


async def tags(session: Session, request: Request) -> Body:
    """Set and delete tags of this node, until it is restarted or takes over other configured ones.

    Those by which Consul's agents recognise one another are not for clients to change: without its
    ``dc``, for example, a member is of no datacenter and refused by none.
    """
    agent = session.agent
    wanted, deleted = text_map(request.body, b"Tags"), texts(request.body, b"DeleteTags")
    if reserved := [tag for tag in (*wanted, *deleted) if tag in RESERVED_TAGS]:
        raise RpcError(f"tag {reserved[0]!r} belongs to the agent and cannot be changed")
    kept = {k: v for k, v in agent.cluster.local_member().tags.items() if k not in deleted}
    await agent.cluster.set_tags(kept | wanted)
    log.info("tags changed set=%s deleted=%s", Value(_list(wanted)), Value(_list(deleted)))
    return None


def _list(names: Sequence[str] | Mapping[str, str]) -> str:
    return ",".join(names)


async def stats(session: Session, _request: Request) -> Body:
    """Counters by section, all of them text."""
    member = session.agent.cluster.local_member()
    return {
        "agent": {"name": member.name} | {k: str(v) for k, v in sorted(session.stats.items())},
        "event_handlers": {},
        "runtime": runtime_stats(),
        "serf": session.agent.cluster.stats(),
        "tags": dict(member.tags),
    }


async def get_coordinate(session: Session, request: Request) -> Body:
    """The network coordinate of a member, as far as it is known here."""
    coordinate = session.agent.cluster.coordinate_of(text(request.body, b"Node"))
    if coordinate is None:
        nothing = {"Adjustment": 0.0, "Error": 0.0, "Height": 0.0, "Vec": None}
        return {"Coord": nothing, "Ok": False}
    shown = {
        "Adjustment": coordinate.adjustment,
        "Error": coordinate.error,
        "Height": coordinate.height,
        "Vec": list(coordinate.vec),
    }
    return {"Coord": shown, "Ok": True}


COMMANDS: Mapping[str, Callable[[Session, Request], Awaitable[Body]]] = {
    "event": event,
    "force-leave": force_leave,
    "get-coordinate": get_coordinate,
    "join": join,
    "leave": leave,
    "members": members,
    "members-filtered": members_filtered,
    "stats": stats,
    "tags": tags,
}
