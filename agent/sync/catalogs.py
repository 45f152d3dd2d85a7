"""The catalog as an agent reaches it: its own store on the leader, through a server everywhere else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from agent.credentials import can_be_sent
from agent.decode import Body
from agent.definitions import service_entry
from agent.errors import BusyError
from agent.forward.forwarder import NO_SERVERS
from agent.forward.messages import MAX_BODY, TOKEN_HEADER
from agent.registrations import check_of, deregistration_data, node_of, registration_data
from agent.store.entries import DiskError, Registration, StoreError
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.config import AgentConfig
    from agent.forward.forwarder import Forwarder
    from agent.forward.messages import Answer
    from agent.store.entries import CheckEntry, NodeEntry, ServiceEntry, Write
    from agent.store.store import Store

__all__ = [
    "CatalogOfNode",
    "ForwardedCatalog",
    "Held",
    "NobodyError",
    "RefusedError",
    "StoredCatalog",
]

TIMEOUT = 10.0
"""Seconds for one request to a server."""
FOREIGN = (
    "the servers of this datacenter are Consul's and take no registrations from this agent:"
    " its services and checks are known here only"
)


class NobodyError(GossipError):
    """No server is known yet, as when an agent starts."""


class RefusedError(GossipError):
    """The catalog was reached and does not take a write.

    Attributes:
        passing: it may take the same write later.
    """

    def __init__(self, text: str, *, passing: bool) -> None:
        super().__init__(text)
        self.passing = passing


@dataclass(slots=True, frozen=True)
class Held:
    """What the catalog has of one node; services and checks by ID."""

    node: NodeEntry | None = None
    services: Mapping[str, ServiceEntry] = field(default_factory=dict)
    checks: Mapping[str, CheckEntry] = field(default_factory=dict)


class CatalogOfNode(Protocol):
    """The catalog, as far as one node is concerned."""

    async def held(self) -> Held:
        """What it has of the node.

        Raises:
            GossipError: it cannot be reached; a `NobodyError` when no server is known.
        """

    async def write(self, write: Write, token: str = "") -> None:
        """Have it take a write.

        Args:
            write: of this node.
            token: stands in for the agent's.

        Raises:
            RefusedError: it does not take this one.
            GossipError: it cannot be reached.
        """


class StoredCatalog:
    """That of the leader, which keeps it itself.

    Args:
        store: of the catalog.
        node: name of our node.
    """

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node

    async def held(self) -> Held:
        """See `CatalogOfNode`."""
        found = self._store.catalog.node(self._node)
        if found is None:
            return Held()
        checks = {check.check_id: check for check in self._store.catalog.node_checks(self._node)}
        return Held(found.node, found.services, checks)

    async def write(self, write: Write, token: str = "") -> None:  # noqa: ARG002 - nobody to show it to
        """See `CatalogOfNode`."""
        try:
            if isinstance(write, Registration):
                await self._store.register(write)
            else:
                await self._store.deregister(write)
        except BusyError:
            raise  # for all writes alike
        except StoreError as error:
            raise RefusedError(str(error), passing=isinstance(error, DiskError)) from None


class ForwardedCatalog:
    """That of another agent, which is asked as `agent.forward` does.

    Args:
        forwarder: asks it.
        config: of our agent, as it is whenever it is looked at.
    """

    def __init__(self, forwarder: Forwarder, config: Callable[[], AgentConfig]) -> None:
        self._forwarder = forwarder
        self._config = config

    async def held(self) -> Held:
        """See `CatalogOfNode`."""
        servers = self._forwarder.servers
        found = servers.of(servers.datacenter)
        if not found:
            raise NobodyError(NO_SERVERS)
        if not any(server.ours for server in found):
            raise GossipError(FOREIGN)
        name = self._config().node_name
        path = quote(name, safe="")
        known = await self._get(f"/v1/catalog/node/{path}")
        checks = await self._get(f"/v1/health/node/{path}")
        # Thousands of checks are read in a thread, or the loop would stand still meanwhile.
        return await asyncio.to_thread(_read, name, known, checks)

    async def write(self, write: Write, token: str = "") -> None:
        """See `CatalogOfNode`."""
        if isinstance(write, Registration):
            path, data = "/v1/catalog/register", registration_data(write)
        else:
            path, data = "/v1/catalog/deregister", deregistration_data(write)
        body = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        if len(body) > MAX_BODY:
            raise RefusedError(f"{len(body)} bytes exceed the limit of {MAX_BODY}", passing=False)
        if not can_be_sent(token):  # everything else would wait behind it
            raise RefusedError("the token is none that can be sent", passing=False)
        answer = await self._request("PUT", path, body, token)
        if answer.status == 429:
            raise BusyError(_text(answer))
        if answer.status != 200:
            raise RefusedError(_text(answer), passing=answer.status >= 500)

    async def _get(self, path: str) -> bytes:
        answer = await self._request("GET", path)
        if answer.status != 200:
            raise GossipError(_text(answer))
        return answer.body

    async def _request(self, method: str, path: str, body: bytes = b"", token: str = "") -> Answer:
        token = token or self._config().acl_token
        return await self._forwarder.request(
            self._forwarder.servers.datacenter,
            method,
            path,
            body,
            headers={TOKEN_HEADER: token} if token else {},
            deadline=asyncio.get_running_loop().time() + TIMEOUT,
            leader=True,
        )


def _read(name: str, known: bytes, checks: bytes) -> Held:
    """What a server said about the node with this name."""
    body = Body.parse(known)
    node = body.object("Node")
    if node is None:
        return Held()
    services = body.by_name("Services")
    listed = Body.parse(b'{"Checks":%b}' % checks).objects("Checks")  # a body is an object
    return Held(
        replace(node_of(node), meta=node.mapping("Meta")),
        {key: service_entry(service, name, "Service") for key, service in services.items()},
        {check.check_id: check for check in (check_of(one, name) for one in listed)},
    )


def _text(answer: Answer) -> str:
    return answer.body[:512].decode("utf-8", "replace") or f"status {answer.status}"
