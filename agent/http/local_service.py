"""``/v1/agent/service/<id>``: one service of this agent, with blocking queries by its content.

The agent's own services have no index. A client that gives the hash of what it has waits until there is
something else, or nothing any more.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b

from agent.http.answers import json_text
from agent.http.entries import service_shown
from agent.http.errors import HttpError
from agent.http.query import blocking
from agent.http.routing import Call, Methods, Reply, Route

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoint."""
    return (Route("/v1/agent/service/", Methods.READ, service, blocks=True),)


async def service(call: Call) -> Reply:
    """Show a service, once it differs from what ``?hash=`` stands for."""
    query = blocking(call.parameters)
    state, known = call.agent.local, call.get("hash")
    deadline = asyncio.get_running_loop().time() + query.wait
    while True:
        found = state.services.get(call.rest)
        if found is None:
            raise HttpError(404, f"unknown service ID: {call.rest}")
        shown = service_shown(found.entry)
        digest = blake2b(json_text(shown).encode("utf-8", "replace"), digest_size=8).hexdigest()
        if digest != known or not await state.service_changed(call.rest, deadline):
            return Reply(shown | {"ContentHash": digest}, {"X-Consul-ContentHash": digest})
