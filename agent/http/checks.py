"""``/v1/agent/check``: the checks of this agent, and maintenance of the node, which is one of them."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from agent.decode import Body
from agent.definitions import check_definition, status_of
from agent.http.answers import json_text
from agent.http.entries import check_shown
from agent.http.errors import HttpError
from agent.http.query import parse_truth, refuse_filter, token_of
from agent.http.routing import Call, Methods, Reply, Route, Rows
from agent.maintenance import maintain_node
from agent.store.entries import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from agent.definitions import CheckDefinition

__all__ = ["check_scripts", "parse_enable", "reason_of", "routes"]

MAX_BODY = 64 * 1024
"""Bytes of a registration."""
MAX_UPDATE = 512 * 1024
"""Bytes of an update, whose output is cut: a check does not lapse because it has too much to say."""


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    tell = "/v1/agent/check/"
    return (
        Route("/v1/agent/checks", Methods.READ, checks),
        Route("/v1/agent/check/register", Methods.REGISTER, register),
        Route("/v1/agent/check/deregister/", Methods.CONTROL, deregister),
        Route(f"{tell}pass/", Methods.CONTROL, _teller(Status.PASSING)),
        Route(f"{tell}warn/", Methods.CONTROL, _teller(Status.WARNING)),
        Route(f"{tell}fail/", Methods.CONTROL, _teller(Status.CRITICAL)),
        Route(f"{tell}update/", Methods.REGISTER, update),
        Route("/v1/agent/maintenance", Methods.UPDATE, maintenance),
    )


async def checks(call: Call) -> Reply:
    """Show the checks by ID; how they are made is not shown, as it may hold secrets."""
    refuse_filter(call.parameters)
    entries = [check.entry for check in call.agent.local.checks]
    return Reply(Rows(entries, lambda one: json_text(check_shown(one)), key=attrgetter("check_id")))


async def register(call: Call) -> Reply:
    """Add a check, or define it anew."""
    definition = check_definition(Body.parse(await call.read_body(MAX_BODY)))
    check_scripts(call, [definition])
    token = definition.token or token_of(call.parameters, call.headers)
    await call.agent.local.register_check(replace(definition, token=token))
    await call.agent.sync.told()
    return Reply()


async def deregister(call: Call) -> Reply:
    """Remove a check; one that is not there is no mistake."""
    await call.agent.local.deregister_check(call.rest)
    await call.agent.sync.told()
    return Reply()


def _teller(status: Status) -> Callable[[Call], Awaitable[Reply]]:
    async def tell(call: Call) -> Reply:
        """Take what a client found; without ``?note=`` there is no output."""
        call.agent.local.tell(call.rest, status, call.get("note"))
        await call.agent.sync.told()
        return Reply()

    return tell


async def update(call: Call) -> Reply:
    """The same with status and output in a body."""
    body = Body.parse(await call.read_body(MAX_UPDATE))
    text = body.text("Status")
    status = status_of(text, f"Invalid check status: '{text[:60]}'")
    call.agent.local.tell(call.rest, status, body.text("Output"))
    await call.agent.sync.told()
    return Reply()


async def maintenance(call: Call) -> Reply:
    """Take the node out of service, or bring it back."""
    enable = parse_enable(call)
    await maintain_node(call.agent.local, enable=enable, reason=reason_of(call))
    await call.agent.sync.told()
    return Reply()


def parse_enable(call: Call) -> bool:
    """``?enable=``.

    Raises:
        HttpError: 400 when it is missing or neither true nor false.
    """
    if not call.has("enable"):
        raise HttpError(400, "Missing value for enable")
    text = call.get("enable")
    try:
        if text:
            return parse_truth(text, empty=False)
    except ValueError:
        pass
    raise HttpError(400, f'Invalid value for enable: "{text[:60]}"')


def reason_of(call: Call) -> str:
    """``?reason=``, in which what is no UTF-8 is replaced."""
    return call.get("reason").encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def check_scripts(call: Call, found: Iterable[CheckDefinition]) -> None:
    """Refuse scripts of clients on other machines, whatever else these may change.

    Raises:
        HttpError: 403.
    """
    if not call.local and any(check.kind == "script" for check in found):
        raise HttpError(403, "Scripts are taken from clients on this machine only")
