"""``/v1/agent/service/<id>``: one service, and who waits for it to become another."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from agent.http.gate import GateLimits
from tests.helpers_agent import Answer, TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/v1/agent/service/w"
HASH = "x-consul-contenthash"


async def register(one: TestAgent, **fields: Any) -> None:
    body: Mapping[str, Any] = {"ID": "w", "Name": "web", "Check": {"TTL": "1h"}} | fields
    answer = await one.put("/v1/agent/service/register", json.dumps(body).encode())
    assert answer.status == 200, answer.text


async def waiting_for(one: TestAgent, known: str, wait: str = "20s") -> asyncio.Task[Answer]:
    """A client that has what this hash stands for, and waits for something else."""
    task = asyncio.create_task(one.get(f"{PATH}?hash={known}&wait={wait}"))
    await eventually(lambda: one.agent.local._waiters)
    return task


async def test_a_service_is_shown_as_consul_shows_it(one: TestAgent) -> None:
    await register(one, Tags=["b", "a"], Meta={"x": "y"}, Port=80)
    answer = await one.get(PATH)
    assert answer.json == {
        "ID": "w",
        "Service": "web",
        "Tags": ["b", "a"],
        "Meta": {"x": "y"},
        "Port": 80,
        "Address": "",
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
        "ContentHash": answer.headers[HASH],
    }
    assert "x-consul-index" not in answer.headers


async def test_a_service_that_is_not_there_is_404(one: TestAgent) -> None:
    for name in ("nope", "W", ""):
        for query in ("", "?hash=1"):
            answer = await one.get(f"/v1/agent/service/{name}{query}")
            assert (answer.status, answer.text) == (404, f"unknown service ID: {name}")


async def test_another_hash_or_none_is_answered_at_once_and_a_bad_wait_refused(
    one: TestAgent,
) -> None:
    await register(one)
    for query in ("", "?wait=20s", "?hash=8&wait=20s", "?index=5&wait=20s"):
        assert (await one.get(f"{PATH}{query}")).status == 200
    answer = await one.get(f"{PATH}?hash=8&wait=x")
    assert (answer.status, answer.text) == (400, "Invalid wait time")


async def test_a_new_definition_ends_the_wait_and_the_same_one_or_a_check_does_not(
    one: TestAgent,
) -> None:
    await register(one, Port=80)
    known = (await one.get(PATH)).headers[HASH]
    waiting = await waiting_for(one, known)
    await register(one, Port=80)
    assert (await one.put("/v1/agent/check/fail/service:w")).status == 200
    assert not waiting.done()
    await register(one, Port=81)
    answer = await waiting
    assert answer.json["Port"] == 81
    assert answer.headers[HASH] != known
    await register(one, Port=80)
    assert (await one.get(PATH)).headers[HASH] == known, "the hash is that of the content"


async def test_a_wait_that_is_over_gives_what_was_known(one: TestAgent) -> None:
    await register(one)
    known = (await one.get(PATH)).headers[HASH]
    answer = await one.get(f"{PATH}?hash={known}&wait=10ms")
    assert (answer.status, answer.headers[HASH]) == (200, known)
    assert not one.agent.local._waiters


async def test_deregistration_ends_the_wait_with_404(one: TestAgent) -> None:
    await register(one)
    waiting = await waiting_for(one, (await one.get(PATH)).headers[HASH])
    await one.put("/v1/agent/service/deregister/w")
    assert (await waiting).status == 404


async def test_those_who_wait_count_as_blocking_queries() -> None:
    async with running(limits=GateLimits(blocking=1)) as one:
        await register(one)
        known = (await one.get(PATH)).headers[HASH]
        waiting = await waiting_for(one, known)
        assert (await one.get(f"{PATH}?hash={known}")).status == 429
        await one.put("/v1/agent/service/deregister/w")
        assert (await waiting).status == 404
