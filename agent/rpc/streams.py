"""The commands of Serf's RPC that go on: events and the log, and what stops them.

A client that does not read holds up nothing: what it would have been sent beyond its queue is dropped
and counted, and a watcher of the log is told how much it was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.log_stream import LogEntry, lost
from agent.logs import level_of
from agent.rpc.commands import render_member
from agent.rpc.errors import RpcError
from gossip.events import (
    Gap,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    QueryReceived,
    UserEvent,
)
from gossip.wire.codec import text, u64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from agent.rpc.merged import Shown
    from agent.rpc.session import Session
    from gossip.subscriptions import Subscription
    from gossip.wire.rpc import Request

__all__ = ["COMMANDS", "Filter", "parse_filters"]

log = logging.getLogger(__name__)

QUEUE = 512
"""Events that a client may lag behind, as in Serf."""
MONITOR_EXISTS = "Monitor already exists"
FILTER_INVALID = "Invalid event filter"

_KINDS = {
    MemberJoined: "member-join",
    MemberLeft: "member-leave",
    MemberFailed: "member-failed",
    MemberUpdated: "member-update",
    MemberReaped: "member-reap",
}
_NAMED = frozenset({"user", "query"})
_FILTERS = frozenset(_KINDS.values()) | _NAMED | {"*"}


@dataclass(slots=True, frozen=True)
class Filter:
    """Which events are wanted: a kind, or ``*``, and for some a name, empty for any."""

    kind: str
    name: str = ""

    def takes(self, kind: str, name: str) -> bool:
        """Whether an event is wanted."""
        return self.kind == "*" or (self.kind == kind and self.name in {"", name})


def parse_filters(expression: str) -> list[Filter]:
    """Filters from Serf's form, such as ``member-join,user:deploy``; empty wants everything.

    Raises:
        RpcError: a kind is unknown.
    """
    filters = []
    for part in (expression or "*").split(","):
        kind, colon, name = part.partition(":")
        if kind not in _FILTERS or (colon and kind not in _NAMED):
            raise RpcError(FILTER_INVALID)
        filters.append(Filter(kind, name))
    return filters


async def stream(session: Session, request: Request) -> None:
    """Send the events to come that pass the filter, merged as `agent.rpc.merged` tells."""
    filters = parse_filters(text(request.body, b"Type"))
    subscription = session.events.subscribe(QUEUE, session.counter("rpc_events_dropped"))
    records = _send_events(session, request.seq, subscription, filters)
    session.open(request.seq, records, subscription.close)


async def _send_events(
    session: Session, seq: int, subscription: Subscription[Shown], filters: Sequence[Filter]
) -> None:
    async for event in subscription:
        if isinstance(event, Gap):
            log.warning("a client is too slow for its events dropped=%d", event.missed)
            continue
        kind, name = _kind_of(event)
        if any(f.takes(kind, name) for f in filters):
            await session.send(seq, _record(event, kind, session))


def _kind_of(event: Shown) -> tuple[str, str]:
    """Serf's word for what an event is, and its name if it has one."""
    match event:
        case UserEvent():
            return "user", event.name
        case QueryReceived():
            return "query", event.name
        case _:
            return _KINDS[event.kind], ""


def _record(event: Shown, kind: str, session: Session) -> Mapping[str, Any]:
    """What a client is sent of an event."""
    match event:
        case UserEvent():
            return {
                "Coalesce": event.coalesce,
                "Event": kind,
                "LTime": event.ltime,
                "Name": event.name,
                "Payload": event.payload or None,
            }
        case QueryReceived():
            return {
                "Event": kind,
                "ID": session.pending.add(event),
                "LTime": event.ltime,
                "Name": event.name,
                "Payload": event.payload or None,
            }
        case _:
            return {"Event": kind, "Members": [render_member(member) for member in event.members]}


async def monitor(session: Session, request: Request) -> None:
    """Send the recent lines of the log, and those to come, from a level up."""
    try:
        level = level_of(text(request.body, b"LogLevel").upper())
    except ValueError as error:
        raise RpcError(str(error)) from None
    if session.monitor is not None:
        raise RpcError(MONITOR_EXISTS)
    session.open(request.seq, _send_log(session, request.seq, level))
    session.monitor = request.seq


async def _send_log(session: Session, seq: int, level: int) -> None:
    logs = session.agent.logs
    count = session.counter("rpc_log_lines_dropped")
    with logs.watch(level, on_missed=count) as watcher:
        for entry in logs.recent(level):
            await session.send(seq, {"Log": entry.serf_line()})
        async for item in watcher:
            line = lost(item, LogEntry.serf_line) if isinstance(item, Gap) else item.serf_line()
            await session.send(seq, {"Log": line})


async def stop(session: Session, request: Request) -> None:
    """End a stream of this client; to end none is no error."""
    session.stop(u64(request.body, b"Stop"))


COMMANDS: Mapping[str, Callable[[Session, Request], Awaitable[None]]] = {
    "monitor": monitor,
    "stop": stop,
    "stream": stream,
}
