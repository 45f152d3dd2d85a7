"""One agent per test, on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers_agent import TestAgent, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def one() -> AsyncIterator[TestAgent]:
    async with running() as agent:
        yield agent
