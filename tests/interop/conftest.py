"""Genuine peers for the tests of this folder: skipped with a reason where absent, required in CI."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, Config
from simulations.local.ports import Ports
from simulations.peers import ConsulAgent, SerfAgent
from tests.helpers_forward import no_sync  # noqa: F401 - a fixture
from tests.helpers_peers import require

if TYPE_CHECKING:
    from pathlib import Path

StartSerf = Callable[..., Awaitable[SerfAgent]]
StartOurs = Callable[..., Awaitable[Cluster]]
StartConsul = Callable[..., Awaitable[ConsulAgent]]


@pytest.fixture
def genuine_serf() -> str:
    """For tests that start Serf themselves: its binary."""
    return require("serf")


@pytest.fixture
def genuine_consul() -> str:
    """For tests that need nothing but its command line: Consul's binary."""
    return require("consul")


@pytest.fixture
def ports() -> Iterator[Ports]:
    """Ports that nobody else picks during the test."""
    with Ports() as leased:
        yield leased


@pytest.fixture
async def start_serf(tmp_path: Path, ports: Ports) -> AsyncIterator[StartSerf]:
    """A function that starts one more genuine Serf agent, ended with the test."""
    require("serf")
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str, **settings: Any) -> SerfAgent:
            port = settings.pop("port", None) or ports.take()
            agent = SerfAgent(name, port=port, rpc_port=ports.take(), folder=tmp_path, **settings)
            return await stack.enter_async_context(agent)

        yield start


@pytest.fixture
async def start_ours(ports: Ports) -> AsyncIterator[StartOurs]:
    """A function that starts one more node of ours, closed with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str, *, keyring_file: Path | None = None, **settings: Any) -> Cluster:
            settings.setdefault("port", ports.take())
            config = Config.lan(name, **({"bind": "127.0.0.1"} | settings))
            cluster = Cluster(config, keyring_file=keyring_file)
            return await stack.enter_async_context(cluster)

        yield start


@pytest.fixture
async def start_consul(tmp_path: Path, ports: Ports) -> AsyncIterator[StartConsul]:
    """A function that starts one more genuine Consul agent, ended with the test."""
    require("consul")
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str, **settings: Any) -> ConsulAgent:
            agent = ConsulAgent(name, ports=ports, folder=tmp_path / name, **settings)
            return await stack.enter_async_context(agent)

        yield start
