"""py-consul at our agent: each test names what its callers rely on."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import consul
import consul.aio
import pytest
from consul.exceptions import BadRequest

from simulations.cluster.agent import ALIVE, FAILED, LEFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers_clients import Pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT = "20s"


@pytest.fixture
def client(pool: Pool) -> consul.Consul:
    host, port = pool.server.http
    return consul.Consul(host, port)


async def meanwhile(query: Callable[[], Any], change: Callable[[], Any]) -> Any:
    """What a blocking query answers that was waiting when the change came."""
    waiting = asyncio.create_task(asyncio.to_thread(query))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done, "it waits as long as there is nothing new"
    await asyncio.to_thread(change)
    return await waiting


async def test_agent_self_and_members_have_the_fields_callers_read(
    client: consul.Consul, pool: Pool
) -> None:
    own = client.agent.self()
    assert own["Config"]["NodeName"] == own["Member"]["Name"] == "one"
    assert own["Config"]["Datacenter"] == "dc1"
    assert own["Config"]["Server"] is True
    members = {member["Name"]: member for member in client.agent.members()}
    assert {"one", "two"} <= members.keys()
    assert (members["two"]["Addr"], members["two"]["Port"]) == pool.client.gossip
    assert members["two"]["Status"] == ALIVE
    assert members["two"]["Tags"]["role"] == "node"
    assert [member["Name"] for member in client.agent.members(wan=True)] == ["one.dc1"]


async def test_join_and_force_leave_are_true_and_a_failed_join_raises(
    client: consul.Consul, pool: Pool
) -> None:
    assert client.agent.join("{}:{}".format(*pool.client.gossip)) is True
    with pytest.raises(consul.ConsulException, match="connection refused"):
        client.agent.join("127.0.0.1:1")
    gone = await pool.join("gone")
    await gone.process.kill()
    await pool.until("gone", FAILED)
    assert client.agent.force_leave("gone") is True
    await pool.until("gone", LEFT)
    assert client.agent.force_leave("gone", prune=True) is True
    await pool.until("gone", None)


async def test_leave_is_true_and_ends_the_agent(pool: Pool) -> None:
    leaver = await pool.join("leaver")
    assert consul.Consul(*leaver.http).agent.leave() is True
    assert await leaver.process.wait(10) == 0
    await pool.until("leaver", LEFT)


async def test_reload_and_maintenance_are_true(client: consul.Consul) -> None:
    assert client.agent.reload() is True
    assert client.agent.maintenance(enable=True, reason="upgrade") is True
    (check,) = [c for key, c in client.agent.checks().items() if key == "_node_maintenance"]
    assert (check["Status"], check["Notes"]) == ("critical", "upgrade")
    assert client.agent.maintenance(enable=False) is True
    assert "_node_maintenance" not in client.agent.checks()


async def test_a_registered_service_is_in_services_and_its_ttl_check_can_be_set(
    client: consul.Consul,
) -> None:
    check = consul.Check.ttl("1h")
    assert client.agent.service.register(
        "api", service_id="api-1", address="10.0.0.1", port=8080, tags=["v1"],
        meta={"team": "x"}, check=check, tagged_addresses={"lan": {"Address": "10.0.0.2", "Port": 1}},
    )  # fmt: skip
    held = client.agent.services()["api-1"]
    assert (held["Service"], held["Address"], held["Port"]) == ("api", "10.0.0.1", 8080)
    assert (held["Tags"], held["Meta"]) == (["v1"], {"team": "x"})
    assert client.agent.service_definition("api-1")["TaggedAddresses"]["lan"]["Port"] == 1
    for change, status in (
        (client.agent.check.ttl_pass, "passing"),
        (client.agent.check.ttl_warn, "warning"),
        (client.agent.check.ttl_fail, "critical"),
    ):
        assert change("service:api-1", notes="so") is True
        found = client.agent.checks()["service:api-1"]
        assert (found["Status"], found["Output"]) == (status, "so")
    assert client.agent.check.register("extra", consul.Check.ttl("1h"), service_id="api-1")
    assert client.agent.check.deregister("extra") is True
    assert client.agent.service.maintenance("api-1", enable=True) is True
    assert client.agent.service.deregister("api-1") is True
    assert "api-1" not in client.agent.services()
    assert not [c for c in client.agent.checks().values() if c["ServiceID"] == "api-1"]


async def test_fire_gives_the_event_and_list_its_payload_decoded(client: consul.Consul) -> None:
    fired = client.event.fire("deploy", "v2", node="^one$")
    assert fired["Name"] == "deploy"
    assert base64.b64decode(fired["Payload"]) == b"v2"
    index, events = client.event.list("deploy")
    assert [(event["ID"], event["Payload"]) for event in events] == [(fired["ID"], b"v2")]
    assert int(index) > 0
    assert client.event.list("none")[1] == []
    silent = client.event.fire("silent")
    assert client.event.list("silent")[1][0]["ID"] == silent["ID"]


async def test_list_of_events_waits_for_a_new_one(client: consul.Consul) -> None:
    client.event.fire("beat", "1")
    index, _ = client.event.list("beat")
    newer, events = await meanwhile(
        lambda: client.event.list("beat", index=index, wait=WAIT),
        lambda: client.event.fire("beat", "2"),
    )
    assert newer != index
    assert [event["Payload"] for event in events] == [b"1", b"2"]


async def test_mistakes_raise_what_callers_catch(client: consul.Consul) -> None:
    with pytest.raises(consul.ConsulException, match="500 Invalid node filter"):
        client.event.fire("deploy", node="[")
    with pytest.raises(consul.ConsulException, match="512 bytes"):
        client.event.fire("large", "x" * 1000)
    with pytest.raises(BadRequest, match="Invalid index"):
        client.catalog.nodes(index="soon")
    with pytest.raises(consul.ConsulException):
        client.catalog.nodes(dc="mars")


async def test_what_is_put_into_the_catalog_is_found_and_taken_out(client: consul.Consul) -> None:
    service = {"ID": "db-1", "Service": "db", "Tags": ["primary"], "Port": 5432}
    check = {"Name": "db", "CheckID": "db", "ServiceID": "db-1", "Status": "passing"}
    assert client.catalog.register("outside", "10.0.0.9", service=service, check=check)
    index, nodes = client.catalog.nodes()
    assert int(index) > 0
    assert {"one", "two", "outside"} <= {node["Node"] for node in nodes}
    assert client.catalog.nodes(node_meta={"rack": "7"})[1] == []
    assert client.catalog.services()[1]["db"] == ["primary"]
    (found,) = client.catalog.service("db", tag="primary")[1]
    assert (found["Node"], found["Address"], found["ServicePort"]) == ("outside", "10.0.0.9", 5432)
    assert client.catalog.service("db", tag="replica")[1] == []
    whole = client.catalog.node("outside")[1]
    assert (whole["Node"]["Node"], list(whole["Services"])) == ("outside", ["db-1"])
    assert client.catalog.node("nobody")[1] is None
    assert client.catalog.datacenters() == ["dc1"]
    assert client.catalog.deregister("outside", service_id="db-1") is True
    assert client.catalog.service("db")[1] == []
    assert client.catalog.deregister("outside") is True
    assert "outside" not in {node["Node"] for node in client.catalog.nodes()[1]}


@pytest.mark.parametrize("consistency", ["default", "stale", "consistent"])
async def test_every_consistency_is_answered(client: consul.Consul, consistency: str) -> None:
    assert client.catalog.nodes(consistency=consistency)[1]
    assert client.catalog.service("web", consistency=consistency)[1]
    assert client.coordinate.nodes(consistency=consistency)[0]


async def test_health_follows_a_check_and_wakes_who_waits(client: consul.Consul) -> None:
    index, (entry,) = client.health.service("web", passing=True)
    assert (entry["Node"]["Node"], entry["Service"]["Port"]) == ("one", 80)
    assert [check["CheckID"] for check in entry["Checks"]] == ["serfHealth", "service:web"]
    newer, entries = await meanwhile(
        lambda: client.health.service("web", passing=True, index=index, wait=WAIT),
        lambda: client.agent.check.ttl_fail("service:web", notes="down"),
    )
    assert int(newer) > int(index)
    assert entries == []
    (check,) = client.health.checks("web")[1]
    assert (check["Status"], check["Output"]) == ("critical", "down")
    assert [c["CheckID"] for c in client.health.state("critical")[1]] == ["service:web"]
    assert "service:web" in {c["CheckID"] for c in client.health.node("one")[1]}
    _, (entry,) = await meanwhile(
        lambda: client.health.service("web", passing=True, index=newer, wait=WAIT),
        lambda: client.agent.check.ttl_pass("service:web"),
    )
    assert entry["Service"]["ID"] == "web"


async def test_leader_peers_and_coordinates_can_be_read(client: consul.Consul, pool: Pool) -> None:
    own = client.agent.self()
    leader = client.status.leader()
    assert leader == f"127.0.0.1:{own['Member']['Tags']['port']}"
    assert client.status.peers() == [leader]
    assert client.coordinate.datacenters()[0]["Datacenter"] == "dc1"
    assert int(client.coordinate.nodes()[0]) > 0


async def test_keyring_lists_the_key_of_both_pools(client: consul.Consul) -> None:
    wan, lan = client.operator.keyring_list()
    alive = [member for member in client.agent.members() if member["Status"] == ALIVE]
    assert (wan["WAN"], lan["WAN"], lan["NumNodes"]) == (True, False, len(alive))
    assert wan["Keys"].keys() == lan["Keys"].keys()


# The library's own use of its HTTP client is what is deprecated.
@pytest.mark.filterwarnings("ignore:ssl_context is deprecated:DeprecationWarning")
async def test_its_asyncio_client_waits_on_many_queries_at_once(pool: Pool) -> None:
    async with consul.aio.Consul(*pool.server.http) as client:
        index, _ = await client.catalog.service("many")
        waiting = [
            asyncio.create_task(client.health.service("many", index=index, wait=WAIT))
            for _ in range(20)
        ]
        done, _ = await asyncio.wait(waiting, timeout=0.2)
        assert not done
        assert await client.agent.service.register("many", port=1)
        for _, entries in await asyncio.gather(*waiting):
            assert [entry["Service"]["Port"] for entry in entries] == [1]
        fired = await client.event.fire("async", "x")
        assert (await client.event.list("async"))[1][0]["ID"] == fired["ID"]
        assert await client.agent.service.deregister("many")
