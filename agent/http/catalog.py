"""``/v1/catalog``: what is known of nodes and services, as far as gossip tells."""

from __future__ import annotations

from agent.http.routing import Call, Methods, Reply, Route

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (Route("/v1/catalog/datacenters", Methods.READ, datacenters),)


async def datacenters(call: Call) -> Reply:
    """List the datacenters that this agent knows, its own first; it takes no leader to answer."""
    return Reply(call.agent.datacenters())
