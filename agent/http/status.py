"""``/v1/status``: what is known of the Raft servers, as far as gossip tells."""

from __future__ import annotations

from typing import Any

from agent.http.query import blocking
from agent.http.routing import Call, Forwards, Methods, Reply, Route

__all__ = ["routes"]


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    read: dict[str, Any] = {"forwards": Forwards.DATACENTER, "check": _check}
    return (
        Route("/v1/status/leader", Methods.READ, leader, **read),
        Route("/v1/status/peers", Methods.READ, peers, **read),
    )


def _check(call: Call) -> None:
    """Neither endpoint blocks, and both refuse a query that could not."""
    blocking(call.parameters)


async def leader(call: Call) -> Reply:
    """Answer with the leader's ``ip:port``, empty when none is known; ``?dc=`` asks another datacenter."""
    return Reply(call.agent.leader())


async def peers(call: Call) -> Reply:
    """Answer with the servers' ``ip:port``; likewise."""
    return Reply(call.agent.peers())
