"""``/v1/agent/service``: the services of this agent."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from agent.decode import Body
from agent.definitions import service_definition
from agent.http.answers import json_text
from agent.http.checks import check_scripts, parse_enable, reason_of
from agent.http.errors import HttpError
from agent.http.query import parse_truth, refuse_filter, token_of
from agent.http.routing import Call, Methods, Reply, Route, Rows
from agent.maintenance import UnknownServiceError, maintain_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.store.entries import ServiceEntry

__all__ = ["routes", "service_shown"]

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
    return Reply(Rows(entries, _to_json, _by_id, key=attrgetter("id")))


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


def _by_id(services: Sequence[ServiceEntry]) -> Sequence[ServiceEntry]:
    return sorted(services, key=attrgetter("id"))


def service_shown(service: ServiceEntry) -> dict[str, Any]:
    """A service as Consul 1.8 shows it to the agent's clients."""
    passing, warning = service.weights
    tagged = {
        name: {"Address": address, "Port": port}
        for name, (address, port) in service.tagged_addresses.items()
    }
    return {
        "ID": service.id,
        "Service": service.service,
        "Tags": list(service.tags),
        "Meta": dict(service.meta),
        "Port": service.port,
        "Address": service.address,
        **({"TaggedAddresses": tagged} if tagged else {}),
        "Weights": {"Passing": passing, "Warning": warning},
        "EnableTagOverride": service.enable_tag_override,
    }


def _to_json(service: ServiceEntry) -> str:
    return json_text(service_shown(service))
