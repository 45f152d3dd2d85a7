"""Anti-entropy between real agents: a leader, another server and clients tell one catalog."""

from __future__ import annotations

import json
import logging
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.reload import take_over
from agent.store.entries import SERF_CHECK
from agent.sync import schedule
from gossip import Cluster, Config
from gossip.wire.address import join_host_port
from tests.helpers_agent import TestAgent, agent_config, eventually, running
from tests.helpers_forward import KEY, encrypted, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TTL = {"TTL": "1h"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule itself is tested in virtual time."""
    monkeypatch.setattr(schedule, "SERVER_INTERVAL", 0.05)
    monkeypatch.setattr(schedule, "RETRY_INTERVAL", 0.2)


@asynccontextmanager
async def datacenter(
    key: bytes | None = None,
) -> AsyncIterator[tuple[TestAgent, TestAgent, TestAgent]]:
    """A leader, another server and a client, all in step with the catalog."""
    async with (
        server("lead", "dc1", key, bootstrap=True) as lead,
        server("follow", "dc1", key) as follow,
        running("web", datacenter="dc1", **encrypted(key)) as web,
    ):
        for agent in (follow, web):
            await agent.agent.join(lead.gossip)
        for agent in (lead, follow, web):
            await in_step(agent, lead)
        yield lead, follow, web


async def in_step(agent: TestAgent, lead: TestAgent) -> None:
    """Wait until the catalog of the leader knows an agent, by itself and by gossip."""

    def told() -> bool:
        checks = lead.store.catalog.node_checks(agent.name)
        return agent.agent.sync.in_step and any(one.check_id == SERF_CHECK for one in checks)

    await eventually(told)


async def register(agent: TestAgent, name: str, **values: Any) -> None:
    answer = await agent.put(
        "/v1/agent/service/register", json.dumps({"Name": name} | values).encode()
    )
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("key", [None, KEY])
async def test_what_is_registered_at_any_agent_is_in_the_catalog_when_it_answers(
    key: bytes | None,
) -> None:
    async with datacenter(key) as (lead, follow, web):
        for agent in (lead, follow, web):
            name = f"at-{agent.name}"
            full = {
                "Tags": ["b", "a"],
                "Port": 80,
                "Meta": {"k": "v"},
                "Weights": {"Passing": 3, "Warning": 2},
                "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8}},
                "Check": TTL | {"Notes": "every hour"},
            }
            await register(agent, name, **full)
            for reader in (lead, follow, web):
                (row,) = (await reader.get(f"/v1/health/service/{name}")).json
                assert row["Node"]["Node"] == agent.name
                assert row["Service"]["Tags"] == ["b", "a"]
                assert row["Service"]["Weights"] == {"Passing": 3, "Warning": 2}
                assert row["Service"]["TaggedAddresses"] == full["TaggedAddresses"]
                said = {check["CheckID"]: check for check in row["Checks"]}
                assert said.keys() == {"serfHealth", f"service:{name}"}
                assert said[f"service:{name}"]["Notes"] == "every hour"
                assert said[f"service:{name}"]["ServiceTags"] == ["b", "a"]

            await agent.put(f"/v1/agent/check/pass/service:{name}?note=fine")

            (check,) = (await lead.get(f"/v1/health/checks/{name}")).json
            assert (check["Status"], check["Output"]) == ("passing", "fine")

            await agent.put(f"/v1/agent/service/deregister/{name}")

            assert (await lead.get(f"/v1/health/service/{name}")).json == []
            assert (await lead.get(f"/v1/health/checks/{name}")).json == []


async def test_a_comparison_repairs_the_catalog_and_leaves_what_gossip_wrote() -> None:
    async with datacenter() as (lead, _, web):
        await register(web, "db", Check=TTL)
        for entry in (
            {"Service": {"Service": "stray"}, "Check": {"Name": "late", "ServiceID": "stray"}},
            {"Check": {"Name": "alone"}},
            {"Service": {"Service": "consul"}},
            {"Service": {"Service": "db", "Port": 9}},
        ):
            body = json.dumps({"Node": "web", "Address": "127.0.0.1"} | entry).encode()
            assert (await lead.put("/v1/catalog/register", body)).text == "true"
        gone = json.dumps({"Node": "web", "CheckID": "service:db"}).encode()
        assert (await lead.put("/v1/catalog/deregister", gone)).text == "true"

        web.agent.sync.compare_soon()

        def repaired() -> bool:
            known = lead.store.catalog.node("web")
            checks = {check.check_id for check in lead.store.catalog.node_checks("web")}
            return (
                known is not None
                and known.services.keys() == {"db", "consul"}
                and known.services["db"].port == 0
                and checks == {"serfHealth", "service:db"}
            )

        await eventually(repaired)


async def test_a_node_that_is_removed_from_the_catalog_comes_back_whole() -> None:
    async with datacenter() as (lead, _, web):
        await register(web, "db", Check=TTL)
        await lead.put("/v1/catalog/deregister", b'{"Node": "web"}')
        assert lead.store.catalog.node("web") is None

        web.agent.sync.compare_soon()

        await eventually(lambda: len(lead.store.catalog.node_checks("web")) >= 1)
        known = lead.store.catalog.node("web")
        assert known is not None
        assert known.services.keys() == {"db"}
        assert known.node.id == web.agent.node_id


async def test_comparisons_without_a_difference_do_not_move_the_index() -> None:
    async with datacenter() as (lead, follow, web):
        for agent in (lead, follow, web):
            await register(agent, "db", Check=TTL, Tags=["a"], Meta={"k": "v"})
        index = lead.store.index
        for agent in (lead, follow, web):
            sync = agent.agent.sync
            before, written = sync.stats["full"], sync.stats["written"]
            for n in (1, 2):  # when the second begins, the first has ended
                sync.compare_soon()
                await eventually(lambda sync=sync, n=before + n: sync.stats["full"] >= n)
            assert sync.stats["written"] == written
        assert lead.store.index == index


async def test_the_catalog_shows_the_node_as_consul_shows_it() -> None:
    async with (
        server("lead", "dc1", bootstrap=True) as lead,
        running("web", datacenter="dc1", node_meta={"rack": "r1"}) as web,
    ):
        await web.agent.join(lead.gossip)
        await in_step(web, lead)
        node = (await lead.get("/v1/catalog/node/web")).json["Node"]
        assert node["ID"] == web.agent.node_id
        assert node["Meta"] == {"consul-network-segment": "", "rack": "r1"}
        assert node["TaggedAddresses"] == dict.fromkeys(
            ("lan", "lan_ipv4", "wan", "wan_ipv4"), "127.0.0.1"
        )
        found = (await lead.get("/v1/catalog/nodes?node-meta=rack:r1")).json
        assert [node["Node"] for node in found] == ["web"]
        assert (await web.get("/v1/agent/self")).json["Meta"] == {"rack": "r1"}


async def test_other_metadata_is_told_after_a_reload() -> None:
    async with datacenter() as (lead, _, web):
        assert await take_over(web.agent, web.agent.config.replace(node_meta={"rack": "r2"})) == []

        def meta() -> Any:
            known = lead.store.catalog.node("web")
            return known and known.node.meta

        await eventually(lambda: meta() == {"consul-network-segment": "", "rack": "r2"})


async def test_tags_that_others_may_change_are_taken_over() -> None:
    async with datacenter() as (lead, _, web):
        await register(web, "db", Tags=["replica"], EnableTagOverride=True)
        await register(web, "other", Tags=["mine"])
        for name in ("db", "other"):
            service = {"Service": name, "Tags": ["primary"], "EnableTagOverride": name == "db"}
            body = json.dumps({"Node": "web", "Address": "127.0.0.1", "Service": service})
            await lead.put("/v1/catalog/register", body.encode())

        web.agent.sync.compare_soon()

        await eventually(lambda: web.agent.local.services["db"].entry.tags == ("primary",))

        def tags(name: str) -> tuple[str, ...]:
            known = lead.store.catalog.node("web")
            assert known is not None
            return known.services[name].tags

        await eventually(lambda: tags("other") == ("mine",))
        assert tags("db") == ("primary",)


@pytest.mark.parametrize("token", ["two\nlines", "x" * 8193, "\u2603" * 2731])
async def test_a_token_that_cannot_be_sent_holds_up_nothing_else(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with datacenter() as (lead, _, web):
        failures = web.agent.sync.stats["failures"]
        await register(web, "odd", Token=token)
        await register(web, "fine", Token="x" * 8192)

        assert lead.store.catalog.instances("fine")
        assert not lead.store.catalog.instances("odd")
        assert web.agent.sync.stats["failures"] == failures
        assert web.agent.sync.stats["refused"] == 1
        assert "the token is none that can be sent" in caplog.text
        assert token not in caplog.text


async def test_a_leader_that_lost_its_catalog_is_told_again_by_everybody() -> None:
    async with running("web", datacenter="dc1") as web:
        await register(web, "db")
        for life in (1, 2):
            async with server(f"lead-{life}", "dc1", bootstrap=True) as lead:
                await web.agent.join(lead.gossip)
                await eventually(lambda lead=lead: lead.store.catalog.instances("db"))


async def test_an_agent_that_leaves_does_not_come_back_into_the_catalog() -> None:
    async with datacenter() as (lead, _, web):
        await register(web, "db")

        await web.agent.leave()

        await eventually(lambda: lead.store.catalog.node("web") is None)
        await register(web, "late")
        assert lead.store.catalog.node("web") is None


async def test_among_consuls_own_servers_an_agent_is_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tags = {"role": "consul", "dc": "dc1", "id": str(uuid.uuid4()), "port": "8300", "vsn": "2"}
    async with (
        Cluster(Config.local("consul", bind="127.0.0.1", port=0, tags=tags)) as foreign,
        running("web", datacenter="dc1") as web,
    ):
        await web.agent.join(join_host_port(*foreign.local_address))
        before = web.agent.sync.stats["failures"]
        await eventually(lambda: web.agent.sync.stats["failures"] > before + 2)

        await register(web, "db")

        lines = [record.getMessage() for record in caplog.records]
        assert sum("its services and checks are known here only" in line for line in lines) == 1
        assert not [line for line in lines if "do not speak" in line]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"node_meta": {"a b": ""}}, "invalid characters"),
        ({"node_meta": {"consul-x": ""}}, "reserved"),
        ({"node_meta": {"k": "v" * 513}}, "512"),
        ({"node_meta": {f"k{n}": "" for n in range(65)}}, "more than 64"),
        ({"check_update_interval": -1.0}, "below 0s"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        agent_config(**settings)
