"""Several datacenters on this machine, each a cluster of its own, joined by their servers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from simulations.cluster.cluster import LocalCluster, all_see

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from simulations.cluster.agent import LocalAgent

__all__ = ["LocalDatacenters"]


class LocalDatacenters:
    """`count` datacenters dc1, dc2 and so on, each of `size` agents of which the first is a server.

    ``async with`` starts the agents; `LocalCluster.join` of each cluster and `join` join them.
    """

    def __init__(
        self,
        count: int,
        size: int = 3,
        *,
        http_port: int | None = None,
        folder: Path | None = None,
        **settings: Any,
    ) -> None:
        """Describe them without starting them.

        Args:
            count: number of datacenters.
            size: agents in each.
            http_port: HTTP port of the first agent; the first one of each datacenter follows the
                agents of the one before (OSError when taken). None: any free ports.
            folder: where data and logs go and stay; None: temporary folders.
            settings: further ones of `LocalCluster`.
        """
        self.clusters = [
            LocalCluster(
                size,
                servers=1,
                datacenter=f"dc{number}",
                prefix=f"dc{number}-node",
                http_port=None if http_port is None else http_port + (number - 1) * size,
                folder=folder,
                **settings,
            )
            for number in range(1, count + 1)
        ]
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            for cluster in self.clusters:
                await stack.enter_async_context(cluster)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def servers(self) -> dict[str, LocalAgent]:
        """The running servers by their names in the WAN pool."""
        return {
            f"{server.name}.{cluster.datacenter}": server
            for cluster in self.clusters
            for server in cluster.servers()
        }

    async def join(self) -> None:
        """Join one server of each datacenter to the first one's in the WAN pool."""
        first, *others = (cluster.servers()[0] for cluster in self.clusters)
        assert first.wan is not None  # noqa: S101 - it is a server
        for other in others:
            await other.join([first.wan], wan=True)

    async def complete(self, *, within: float) -> None:
        """Wait until every server sees all of them alive in the WAN pool, and no other.

        Raises:
            TimeoutError: showing what each server saw instead.
        """
        servers = self.servers()
        await all_see(list(servers.values()), set(servers), within=within, wan=True)
