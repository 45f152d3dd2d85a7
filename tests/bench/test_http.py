"""The HTTP bench at a tiny size: everything is measured, and what is asked for exists."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from simulations.bench.http import GROUPS, parse
from simulations.bench.served import Catalog

TINY = ("-nodes", "4", "-services", "5", "-rounds", "1", "-seconds", "0.05", "-waiters", "20")


async def bench(*arguments: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "simulations.bench.http", "-format", "json", *arguments]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(90):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    rows = json.loads(output)["figures"]
    return {f"{row['figure']}.{row['quantity']}": row for row in rows}


async def test_every_quantity_of_our_agent_is_measured() -> None:
    rows = await bench("-systems", "agent", *TINY)

    assert set(rows) == {f"{g.name}.{q.key}" for g in GROUPS.values() for q in g.quantities}
    assert all(row["median"]["agent"] > 0 for row in rows.values())
    for woken in ("wake-event", "wake-health"):
        times = [rows[f"{woken}.{key}"]["median"]["agent"] for key in ("first", "p99", "last")]
        assert times == sorted(times)


def test_a_catalog_has_its_services_on_its_nodes_and_one_on_each() -> None:
    catalog = Catalog(nodes=20, services=5)
    bodies = [json.loads(body) for body in catalog.registrations()]

    assert len({(b["Node"], b["Service"]["ID"]) for b in bodies}) == 100
    assert len({b["Node"] for b in bodies}) == 20
    names = [b["Service"]["Service"] for b in bodies]
    assert names.count("web") == 20
    assert names.count("service-1") == 10
    assert all(b["Check"]["ServiceID"] == b["Service"]["ID"] for b in bodies)


@pytest.mark.parametrize(
    "arguments", [["-cases", "nope"], ["-systems", "serf"], ["-nodes", "0"], ["-seconds", "inf"]]
)
def test_mistakes_on_the_command_line_are_told(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
