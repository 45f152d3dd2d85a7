"""``/v1/coordinate``: network coordinates, from which round trips between nodes are estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.http.errors import HttpError
from agent.http.query import blocking
from agent.http.routing import Call, Forwards, Methods, Reply, Route

if TYPE_CHECKING:
    from agent.coordinates import NodeCoordinate
    from gossip.serf.coordinates import Coordinate

__all__ = ["render_coordinate", "routes"]

WAIT = 300.0
"""Default wait of a blocking query, seconds."""


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    options: dict[str, Any] = {
        "blocks": True,
        "forwards": Forwards.DATACENTER,
        "check": _check_enabled,
    }
    return (
        Route(
            "/v1/coordinate/datacenters",
            Methods.READ,
            datacenters,
            forwards=Forwards.WAN,
            check=_check_enabled,
        ),
        Route("/v1/coordinate/nodes", Methods.READ, nodes, **options),
        Route("/v1/coordinate/node/", Methods.READ, node, **options),
    )


async def datacenters(call: Call) -> Reply:
    """List the servers of each datacenter, ours first."""
    return Reply(
        [
            {
                "Datacenter": entry.datacenter,
                "AreaID": entry.area,
                "Coordinates": [_render(server) for server in entry.servers],
            }
            for entry in call.agent.datacenter_coordinates()
        ]
    )


async def nodes(call: Call) -> Reply:
    """List the nodes of our datacenter, or of one segment with ``?segment=``."""
    found, headers = await _query(call)
    segment = call.parameters.get("segment")
    return Reply(
        lambda: [_render(entry) for entry in found],
        headers,
        version=(segment, headers["X-Consul-Index"]),
    )


async def node(call: Call) -> Reply:
    """Answer with the coordinates of one node, in a list, as a node may be in several segments."""
    found, headers = await _query(call)
    name = call.rest.lower()
    entries = [_render(entry) for entry in found if entry.node.lower() == name]
    if not entries:
        raise HttpError(404, headers=headers)
    return Reply(entries, headers)


def render_coordinate(coordinate: Coordinate) -> dict[str, Any]:
    """A coordinate as Consul shows it."""
    return {
        "Vec": list(coordinate.vec),
        "Error": coordinate.error,
        "Adjustment": coordinate.adjustment,
        "Height": coordinate.height,
    }


def _render(entry: NodeCoordinate) -> dict[str, Any]:
    return {
        "Node": entry.node,
        "Segment": entry.segment,
        "Coord": render_coordinate(entry.coordinate),
    }


async def _query(call: Call) -> tuple[list[NodeCoordinate], dict[str, str]]:
    """The nodes asked for and the headers that belong to them."""
    query = blocking(call.parameters, default=WAIT)
    found, index = await call.agent.lan.coordinates(index=query.index, wait=query.wait)
    if call.has("segment"):
        found = [entry for entry in found if entry.segment == call.get("segment")]
    return found, {
        "X-Consul-Index": str(index),
        "X-Consul-KnownLeader": "true" if call.agent.leader() else "false",
        "X-Consul-LastContact": "0",
    }


def _check_enabled(call: Call) -> None:
    if call.agent.config.disable_coordinates:
        raise HttpError(401, "Coordinate support disabled")
