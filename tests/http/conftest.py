"""Real agents on loopback; every coroutine test runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import SERVER, no_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

__all__ = ["leader", "no_sync", "one"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def leader() -> AsyncIterator[TestAgent]:
    """A server that keeps the catalog of its datacenter, and is in it."""
    async with running("lead", bootstrap=True, **SERVER) as agent:
        await eventually(lambda: agent.store.catalog.instances("consul"))
        yield agent


@pytest.fixture
async def one() -> AsyncIterator[TestAgent]:
    async with running() as agent:
        yield agent
