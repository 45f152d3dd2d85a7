"""Every coroutine test of this folder runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from gossip import Cluster, Config

StartNode = Callable[..., Awaitable[Cluster]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start_node() -> AsyncIterator[StartNode]:
    """A function that starts one more node on loopback, closed with the test."""
    async with AsyncExitStack() as stack:

        async def start(name: str, **settings: Any) -> Cluster:
            config = Config.local(name, **({"bind": "127.0.0.1", "port": 0} | settings))
            return await stack.enter_async_context(Cluster(config))

        yield start
