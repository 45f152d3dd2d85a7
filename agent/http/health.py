"""``/v1/health``: checks by node, by service and by state, and services with their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.http.entries import check_json, instance_json
from agent.http.errors import HttpError
from agent.http.query import parse_truth
from agent.http.reading import (
    check_read,
    instance_filter,
    nearness,
    nodes_with_meta,
    ready,
    store_of,
    version_of,
)
from agent.http.routing import Call, Forwards, Methods, Reply, Route, Rows
from agent.store.entries import Status, folded
from agent.store.watch import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.store.catalog import Catalog, Instance
    from agent.store.entries import CheckEntry

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    read: dict[str, Any] = {"blocks": True, "forwards": Forwards.LEADER}
    service = check_read("Missing service name")
    return (
        Route(
            "/v1/health/node/",
            Methods.READ,
            of_node,
            check=check_read("Missing node name"),
            **read,
        ),
        Route("/v1/health/checks/", Methods.READ, of_service, check=service, **read),
        Route("/v1/health/service/", Methods.READ, instances, check=_check_instances, **read),
        Route(
            "/v1/health/state/",
            Methods.READ,
            in_state,
            check=check_read("Missing check state"),
            **read,
        ),
    )


async def of_node(call: Call) -> Reply:
    """List the checks on a node, those of its services included; who names it needs no ``?node-meta=``."""
    headers = await ready(call, Topic("checks-of-node", folded(call.rest)))
    return Reply(
        lambda: Rows(store_of(call).catalog.node_checks(call.rest), check_json),
        headers,
        version=version_of(call, headers),
    )


async def of_service(call: Call) -> Reply:
    """List the checks of all instances of a service."""
    topic = Topic("checks-of-service", folded(call.rest))
    return await _checks(call, topic, lambda catalog: catalog.service_checks(call.rest))


async def in_state(call: Call) -> Reply:
    """List the checks in a state, which may be ``any``; a state that does not exist has none."""
    topic = Topic("state", call.rest)
    return await _checks(call, topic, lambda catalog: catalog.checks(call.rest))


async def _checks(call: Call, topic: Topic, read: Callable[[Catalog], list[CheckEntry]]) -> Reply:
    headers = await ready(call, topic)
    near = nearness(call)

    def make() -> Rows:
        found = read(store_of(call).catalog)
        if call.has("node-meta"):
            there = nodes_with_meta(call)
            found = [check for check in found if folded(check.node) in there]
        return Rows(found, check_json, lambda checks: near(checks, lambda check: check.node))

    # Metadata of nodes is no part of the topic.
    version = None if call.has("node-meta") else version_of(call, headers)
    return Reply(make, headers, version=version)


async def instances(call: Call) -> Reply:
    """List the instances of a service, each with its checks and those of its node.

    ``?tag=`` and ``?passing`` leave those with all these tags, and those whose checks all pass.
    """
    headers = await ready(call, Topic("health", folded(call.rest)))
    datacenter = call.agent.config.datacenter
    select, passing = instance_filter(call), _passing(call)

    def healthy(found: Sequence[Instance]) -> Sequence[Instance]:
        if passing:
            found = [one for one in found if all(c.status is Status.PASSING for c in one.checks)]
        return select(found)

    def make() -> Rows:
        found = store_of(call).catalog.instances(call.rest)
        return Rows(found, lambda one: instance_json(one, datacenter), healthy)

    return Reply(make, headers, version=version_of(call, headers, "tag", "node-meta", "passing"))


def _check_instances(call: Call) -> None:
    check_read("Missing service name")(call)
    _passing(call)


def _passing(call: Call) -> bool:
    """``?passing``: there without a value, or true."""
    try:
        return call.has("passing") and parse_truth(call.get("passing"), empty=True)
    except ValueError:
        raise HttpError(400, "Invalid value for ?passing") from None
