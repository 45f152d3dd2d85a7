"""A genuine Serf agent as a process on loopback, with its RPC connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from gossip.wire.address import join_host_port
from simulations.local.process import Process
from simulations.local.wait import eventually
from simulations.peers.find import find_peer
from simulations.peers.rpc import Record, SerfRpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["SerfAgent"]

HOST = "127.0.0.1"


class SerfAgent:
    """``serf agent`` with ports of its own; ``async with`` starts it and waits for its RPC answer."""

    def __init__(
        self,
        name: str,
        *,
        port: int,
        rpc_port: int,
        folder: Path,
        host: str = HOST,
        tags: Mapping[str, str] | None = None,
        encrypt: str = "",
        keyring: Path | None = None,
        profile: str = "lan",
        log_level: str = "debug",
        arguments: Sequence[str] = (),
        watch: Callable[[float, bytes], None] | None = None,
    ) -> None:
        """Describe the agent.

        Args:
            name: its node name.
            port: for gossip, UDP and TCP.
            rpc_port: for its RPC.
            folder: where its log goes, as ``NAME.log``.
            host: loopback address of both, ``::1`` for IPv6.
            tags: its Serf tags.
            encrypt: base64 gossip key; not together with `keyring`.
            keyring: JSON list of base64 keys, rewritten by the agent.
            profile: ``lan``, ``wan`` or ``local``.
            log_level: at ``debug`` memberlist's failed probes and pushes show too.
            arguments: more of ``serf agent``, such as ``-disable-compression``.
            watch: gets its log as it is written, see `Process`.
        """
        self.name = name
        self.gossip = (host, port)
        self.rpc = SerfRpc((host, rpc_port))
        self.rpc_address = (host, rpc_port)
        command = [
            find_peer("serf"),
            "agent",
            f"-node={name}",
            f"-bind={join_host_port(host, port)}",
            f"-rpc-addr={join_host_port(host, rpc_port)}",
            f"-profile={profile}",
            f"-log-level={log_level}",
            *(f"-tag={key}={value}" for key, value in (tags or {}).items()),
            *arguments,
        ]
        if encrypt:
            command.append(f"-encrypt={encrypt}")
        if keyring is not None:
            command.append(f"-keyring-file={keyring}")
        self.process = Process(name, command, log=folder / f"{name}.log", watch=watch)
        self.events: list[Record] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self, within: float = 10.0) -> None:
        """Start the process and wait until its RPC answers.

        Raises:
            RuntimeError: it ended instead; TimeoutError. Both show the end of its log.
        """
        await self.process.start()
        await self.ready(within)

    async def ready(self, within: float = 10.0) -> None:
        """Wait until its RPC answers and stay connected."""
        await self.rpc.close()
        self.rpc = SerfRpc(self.rpc_address)

        async def answers() -> bool:
            if not self.process.running:
                raise RuntimeError(
                    f"{self.name} ended with status {self.process.exit_status}{self.process.tail()}"
                )
            await self.rpc.connect()
            return True

        await eventually(
            answers,
            within=within,
            what=lambda: f"{self.name}'s RPC answers{self.process.tail()}",
            every=0.005,
        )

    async def members(self) -> dict[str, str]:
        """Status (Serf's words) by name."""
        return {member["Name"]: member["Status"] for member in await self.rpc.members()}

    async def alive(self) -> set[str]:
        """Names of the members it sees alive."""
        return {name for name, status in (await self.members()).items() if status == "alive"}

    async def join(self, addresses: Sequence[tuple[str, int]]) -> int:
        """Join by gossip addresses; returns how many worked."""
        return await self.rpc.join([join_host_port(*address) for address in addresses])

    async def collect_events(self, kinds: str = "*") -> None:
        """Append every event of these kinds to `events` from now on.

        Serf holds member events back for 1 to 3 s to merge them; user events come at once.
        """
        await self.rpc.subscribe("stream", {"Type": kinds}, self.events.append)

    def user_events(self, name: str | None = None) -> list[Record]:
        """The collected user events, of one name or all."""
        return [
            event
            for event in self.events
            if event["Event"] == "user" and name in {None, event["Name"]}
        ]

    async def leave(self, within: float = 15.0) -> int:
        """Leave gracefully; returns the exit status of the process."""
        with contextlib.suppress(OSError):  # it may hang up before it has answered
            await self.rpc.leave()
        return await self.process.wait(within)

    async def close(self) -> None:
        """Drop the RPC connection and end the process; safe to call again."""
        try:
            await self.rpc.close()
        finally:
            await asyncio.shield(self.process.close())
