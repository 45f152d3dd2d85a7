"""What agents tell the catalog, ours beside genuine Consul's; and ours in a datacenter of Consul's."""

from __future__ import annotations

import asyncio
import json
import logging
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest

from agent.sync import schedule
from simulations.local.http import request
from simulations.local.wait import eventually
from tests.helpers_agent import FAST, running
from tests.helpers_forward import SERVER

if TYPE_CHECKING:
    from simulations.peers import ConsulAgent

pytestmark = pytest.mark.interop

OURSELVES = "same"
"""Name of both servers."""
TTL = {"TTL": "1h"}
FULL = {
    "Name": "web",
    "ID": "web-1",
    "Tags": ["v1", "Blue"],
    "Port": 80,
    "Address": "10.9.9.9",
    "Meta": {"a": "b"},
    "Weights": {"Passing": 5, "Warning": 2},
    "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8}},
    "EnableTagOverride": True,
    "Checks": [TTL | {"Notes": "n"}, TTL | {"CheckID": "second", "Status": "passing"}],
}
PLAIN = {"Name": "db"}
DIFFERENT = {"CreateIndex", "ModifyIndex", "ServiceTags"}
"""Checks at Consul keep the tags that their service had before."""
STEPS: list[tuple[str, Any]] = [
    ("service/register", PLAIN),
    ("service/register", FULL),
    ("service/register", FULL | {"Tags": ["v2"], "Checks": []}),
    ("check/register", {"Name": "mem", "Notes": "of the node"} | TTL),
    ("check/register", {"Name": "of-db", "ServiceID": "db"} | TTL),
    ("check/pass/mem?note=fine", None),
    ("check/warn/service:web-1:1?note=hm", None),
    ("check/update/of-db", {"Status": "passing", "Output": "up"}),
    ("check/pass/mem?note=only%20other%20output", None),
    ("service/maintenance/web-1?enable=true&reason=work", None),
    ("maintenance?enable=true", None),
    ("maintenance?enable=false", None),
    ("check/deregister/second", None),
    ("service/deregister/web-1", None),
    ("check/deregister/mem", None),
]
READS = (
    f"catalog/node/{OURSELVES}",
    f"health/node/{OURSELVES}",
    "catalog/nodes",
    "catalog/service/web",
    "health/service/web",
    "health/checks/web",
    "catalog/service/db",
    "health/service/db",
)


async def ask(address: tuple[str, int], method: str, path: str, body: Any = None) -> Any:
    data = b"" if body is None else json.dumps(body).encode()
    answer = await request(address, method, f"/v1/{path}", data, within=10)
    return answer.json() if method == "GET" else answer.body


def essence(value: Any) -> Any:
    """An answer without what has to differ: the node's ID, and the service of servers."""
    if isinstance(value, list):
        found = [essence(one) for one in value]
        are_checks = bool(found) and "CheckID" in found[0]
        return sorted(found, key=itemgetter("CheckID")) if are_checks else found
    if isinstance(value, dict):
        left = {key: essence(one) for key, one in value.items() if key != "consul"}
        if "Datacenter" in value:
            left.pop("ID")
        return {key: one for key, one in left.items() if key not in DIFFERENT}
    return value


async def test_what_is_registered_at_an_agent_stands_in_both_catalogs_alike(
    start_consul: Any,
) -> None:
    consul: ConsulAgent = await start_consul(OURSELVES)
    await consul.elected()
    async with running(OURSELVES, bootstrap=True, **SERVER) as ours:
        both = (consul.http, ("127.0.0.1", ours.port))

        async def there() -> bool:
            known = [await ask(a, "GET", f"catalog/node/{OURSELVES}") for a in both]
            checks = [await ask(a, "GET", f"health/node/{OURSELVES}") for a in both]
            return all(one and one["Node"]["TaggedAddresses"] for one in known) and all(checks)

        await eventually(there, within=20, what="both nodes are told")
        for path, body in [("", None), *STEPS]:
            if path:
                await asyncio.gather(*(ask(a, "PUT", f"agent/{path}", body) for a in both))
            for read in READS:
                theirs, mine = await asyncio.gather(*(ask(a, "GET", read) for a in both))
                assert essence(mine) == essence(theirs), (path, read)


async def test_in_a_datacenter_of_consuls_an_agent_keeps_its_services_and_says_so_once(
    start_consul: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "RETRY_INTERVAL", 0.1)
    monkeypatch.setattr(schedule, "SERVER_INTERVAL", 0.1)
    caplog.set_level(logging.INFO, "agent")
    server: ConsulAgent = await start_consul("server")
    await server.elected()
    lan = {key: value for key, value in FAST.items() if key.endswith("delay")}
    async with running("ours", pool=lan) as ours:
        await ours.agent.join("{}:{}".format(*server.gossip))
        before = ours.agent.sync.stats["failures"]
        await ours.put("/v1/agent/service/register", json.dumps(PLAIN).encode())
        await eventually(
            lambda: ours.agent.sync.stats["failures"] > before + 4, within=10, what="it tried"
        )
        assert list((await ours.get("/v1/agent/services")).json) == ["db"]
        lines = [record.getMessage() for record in caplog.records]
        assert sum("its services and checks are known here only" in line for line in lines) == 1
        assert not [line for line in lines if "do not speak" in line]
        assert (await server.call("GET", "/v1/health/service/db")).json() == []
