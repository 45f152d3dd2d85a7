"""The comparison runs against genuine Serf and finds what is known about it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.interop


async def compare(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "simulations.bench.peers", "-format", "json", *arguments]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    rows = json.loads(output)["figures"]
    return {f"{row['figure']}.{row['quantity']}": row["median"] for row in rows}


async def test_a_genuine_pool_starts_joins_and_is_left_within_serfs_known_bounds(
    genuine_serf: str,
) -> None:
    medians = await compare(
        "-n", "4", "-systems", "serf", "-figures", "start,join,leave", "-trials", "1"
    )

    assert 0 < medians["start.start"]["serf"] < 5
    assert medians["join.holes"]["serf"] == 0
    assert 0 < medians["join.complete"]["serf"] < 5
    assert 0 < medians["leave.known"]["serf"] < 5
    assert medians["leave.ended"]["serf"] >= 1  # its leave propagates for a second
