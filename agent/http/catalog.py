"""``/v1/catalog``: nodes and services of the datacenter, and writes at a low level."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.decode import Body
from agent.definitions import check_service, service_entry, weights_problem
from agent.http.entries import node_data, node_json, row_json, service_data
from agent.http.errors import HttpError
from agent.http.query import consistency
from agent.http.reading import (
    check_read,
    instance_filter,
    nearness,
    node_filter,
    nodes_with_meta,
    ready,
    store_of,
    version_of,
)
from agent.http.routing import Call, Forwards, Methods, Reply, Route, Rows
from agent.registrations import check_of, node_of
from agent.store.entries import Deregistration, Registration, folded
from agent.store.watch import NODES, SERVICES, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.store.entries import NodeEntry, ServiceEntry

__all__ = ["routes"]

MAX_BODY = 512 * 1024
"""Bytes of a registration; a service with all it may have takes a few kilobytes."""


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    write: dict[str, Any] = {
        "forwards": Forwards.LEADER,
        "max_body": MAX_BODY,
        "datacenter": _datacenter,
    }
    read: dict[str, Any] = {"blocks": True, "forwards": Forwards.LEADER}
    service, name = check_read("Missing service name"), check_read("Missing node name")
    return (
        Route("/v1/catalog/register", Methods.REGISTER, register, **write),
        Route("/v1/catalog/deregister", Methods.REGISTER, deregister, **write),
        Route(
            "/v1/catalog/datacenters",
            Methods.READ,
            datacenters,
            forwards=Forwards.WAN,
            check=_check_mode,
        ),
        Route("/v1/catalog/nodes", Methods.READ, nodes, check=check_read(), **read),
        Route("/v1/catalog/services", Methods.READ, services, check=check_read(), **read),
        Route("/v1/catalog/service/", Methods.READ, instances, check=service, **read),
        Route("/v1/catalog/node/", Methods.READ, node, check=name, **read),
    )


async def _body(call: Call) -> Body:
    return Body.parse(await call.read_body(MAX_BODY))


def _datacenter(body: bytes) -> str:
    return Body.parse(body).text("Datacenter")


async def register(call: Call) -> Reply:
    """Have a node, perhaps with a service and checks, be there as the body says."""
    body = await _body(call)
    name = body.text("Node")
    service, one = body.object("Service"), body.object("Check")
    many = ([] if one is None else [one]) + body.objects("Checks")
    for check in many:
        if (other := check.text("Node")) and folded(other) != folded(name):
            raise HttpError(400, f'check node "{other}" does not match node "{name}"')
    write = Registration(
        node=node_of(body),
        service=None if service is None else _service(service, name),
        checks=tuple(check_of(check, name) for check in many),
        keep_node=body.truth("SkipNodeUpdate"),
    )
    await store_of(call).register(write)
    return Reply(data=True)


def _service(body: Body, node: str) -> ServiceEntry:
    """A service; weights by which nobody can balance load are those of a service without any."""
    entry = service_entry(body, node, "Service")
    check_service(entry)
    return replace(entry, weights=(1, 1)) if weights_problem(entry.weights) else entry


async def deregister(call: Call) -> Reply:
    """Have a service with its checks, a check, or a whole node be gone; it may be so already."""
    body = await _body(call)
    await store_of(call).deregister(
        Deregistration(
            node=body.text("Node"),
            service_id=body.text("ServiceID"),
            check_id=body.text("CheckID"),
        )
    )
    return Reply(data=True)


def _check_mode(call: Call) -> None:
    consistency(call.parameters)


async def datacenters(call: Call) -> Reply:
    """List the datacenters that the servers know, ours first; it takes no leader to answer."""
    return Reply(call.agent.datacenters())


async def nodes(call: Call) -> Reply:
    """List the nodes by name, or with ``?near=`` by distance."""
    headers = await ready(call, NODES)
    datacenter = call.agent.config.datacenter
    matches = node_filter(call)

    near = nearness(call)

    def select(found: Sequence[NodeEntry]) -> Sequence[NodeEntry]:
        return near([node for node in found if matches(node.meta)], lambda node: node.node)

    def make() -> Rows:
        found = store_of(call).catalog.nodes()
        return Rows(found, lambda node: node_json(node, datacenter), select)

    return Reply(make, headers, version=version_of(call, headers, "node-meta"))


async def services(call: Call) -> Reply:
    """List the names of the services, each with the tags of all its instances."""
    headers = await ready(call, SERVICES)
    catalog = store_of(call).catalog
    if not call.has("node-meta"):
        return Reply(
            lambda: {name: _tags(found) for name, found in catalog.services().items()},
            headers,
            version=version_of(call, headers),
        )
    there = nodes_with_meta(call)
    on_these = {
        name: [service for service in found if folded(service.node) in there]
        for name, found in catalog.services().items()
    }
    return Reply({name: _tags(found) for name, found in on_these.items() if found}, headers)


def _tags(found: Iterable[ServiceEntry]) -> list[str]:
    return list(dict.fromkeys(tag for service in found for tag in service.tags))


async def instances(call: Call) -> Reply:
    """List the instances of a service, those with all of ``?tag=`` if there are any."""
    headers = await ready(call, Topic("service", folded(call.rest)))
    datacenter = call.agent.config.datacenter
    select = instance_filter(call)

    def make() -> Rows:
        found = store_of(call).catalog.instances(call.rest)
        return Rows(found, lambda one: row_json(one, datacenter), select)

    return Reply(make, headers, version=version_of(call, headers, "tag", "node-meta"))


async def node(call: Call) -> Reply:
    """Show a node and its services by ID; null when it is not known."""
    headers = await ready(call, Topic("node", folded(call.rest)))
    found = store_of(call).catalog.node(call.rest)
    if found is None:
        return Reply(None, headers)
    return Reply(
        {
            "Node": node_data(found.node, call.agent.config.datacenter),
            "Services": {id_: service_data(one) for id_, one in found.services.items()},
        },
        headers,
    )
