"""A genuine Consul agent as a process on loopback, and its HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from simulations.cluster.agent import HOST, LocalAgent
from simulations.local.wait import eventually
from simulations.peers.find import find_peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from simulations.local.ports import Ports

__all__ = ["ConsulAgent"]


class ConsulAgent(LocalAgent):
    """``consul agent``; as a server it elects itself. ``async with`` starts it."""

    def __init__(
        self,
        name: str,
        *,
        ports: Ports,
        folder: Path,
        host: str = HOST,
        server: bool = True,
        encrypt: str = "",
        log_level: str = "debug",
        datacenter: str = "dc1",
        arguments: Sequence[str] = (),
        watch: Callable[[float, bytes], None] | None = None,
    ) -> None:
        """Describe the agent.

        Args:
            name: its node name.
            ports: where its six ports come from.
            folder: for its data and log.
            host: loopback address of all its ports, ``::1`` for IPv6.
            server: a bootstrapping server, else a client.
            encrypt: base64 gossip key.
            log_level: of its log.
            datacenter: its datacenter.
            arguments: more of ``consul agent``.
            watch: gets its log as it is written, see `Process`.
        """
        # The shortest election timeouts: as set by default, a lone server takes 10 s to elect itself.
        role = (
            ["-server", "-bootstrap", "-hcl=performance { raft_multiplier = 1 }"] if server else []
        )
        if encrypt:
            role.append(f"-encrypt={encrypt}")
        super().__init__(
            name,
            [find_peer("consul"), "agent"],
            http_port=ports.take(),
            gossip_port=ports.take(),
            wan_port=ports.take(),
            folder=folder,
            host=host,
            arguments=[
                *role,
                f"-datacenter={datacenter}",
                f"-server-port={ports.take()}",
                "-dns-port=-1",
                "-grpc-port=-1",
                f"-advertise={host}",
                f"-log-level={log_level}",
                "-disable-host-node-id",
                *arguments,
            ],
            watch=watch,
        )
        self._server = server

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            await self.ready()
        except BaseException:
            await self.process.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.process.close()

    async def elected(self, within: float = 20.0) -> None:
        """Wait until there is a leader, which the catalog and fired events need (seconds)."""

        async def leads() -> bool:
            answer = await self.call("GET", "/v1/status/leader", within=2.0)
            return bool(answer.json())

        await eventually(
            leads, within=within, what=lambda: f"{self.name} has a leader{self.process.tail()}"
        )
