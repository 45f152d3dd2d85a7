"""The catalog asked for at other agents than its leader, and kept true to the pool."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Ports
from gossip.errors import ConfigError
from gossip.events import MemberStatus
from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import KEY, encrypted, join, join_wan, know, server, servers_at, stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("no_sync")

GONE = {"nodes": 1, "services": 1, "checks": 1}


def leading(name: str, dc: str, key: bytes | None = None, **settings: Any) -> Any:
    """A server that keeps its datacenter's catalog."""
    return server(name, dc, key, bootstrap=True, **settings)


@asynccontextmanager
async def datacenter(
    key: bytes | None = None,
) -> AsyncIterator[tuple[TestAgent, TestAgent, TestAgent]]:
    """A leader, another server and a client of dc1, all in the catalog."""
    async with (
        leading("lead", "dc1", key) as lead,
        server("follow", "dc1", key) as follow,
        running("web", datacenter="dc1", **encrypted(key)) as web,
    ):
        for agent in (follow, web):
            await agent.agent.join(lead.gossip)
        for agent in (lead, follow, web):
            await eventually(lambda agent=agent: len(agent.agent.servers.of("dc1")) == 2)
        await eventually(lambda: lead.store.catalog.counts()["services"] == 2)
        await eventually(lambda: lead.store.catalog.counts()["nodes"] == 3)
        yield lead, follow, web


async def register(agent: TestAgent, query: str = "", **body: Any) -> tuple[int, str]:
    data = json.dumps({"Node": "ext", "Address": "10.0.0.9"} | body).encode()
    answer = await agent.put(f"/v1/catalog/register{query}", data)
    return answer.status, answer.text


@pytest.mark.parametrize("key", [None, KEY])
async def test_every_agent_answers_for_the_leader(key: bytes | None) -> None:
    async with datacenter(key) as (lead, follow, web):
        for agent in (web, follow, lead):
            service = {"Service": f"at-{agent.name}"}
            assert await register(agent, Service=service) == (200, "true")
            for reader in (lead, follow, web):
                answer = await reader.get(f"/v1/catalog/service/at-{agent.name}")
                assert [row["Node"] for row in answer.json] == ["ext"]
                assert answer.index == lead.store.index
                assert answer.headers["x-consul-knownleader"] == "true"
        names = [node["Node"] for node in (await web.get("/v1/catalog/nodes")).json]
        assert names == ["ext", "follow", "lead", "web"]
        # Straight to the leader; nobody asks the other server on the way.
        assert stats(follow).get("served", 0) == 0


async def test_a_blocking_query_waits_at_the_leader() -> None:
    async with datacenter() as (lead, _, web):
        before = (await web.get("/v1/catalog/service/db")).index
        waiting = asyncio.ensure_future(web.get(f"/v1/catalog/service/db?index={before}&wait=60s"))
        await eventually(lambda: lead.store.watch.waiting == 1)
        await register(lead, Service={"Service": "db"})
        answer = await waiting
        assert [row["ServiceID"] for row in answer.json] == ["db"]


async def test_a_client_reaches_the_leader_through_another_server() -> None:
    async with datacenter() as (lead, follow, web):
        (other,) = [one for one in web.agent.servers.of("dc1") if not one.bootstrap]
        know(web, other)
        assert await register(web, Service={"Service": "db"}) == (200, "true")
        assert (await web.get("/v1/health/service/db")).json[0]["Node"]["Node"] == "ext"
        assert (stats(follow)["served"], stats(lead)["served"]) == (2, 2)


async def test_near_the_agent_means_the_one_that_was_asked() -> None:
    async with datacenter() as (lead, _, web):
        await eventually(lambda: len(lead.agent.cluster.coordinates()) == 3)
        for agent in (web, lead):
            nodes = (await agent.get("/v1/catalog/nodes?pretty&near=_agent&stale")).json
            assert nodes[0]["Node"] == agent.name


async def test_without_a_leader_servers_and_clients_say_so() -> None:
    async with server("one", "dc1") as one, running("web", datacenter="dc1") as web:
        answer = await one.get("/v1/catalog/nodes")
        assert (answer.status, answer.text) == (500, "No cluster leader")
        assert await register(one) == (500, "No cluster leader")
        answer = await web.get("/v1/catalog/nodes")
        assert (answer.status, answer.text) == (500, "No known Consul servers")
        await join(web, one)
        answer = await web.get("/v1/catalog/nodes")
        assert (answer.status, answer.text) == (500, "rpc error making call: No cluster leader")
        # What is wrong by itself needs no leader to be refused, and some things no leader at all.
        assert (await web.get("/v1/catalog/service/")).status == 400
        assert (await web.get("/v1/catalog/datacenters")).json == ["dc1"]


async def test_servers_that_take_one_another_for_the_leader_end_it_soon() -> None:
    async with server("one", "dc1") as one, server("two", "dc1") as two:
        await join(two, one)
        await eventually(lambda: len(one.agent.servers.of("dc1")) == 2)
        for agent in (one, two):
            others = [s for s in agent.agent.servers.of("dc1") if s.name != agent.name]
            know(agent, replace(others[0], bootstrap=True))
        answer = await one.get("/v1/catalog/nodes")
        assert answer.status == 500
        assert "the request came through 3 agents already" in answer.text
        assert stats(one)["served"] + stats(two)["served"] == 3


