"""``/v1/event``: fire user events and list the recent ones."""

from __future__ import annotations

import base64
from typing import Any

from agent.events import SIZE_LIMIT, UserEvent, check_event
from agent.http.errors import HttpError
from agent.http.query import blocking
from agent.http.routing import Call, Forwards, Methods, Reply, Route

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (
        Route(
            "/v1/event/fire/",
            Methods.UPDATE,
            fire,
            forwards=Forwards.DATACENTER,
            max_body=SIZE_LIMIT,
            check=_check_fire,
        ),
        Route("/v1/event/list", Methods.READ, recent, blocks=True),
    )


async def fire(call: Call) -> Reply:
    """Fire an event in our datacenter; the answer shows it before it has a Lamport time."""
    event = await call.agent.fire(
        call.rest,
        await call.read_body(SIZE_LIMIT),
        node=call.get("node"),
        service=call.get("service"),
        tag=call.get("tag"),
    )
    return Reply(_render(event))


def _check_fire(call: Call) -> None:
    """Refuse what no datacenter would fire."""
    if not call.rest:
        raise HttpError(400, "Missing name")
    node, service, tag = (call.get(key) for key in ("node", "service", "tag"))
    check_event(UserEvent("", call.rest, b"", node, service, tag))


async def recent(call: Call) -> Reply:
    """List the events called ``?name=``, all of them by default, oldest first."""
    query = blocking(call.parameters)
    events, index = await call.agent.events.query(
        call.get("name"), index=query.index, wait=query.wait
    )
    ends = (events[0].id, events[-1].id, len(events)) if events else None
    return Reply(
        lambda: [_render(event) for event in events],
        {"X-Consul-Index": str(index)},
        version=(call.get("name"), ends),
    )


def _render(event: UserEvent) -> dict[str, Any]:
    payload = base64.b64encode(event.payload).decode() if event.payload else None
    return {
        "ID": event.id,
        "Name": event.name,
        "Payload": payload,
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": event.version,
        "LTime": event.ltime,
    }
