"""The comparisons run against genuine Serf and Consul, and find what is known about them."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from simulations.bench.http import FULL

pytestmark = pytest.mark.interop


async def run(bench: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """The rows of a bench's report, by figure and quantity."""
    command = [sys.executable, "-m", f"simulations.bench.{bench}", "-format", "json", *arguments]
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
    return {f"{row['figure']}.{row['quantity']}": row for row in rows}


async def compare(*arguments: str) -> dict[str, Any]:
    return {name: row["median"] for name, row in (await run("peers", *arguments)).items()}


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


async def test_consuls_http_is_measured_beside_ours_and_goals_are_judged(
    genuine_consul: str,
) -> None:
    tiny = ("-nodes", "4", "-services", "5", "-rounds", "1", "-seconds", "0.05", "-waiters", "20")
    rows = await run("http", "-cases", "members,wake-health,full", *tiny)

    assert all(row["median"]["consul"] > 0 for row in rows.values())
    assert set(rows["members.core"]["ratio"]) == {"agent/consul"}
    judged = {name for name, row in rows.items() if row["verdict"]}
    assert judged == {"members.core", "wake-health.p99", "fill.cold"} | {
        f"full.{endpoint}" for endpoint in FULL
    }
