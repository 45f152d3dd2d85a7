"""Pools of `Cluster` on loopback, for tests of the driver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gossip.events import MemberStatus
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gossip import Cluster

__all__ = ["address", "alive", "pool", "until", "until_alive"]


def address(cluster: Cluster) -> str:
    return join_host_port(*cluster.local_address)


def alive(cluster: Cluster) -> set[str]:
    return {m.name for m in cluster.members() if m.status is MemberStatus.ALIVE}


async def until_alive(clusters: list[Cluster], names: set[str]) -> None:
    async with asyncio.timeout(10):
        for cluster in clusters:
            while alive(cluster) != names:
                await cluster.members_changed(cluster.members_version)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody could set an event here
        await asyncio.sleep(0.01)


async def pool(
    start_node: Callable[..., Awaitable[Cluster]], count: int, **settings: Any
) -> list[Cluster]:
    """Nodes n0, n1, ... that have joined the first one and see each other."""
    clusters = [await start_node(f"n{i}", **settings) for i in range(count)]
    for cluster in clusters[1:]:
        await cluster.join([address(clusters[0])])
    await until_alive(clusters, {c.config.name for c in clusters})
    return clusters
