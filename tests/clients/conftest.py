"""A pool of ours for genuine clients to talk to, and the same one of genuine Consul."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest_asyncio

from simulations.local.ports import Ports
from simulations.peers import ConsulAgent
from tests.helpers_clients import ID, SETTINGS, WEB, Pool, complete, ours, settings
from tests.helpers_peers import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    """Our server and our client, as processes."""
    folder = tmp_path_factory.mktemp("ours")
    async with contextlib.AsyncExitStack() as stack:
        ports = stack.enter_context(Ports())
        web = settings(folder, "web", {"service": WEB})
        server = ours(
            "one",
            folder,
            ports,
            "-server",
            "-bootstrap",
            f"-server-port={ports.take()}",
            f"-node-id={ID.format(1)}",
            f"-config-file={web}",
            "-log-level=debug",
        )
        client = ours("two", folder, ports, f"-node-id={ID.format(2)}")
        for agent in (server, client):
            stack.push_async_callback(agent.process.close)
        await server.start()
        await server.ready()
        yield await complete(Pool(server, client, folder, ports, stack))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def genuine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    """The same pool of genuine agents with the same settings."""
    require("consul")
    folder = tmp_path_factory.mktemp("genuine")
    async with contextlib.AsyncExitStack() as stack:
        ports = stack.enter_context(Ports())
        shared = f"-config-file={settings(folder, 'shared', SETTINGS)}"
        web = f"-config-file={settings(folder, 'web', {'service': WEB})}"
        server, client = (
            ConsulAgent(
                name, ports=ports, folder=folder / name, server=name == "one", arguments=more
            )
            for name, more in (
                ("one", [shared, web, f"-node-id={ID.format(1)}"]),
                ("two", [shared, f"-node-id={ID.format(2)}"]),
            )
        )
        stack.push_async_callback(client.process.close)
        await stack.enter_async_context(server)
        await server.elected()
        yield await complete(Pool(server, client, folder, ports, stack))
