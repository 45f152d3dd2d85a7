"""One of our agents as a process on loopback, and what its HTTP API says."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from gossip.wire.address import join_host_port
from simulations.local.http import Response, request
from simulations.local.process import Process
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["ALIVE", "FAILED", "LEAVING", "LEFT", "STATUS", "LocalAgent"]

HOST = "127.0.0.1"
WAN = "?wan=1"
ALIVE, LEAVING, LEFT, FAILED = 1, 2, 3, 4
STATUS = {0: "none", ALIVE: "alive", LEAVING: "leaving", LEFT: "left", FAILED: "failed"}
"""Serf's member status, as numbers in ``/v1/agent/members``."""


class LocalAgent:
    """An agent process with its own ports at `host`, data folder and log below `folder`.

    Start, stop and the like go through `process`; a restart keeps name, ports and data.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        http_port: int = 0,
        http_socket: Path | None = None,
        gossip_port: int,
        wan_port: int | None = None,
        folder: Path,
        host: str = HOST,
        arguments: Sequence[str] = (),
        watch: Callable[[float, bytes], None] | None = None,
        enter: Callable[[], None] | None = None,
    ) -> None:
        """Describe the agent without starting it.

        Args:
            name: of its node.
            command: what starts an agent, without arguments.
            http_port: where its HTTP API listens on `host`; or
            http_socket: the Unix socket where it does, which the configuration in `arguments` names.
            gossip_port: of the LAN pool.
            wan_port: of the WAN pool; None is no server.
            folder: has its data and log.
            host: its address.
            arguments: given to it besides these.
            watch: see `Process`.
            enter: see `Process`.
        """
        self.name = name
        self.http = (host, http_port)
        self.socket = http_socket
        self.gossip = (host, gossip_port)
        self.wan = None if wan_port is None else (host, wan_port)
        self.folder = folder
        self.process = Process(
            name,
            [
                *command,
                f"-node={name}",
                f"-bind={host}",
                f"-client={host}",
                f"-http-port={http_port}",
                f"-serf-lan-port={gossip_port}",
                *([] if wan_port is None else [f"-serf-wan-port={wan_port}"]),
                f"-data-dir={folder / 'data'}",
                *arguments,
            ],
            log=folder / "log",
            watch=watch,
            enter=enter,
        )

    @property
    def url(self) -> str:
        """Where its HTTP API answers."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        return f"http://{join_host_port(*self.http)}"

    async def start(self) -> None:
        """Start the process; `ready` waits for its answer."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        await self.process.start()

    async def ready(self, within: float = 10.0) -> None:
        """Wait until HTTP answers.

        Raises:
            RuntimeError: it ended instead; TimeoutError: it did not answer. Both show the log's end.
        """

        async def answers() -> bool:
            if not self.process.running:
                raise RuntimeError(
                    f"{self.name} ended with status {self.process.exit_status} instead of "
                    f"starting{self.process.tail()}"
                )
            return (await self.call("GET", "/v1/agent/members", within=2.0)).status == 200

        await eventually(
            answers,
            within=within,
            what=lambda: f"{self.name} answers at {self.url}{self.process.tail()}",
            every=0.01,
        )

    async def restart(self, within: float = 10.0) -> None:
        """Start it again, after ending it if it runs, and wait until it answers."""
        if self.process.running:
            await self.process.stop()
        await self.start()
        await self.ready(within)

    async def leave(self, within: float = 15.0) -> int:
        """Leave the cluster gracefully; returns the exit status of the process, which then ends."""
        await self.call("PUT", "/v1/agent/leave", within=within)
        return await self.process.wait(within)

    async def call(
        self, method: str, path: str, body: bytes = b"", *, within: float = 10.0, check: bool = True
    ) -> Response:
        """One HTTP request; raises `HttpError` for a status of 400 or above unless `check` is off."""
        return await request(
            self.socket or self.http, method, path, body, within=within, check=check
        )

    async def members(self, *, wan: bool = False) -> dict[str, int]:
        """Status by name of every member that this agent lists, of the WAN pool if so."""
        return {member["Name"]: member["Status"] for member in await self.member_table(wan=wan)}

    async def member_table(self, *, wan: bool = False) -> list[dict[str, Any]]:
        """The member list as the API gives it, sorted by name."""
        path = f"/v1/agent/members{WAN if wan else ''}"
        members: list[dict[str, Any]] = (await self.call("GET", path)).json()
        return sorted(members, key=lambda member: str(member["Name"]))

    async def alive(self, *, wan: bool = False) -> set[str]:
        """Names of the members that this agent sees alive."""
        members = await self.members(wan=wan)
        return {name for name, status in members.items() if status == ALIVE}

    async def join(self, addresses: Sequence[tuple[str, int]], *, wan: bool = False) -> None:
        """Join by each of the gossip addresses; raises `HttpError` when one fails."""
        for address in addresses:
            path = f"/v1/agent/join/{join_host_port(*address)}"
            await self.call("PUT", f"{path}{WAN if wan else ''}")

    async def datacenters(self) -> list[str]:
        """The datacenters that this agent knows."""
        names: list[str] = (await self.call("GET", "/v1/catalog/datacenters")).json()
        return names

    async def force_leave(self, name: str) -> None:
        """Declare a failed member left."""
        await self.call("PUT", f"/v1/agent/force-leave/{quote(name, safe='')}")

    async def fire(self, name: str, payload: bytes = b"", **filters: str) -> str:
        """Fire a user event (filters: node, service, tag) and return its id."""
        query = f"?{urlencode(filters)}" if filters else ""
        answer = await self.call("PUT", f"/v1/event/fire/{quote(name)}{query}", payload)
        return str(answer.json()["ID"])

    async def events(
        self, name: str | None = None, *, index: int = 0, wait: float = 0.0
    ) -> tuple[list[dict[str, Any]], int]:
        """Recent events, oldest first, payloads decoded to bytes, and the index to wait on.

        With `index` and `wait` (seconds) the request blocks until there is something newer.
        """
        parameters = {"name": name, "index": index or None, "wait": f"{wait:g}s" if wait else None}
        query = urlencode({key: value for key, value in parameters.items() if value is not None})
        answer = await self.call("GET", f"/v1/event/list?{query}", within=wait + 10.0)
        events: list[dict[str, Any]] = answer.json()
        for event in events:
            event["Payload"] = base64.b64decode(event["Payload"] or "")
        return events, answer.index
