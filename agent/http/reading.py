"""What all reads of the catalog have in common: consistency, blocking, filters, nearness and headers.

Reads are served by the server that keeps the catalog, whichever agent was asked, so every consistency mode
is answered from there and none is ever stale.
"""

from __future__ import annotations

import random
import re
from math import inf
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from agent.http.errors import HttpError
from agent.http.query import blocking, consistency, refuse_filter
from agent.store.entries import folded
from gossip.serf.coordinates import distance

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from agent.http.routing import Call
    from agent.store.catalog import Instance
    from agent.store.store import Store
    from agent.store.watch import Topic

__all__ = [
    "JITTER",
    "check_read",
    "instance_filter",
    "nearness",
    "node_filter",
    "nodes_with_meta",
    "ready",
    "store_of",
    "version_of",
    "with_own_name",
]

T = TypeVar("T")

WAIT = 300.0
"""Default wait of a blocking query, seconds."""
JITTER = 1 / 16
"""Waits are up to this part longer, so that clients that came together do not come back together; who
forwards a query waits as long for its server."""
OURSELVES = "_agent"
"""What ``?near=`` says for the agent that was asked."""

_NEAR_US = re.compile(r"(?<=[?&])near=_agent(?=&|$)")


def check_read(missing: str = "") -> Callable[[Call], None]:
    """A check of a read's parameters, in Consul's order.

    Args:
        missing: told when nothing follows the path; empty when nothing has to.
    """

    def check(call: Call) -> None:
        blocking(call.parameters)
        refuse_filter(call.parameters)
        if missing and not call.rest:
            raise HttpError(400, missing)

    return check


def store_of(call: Call) -> Store:
    """The store of the agent, which has one or the request would not have come to its handler."""
    assert call.agent.store is not None  # noqa: S101 - see `Forwards.LEADER`
    return call.agent.store


async def ready(call: Call, topic: Topic) -> dict[str, str]:
    """The headers of an answer about a topic, once it has changed as the client wants it to."""
    query = blocking(call.parameters, default=WAIT)
    index = await store_of(call).index_of(
        topic, exceeding=query.index, wait=query.wait * (1 + random.uniform(0, JITTER))
    )
    return {
        "X-Consul-Index": str(index),
        "X-Consul-KnownLeader": "true",
        "X-Consul-LastContact": "0",
        "X-Consul-Effective-Consistency": consistency(call.parameters),
    }


def version_of(call: Call, headers: Mapping[str, str], *parameters: str) -> Hashable:
    """What an answer depends on, see `Reply.version`; None with ``?near=``, as nodes move.

    Args:
        call: the request.
        headers: from `ready`.
        parameters: those that the answer depends on, besides the index.
    """
    if call.has("near"):
        return None
    return (call.rest, headers["X-Consul-Index"], *(tuple(call.all(p)) for p in parameters))


def node_filter(call: Call) -> Callable[[Mapping[str, str]], bool]:
    """Whether the metadata of a node is what every ``?node-meta=key:value`` asks for."""
    wanted = [pair.partition(":")[::2] for pair in call.all("node-meta")]
    return lambda meta: all(meta.get(key) == value for key, value in wanted)


def nodes_with_meta(call: Call) -> set[str]:
    """The nodes with the metadata that every ``?node-meta=`` asks for, by their folded names."""
    matches = node_filter(call)
    return {folded(node.node) for node in store_of(call).catalog.nodes() if matches(node.meta)}


def instance_filter(call: Call) -> Callable[[Sequence[Instance]], Sequence[Instance]]:
    """Picks the instances with every ``?tag=``, in any case, on nodes with ``?node-meta=``, by nearness."""
    wanted = {tag.lower() for tag in call.all("tag")}
    matches, near = node_filter(call), nearness(call)

    def select(found: Sequence[Instance]) -> Sequence[Instance]:
        if wanted:
            found = [one for one in found if wanted <= {tag.lower() for tag in one.service.tags}]
        if call.has("node-meta"):
            found = [one for one in found if matches(one.node.meta)]
        return near(found, lambda one: one.node.node)

    return select


def nearness(call: Call) -> Callable[[Sequence[T], Callable[[T], str]], Sequence[T]]:
    """Sorts by the round trip from the node that ``?near=`` names; those unknown come last."""
    near = folded(call.get("near"))
    if near == OURSELVES:
        near = folded(call.agent.config.node_name)
    known = call.agent.cluster.coordinates() if near else {}
    places = {folded(name): place for name, place in known.items()}
    origin = places.get(near)
    if origin is None:
        return lambda items, _node_of: items
    far = {name: distance(origin, place) for name, place in places.items()}
    far[near] = 0.0
    return lambda items, node_of: sorted(
        items, key=lambda item: far.get(folded(node_of(item)), inf)
    )


def with_own_name(call: Call) -> str:
    """The target of a request that travels on: ``?near=_agent`` is about the agent that was asked."""
    if call.get("near") != OURSELVES:
        return call.target
    return _NEAR_US.sub(f"near={quote(call.agent.config.node_name, safe='')}", call.target)