async def test_the_leader_is_asked_among_many_servers_though_it_failed_lately() -> None:
    async with leading("lead", "dc1") as lead, server("one", "dc1") as one:
        await join(one, lead)
        await eventually(lambda: len(one.agent.servers.of("dc1")) == 2)
        (known,) = [other for other in one.agent.servers.of("dc1") if other.bootstrap]
        know(one, *servers_at(*range(1, 9)), known)
        forwarder = one.agent.forwarder
        forwarder._failed_at[known.address] = asyncio.get_running_loop().time()
        for _ in range(5):
            assert (await one.get("/v1/catalog/nodes")).status == 200
        assert "failed_attempts" not in stats(one)


# Other datacenters


async def test_the_catalog_of_another_datacenter_is_asked_for_at_its_leader() -> None:
    async with (
        datacenter() as (lead1, _, web),
        leading("lead2", "dc2") as lead2,
        server("follow2", "dc2") as follow2,
    ):
        await join_wan(lead2, lead1)
        await join(follow2, lead2)
        await eventually(lambda: lead2.store.catalog.counts()["services"] == 2)
        await register(lead2, Service={"Service": "far"})
        answer = await web.get("/v1/catalog/service/far?dc=dc2")
        assert (answer.json[0]["Node"], answer.json[0]["Datacenter"]) == ("ext", "dc2")
        assert answer.index == lead2.store.index

        # A body may name it as well, and wins; what belongs there does not come here.
        before = lead1.store.index
        assert await register(web, Datacenter="dc2", Node="body") == (200, "true")
        assert await register(web, "?dc=dc2", Node="query") == (200, "true")
        assert await register(web, "?dc=dc1", Datacenter="dc2", Node="both") == (200, "true")
        nodes = {node["Node"] for node in (await web.get("/v1/catalog/nodes?dc=dc2")).json}
        assert {"body", "query", "both"} <= nodes
        assert lead1.store.index == before
        assert await register(web, Datacenter="mars") == (
            500,
            "rpc error making call: No path to datacenter",
        )

        # Through its other server: client, server, server there, its leader.
        others = [s for s in follow2.agent.servers.of("dc2") if s.name == "follow2"]
        know(lead1, *others)
        answer = await web.get("/v1/catalog/service/far?dc=dc2")
        assert answer.json[0]["Node"] == "ext"
        assert stats(follow2)["served"] == 1


# Kept true to the pool


def status(lead: TestAgent, node: str) -> list[str]:
    return [str(check.status) for check in lead.store.catalog.node_checks(node)]


async def test_a_member_that_fails_is_critical_comes_back_passing_and_leaves_for_good() -> None:
    async with leading("lead", "dc1") as lead:
        async with running("web", datacenter="dc1") as web:
            await join(web, lead)
            await eventually(lambda: status(lead, "web") == ["passing"])
            _, port = web.agent.cluster.local_address
            service = {"Service": "db"}
            assert await register(web, Node="web", Address="127.0.0.1", Service=service) == (
                200,
                "true",
            )
        await eventually(lambda: status(lead, "web") == ["critical"])
        (check,) = lead.store.catalog.node_checks("web")
        assert check.output == "Agent not live or unreachable"
        assert (await lead.get("/v1/health/service/db?passing")).json == []
        assert len((await lead.get("/v1/health/service/db")).json) == 1
        ports = Ports(http=0, serf_lan=port)  # another one would be another node with its name
        async with running("web", datacenter="dc1", ports=ports) as web:
            await join(web, lead)
            await eventually(lambda: status(lead, "web") == ["passing"])
            assert len((await lead.get("/v1/health/service/db?passing")).json) == 1
            await web.agent.leave()
            await eventually(lambda: lead.store.catalog.counts() == GONE)


async def test_a_failed_member_that_is_made_to_leave_is_removed_and_a_live_one_stays() -> None:
    async with leading("lead", "dc1") as lead, running("alive", datacenter="dc1") as alive:
        async with running("web", datacenter="dc1") as web:
            await join(web, lead)
            await join(alive, lead)
            await eventually(lambda: lead.store.catalog.counts()["nodes"] == 3)
        await eventually(lambda: status(lead, "web") == ["critical"])
        assert (await lead.put("/v1/agent/force-leave/web")).status == 200
        await eventually(lambda: lead.store.catalog.node("web") is None)
        held = lead.agent.cluster.node.members.get("alive")
        assert held is not None
        before = held.status_ltime
        assert (await lead.put("/v1/agent/force-leave/alive")).status == 200
        # It has refuted the leave once it is alive at a later time.
        await eventually(lambda: held.status_ltime > before and held.status is MemberStatus.ALIVE)
        assert status(lead, "alive") == ["passing"]


async def test_a_leader_that_starts_again_knows_everything_and_keeps_who_is_not_back_yet() -> None:
    with TemporaryDirectory() as folder:
        async with (
            leading("lead", "dc1", data_dir=folder) as lead,
            running("web", datacenter="dc1") as web,
        ):
            await join(web, lead)
            await eventually(lambda: status(lead, "web") == ["passing"])
            await register(lead, Service={"Service": "db"})
            index = lead.store.index
        async with leading("lead", "dc1", data_dir=folder) as lead:
            answer = await lead.get("/v1/catalog/service/db")
            assert [row["Node"] for row in answer.json] == ["ext"]
            assert answer.index >= index
            assert lead.store.catalog.node("web") is not None


async def test_a_damaged_catalog_stops_the_start_and_says_what_to_do(tmp_path: Any) -> None:
    (tmp_path / "catalog.db").write_bytes(b"x" * 10_000)
    with pytest.raises(ConfigError, match="Move the file and those beside it"):
        async with leading("lead", "dc1", data_dir=str(tmp_path)):
            pass
