"""``/v1/status``: what is known of the Raft servers, as far as gossip tells."""

from __future__ import annotations

from agent.http.routing import Call, Methods, Reply, Route

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (
        Route("/v1/status/leader", Methods.READ, leader),
        Route("/v1/status/peers", Methods.READ, peers),
    )


async def leader(call: Call) -> Reply:
    """Answer with the leader's ``ip:port``, empty when none is known."""
    return Reply(call.agent.leader())


async def peers(call: Call) -> Reply:
    """Answer with the servers' ``ip:port``."""
    return Reply(call.agent.peers())
