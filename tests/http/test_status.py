"""/v1/status"""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import Ports
from tests.helpers_agent import TestAgent, eventually, running

PORTS = Ports(http=0, serf_lan=0, server=21299)
BOOTSTRAP: dict[str, Any] = {"server": True, "bootstrap": True, "ports": PORTS}


async def status(agent: TestAgent) -> tuple[str, list[str]]:
    leader, peers = await agent.get("/v1/status/leader"), await agent.get("/v1/status/peers")
    for answer in (leader, peers):
        assert answer.status == 200
        assert "x-consul-index" not in answer.headers
    return leader.json, peers.json


async def test_a_client_alone_knows_no_leader(one: TestAgent) -> None:
    assert await status(one) == ("", [])


async def test_a_server_that_does_not_bootstrap_knows_no_leader() -> None:
    async with running(server=True) as server:
        assert await status(server) == ("", [])


@pytest.mark.parametrize("settings", [BOOTSTRAP, BOOTSTRAP | {"bootstrap": False, "dev": True}])
async def test_a_bootstrap_server_is_its_own_leader(settings: dict[str, Any]) -> None:
    if "dev" in settings:
        settings = settings | {"data_dir": ""}
    async with running(**settings) as server:
        assert await status(server) == ("127.0.0.1:21299", ["127.0.0.1:21299"])


async def test_others_see_the_bootstrap_server_and_its_followers() -> None:
    follower: dict[str, Any] = {"server": True, "ports": Ports(http=0, serf_lan=0, server=21298)}
    async with (
        running("leader", **BOOTSTRAP) as leader,
        running("follower", **follower) as second,
        running("client") as client,
    ):
        for agent in (second, client):
            assert (await agent.put(f"/v1/agent/join/{leader.gossip}")).status == 200
        for agent in (leader, second, client):
            await eventually(lambda agent=agent: len(agent.agent.cluster.members()) == 3)
            assert await status(agent) == (
                "127.0.0.1:21299",
                ["127.0.0.1:21299", "127.0.0.1:21298"],
            )
        await leader.agent.leave()
        await eventually(lambda: not client.agent.leader())
        assert await status(client) == ("", [])


async def test_parameters_mean_what_they_mean_at_other_reads() -> None:
    async with running(**BOOTSTRAP) as server:
        for path in ("leader", "peers"):
            for query, status, text in (
                ("dc=mars", 500, "No path to datacenter"),
                ("wait=10", 400, "Invalid wait time"),
                ("index=x", 400, "Invalid index"),
                ("max_stale=x", 400, 'Invalid max_stale value "x"'),
            ):
                answer = await server.get(f"/v1/status/{path}?{query}")
                assert (answer.status, answer.text) == (status, text)
            for query in ("", "dc=dc1", "stale", "index=1"):
                assert (await server.get(f"/v1/status/{path}?{query}")).status == 200
