"""``/v1/agent/service``: the services of this agent."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

from agent.decode import Body
from agent.definitions import service_definition
from agent.http.answers import json_text
from agent.http.checks import check_scripts, parse_enable, reason_of
from agent.http.entries import service_shown
from agent.http.errors import HttpError
from agent.http.query import parse_truth, refuse_filter, token_of
from agent.http.routing import Call, Methods, Reply, Route, Rows
from agent.maintenance import UnknownServiceError, maintain_service

__all__ = ["routes"]

MAX_BODY = 64 * 1024
"""Bytes of a registration; a service with all it may have takes a few kilobytes."""


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (
        Route("/v1/agent/services", Methods.READ, services),
        Route("/v1/agent/service/register", Methods.REGISTER, register),
        Route("/v1/agent/service/deregister/", Methods.CONTROL, deregister),
        Route("/v1/agent/service/maintenance/", Methods.UPDATE, maintenance),
    )


async def services(call: Call) -> Reply:
    """Show the services by ID."""
    refuse_filter(call.parameters)
    entries = [service.entry for service in call.agent.local.services.values()]
    return Reply(Rows(entries, lambda one: json_text(service_shown(one)), key=attrgetter("id")))


async def register(call: Call) -> Reply:
    """Add a service with its checks, or define it anew."""
    definition = service_definition(Body.parse(await call.read_body(MAX_BODY)))
    replace_checks = _replaces_checks(call)
    check_scripts(call, definition.checks)
    if token := definition.token or token_of(call.parameters, call.headers):
        definition = replace(
            definition,
            token=token,
            checks=tuple(replace(check, token=check.token or token) for check in definition.checks),
        )
    await call.agent.local.register_service(definition, replace_checks=replace_checks)
    await call.agent.sync.told()
    return Reply()


def _replaces_checks(call: Call) -> bool:
    key = "replace-existing-checks"
    try:
        return parse_truth(call.get(key), empty=call.has(key))
    except ValueError as error:
        raise HttpError(400, f"Invalid value for {key}: {error}") from None


async def deregister(call: Call) -> Reply:
    """Remove a service with its checks; one that is not there is no mistake."""
    await call.agent.local.deregister_service(call.rest)
    await call.agent.sync.told()
    return Reply()


async def maintenance(call: Call) -> Reply:
    """Take a service out of service, or bring it back."""
    if not call.rest:
        raise HttpError(400, "Missing service ID")
    enable = parse_enable(call)
    try:
        await maintain_service(call.agent.local, call.rest, enable=enable, reason=reason_of(call))
    except UnknownServiceError as error:
        raise HttpError(404, str(error)) from None
    await call.agent.sync.told()
    return Reply()
