"""Our catalog beside genuine Consul's: the same requests, the same answers; and its command line at ours."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from simulations.local.http import request
from simulations.local.wait import eventually
from tests.helpers_agent import running
from tests.helpers_forward import SERVER
from tests.helpers_processes import output_of

if TYPE_CHECKING:
    from simulations.local.http import Response
    from simulations.peers import ConsulAgent

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("no_sync")]

OURSELVES = "same"
"""Name of both servers."""


def registration(node: str, **more: Any) -> tuple[str, str, Any]:
    return "PUT", "/v1/catalog/register", {"Node": node, "Address": "10.0.0.1"} | more


WEB = {"ID": "web-1", "Service": "web", "Tags": ["v1", "Blue"], "Port": 80}
CHECK = {
    "CheckID": "service:web-1",
    "Name": "web check",
    "ServiceID": "web-1",
    "Status": "passing",
    "Notes": "n",
    "Output": "o",
    "Definition": {
        "HTTP": "http://x/",
        "Method": "GET",
        "Header": {"a": ["b"]},
        "Interval": "90s",
        "Timeout": "1s",
        "TLSSkipVerify": True,
        "DeregisterCriticalServiceAfter": "10m",
    },
}
READS = [
    ("GET", f"/v1/{path}", None)
    for path in (
        "catalog/datacenters",
        "catalog/nodes",
        "catalog/nodes?near=_agent",
        "catalog/nodes?node-meta=rack:7",
        "catalog/services",
        "catalog/services?node-meta=rack:7",
        "catalog/service/web",
        "catalog/service/WEB",
        "catalog/service/web?tag=v1",
        "catalog/service/web?tag=V1&tag=blue",
        "catalog/service/web?tag=none",
        "catalog/service/web?tag=",
        "catalog/service/a%2Fb%20c",
        "catalog/service/none",
        "catalog/node/n1",
        "catalog/node/N1",
        "catalog/node/n2",
        "catalog/node/n5",
        "catalog/node/none",
        "health/node/n1",
        "health/node/n1?node-meta=rack:none",
        "health/node/none",
        "health/checks/web",
        "health/checks/none",
        "health/service/web",
        "health/service/web?tag=blue&stale",
        "health/service/web?passing&consistent",
        "health/service/web?passing=false",
        "health/service/none",
        "health/state/passing",
        "health/state/warning",
        "health/state/critical",
        "health/state/unknown",
        "health/state/any",
        "health/state/bogus",
        "health/state/PASSING",
    )
]
WRONG = [
    ("GET", f"/v1/{path}", None)
    for path in (
        "catalog/service/",
        "catalog/node/",
        "health/node/",
        "health/checks/",
        "health/service/",
        "health/state/",
        "catalog/nodes?stale&consistent",
        "catalog/nodes?max_stale=soon",
        "catalog/nodes?max_stale=1s&consistent",
        "catalog/nodes?wait=soon",
        "catalog/service/?wait=soon",
        "catalog/nodes?index=-1",
        "catalog/nodes?dc=mars",
        "health/service/web?passing=maybe",
        "status/leader?dc=mars",
        "status/peers?wait=soon",
        "catalog/register",
    )
] + [
    ("PUT", "/v1/catalog/nodes", None),
    ("PUT", "/v1/catalog/deregister", {}),
    registration("n9", Datacenter="mars"),
    registration("n9", Service={"ID": "x"}),
]
SAME_STATUS = [
    # Told in other words.
    ("PUT", "/v1/catalog/register", b""),
    ("PUT", "/v1/catalog/register", b"{"),
    ("PUT", "/v1/catalog/register", b"[]"),
    ("PUT", "/v1/catalog/register", b"null"),
    ("PUT", "/v1/catalog/register", {"Node": 1}),
    ("PUT", "/v1/catalog/register", {"Node": "n9"}),
    ("PUT", "/v1/catalog/deregister", b"{"),
    registration("n9", ID="x"),
    registration("n9", Check={}),
    registration("n9", Check={"Name": "c", "ServiceID": "none"}),
    registration("n9", Service={"Service": "s", "Port": "80"}),
    registration("n9", Service={"Service": "s", "Port": 80.5}),
    registration("n9", Service={"Service": "s", "Tags": "x"}),
]
WRITES = [
    registration("n1", NodeMeta={"rack": "7"}, TaggedAddresses={"wan": "1.2.3.4"}),
    registration(
        "n1",
        ID="aaaaaaaa-0000-0000-0000-000000000001",
        NodeMeta={"rack": "7"},
        Service=WEB,
        Check=CHECK,
        Checks=[{"Name": "node check"}, {"CheckID": "z", "Name": "a", "Status": "passing"}],
    ),
    registration("n2", Service=WEB | {"Tags": None, "Meta": {"a": "b"}, "Address": "10.9.9.9"}),
    registration(
        "n3",
        Service=WEB
        | {
            "TaggedAddresses": {"lan": {"Address": "10.9.9.9", "Port": 81}},
            "Weights": {"Passing": 5, "Warning": 2},
            "EnableTagOverride": True,
        },
        Check={"Name": "c", "ServiceID": "web-1", "Status": "warning"},
    ),
    registration(
        "n2",
        Service={"Service": "a/b c"},
        Check={"Name": "t", "ServiceID": "a/b c", "Definition": {"TCP": "x:1", "Interval": "10s"}},
    ),
    registration("n4", SkipNodeUpdate=True, Service={"Service": "db"}),
    registration("n5", NodeMeta={"z": "1", "B": "2", "a": "3"}),
    registration("n5", Service={"Service": "m", "Meta": {"z": "1", "B": "2"}, "Weights": {}}),
    registration("n5", Service={"Service": "w", "Weights": {"Passing": 65536, "Warning": 2}}),
    registration("n5", Service={"Service": "v", "Weights": {"Passing": 3, "Warning": -1}}),
    registration("n4", SkipNodeUpdate=True, Address="10.4.4.4"),
    registration("new-name", ID="aaaaaaaa-0000-0000-0000-000000000009", Service={"Service": "db"}),
    registration("renamed", ID="aaaaaaaa-0000-0000-0000-000000000009"),
    ("PUT", "/v1/catalog/deregister", {"Node": "N3", "ServiceID": "web-1", "CheckID": "x"}),
    ("PUT", "/v1/catalog/deregister", {"Node": "n1", "CheckID": "z"}),
    ("PUT", "/v1/catalog/deregister", {"Node": "none"}),
    ("PUT", "/v1/catalog/deregister", {"Node": "none", "ServiceID": "x"}),
    ("PUT", "/v1/catalog/deregister", {"Node": "n2"}),
]


async def ask(address: tuple[str, int], method: str, target: str, body: Any) -> Response:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return await request(address, method, target, data, within=10, check=False)


def essence(value: Any) -> Any:
    """An answer without what has to differ: indexes, and all about the servers themselves."""
    if isinstance(value, list):
        return [essence(one) for one in value if not about_us(one)]
    if isinstance(value, dict):
        return {
            key: 0 if key in {"CreateIndex", "ModifyIndex"} else essence(one)
            for key, one in value.items()
        }
    return value


def about_us(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    node = row.get("Node")
    return OURSELVES in (node.get("Node") if isinstance(node, dict) else node, row.get("x"))


def sorted_tags(services: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: sorted(tags) for name, tags in services.items()}


def orders(value: Any) -> Any:
    """The keys of all entries in their order; how a check is made is in no order."""
    if isinstance(value, list):
        return [orders(one) for one in value if not about_us(one)]
    if isinstance(value, dict):
        return [(key, orders(one)) for key, one in value.items() if key != "Definition"]
    return None


async def test_the_same_requests_get_the_same_answers(start_consul: Any) -> None:
    consul: ConsulAgent = await start_consul(OURSELVES)
    await consul.elected()
    async with running(OURSELVES, bootstrap=True, **SERVER) as ours:
        address = ("127.0.0.1", ours.port)
        await eventually(
            lambda: ours.store.catalog.instances("consul"), within=10, what="ours in its catalog"
        )

        async def there() -> bool:
            return bool((await consul.call("GET", "/v1/health/service/consul")).json())

        await eventually(there, within=10, what="consul in its catalog")
        for write in [None, *WRITES]:
            if write is not None:
                theirs, mine = await asyncio.gather(ask(consul.http, *write), ask(address, *write))
                assert (mine.status, mine.body) == (theirs.status, theirs.body), write
            for read in READS:
                theirs, mine = await asyncio.gather(ask(consul.http, *read), ask(address, *read))
                assert mine.status == theirs.status == 200, read
                shown = essence(mine.json()), essence(theirs.json())
                if "catalog/services" in read[1]:  # whose tags are in no order there
                    shown = sorted_tags(shown[0]), sorted_tags(shown[1])
                assert shown[0] == shown[1], (write, read)
                assert orders(mine.json()) == orders(theirs.json()), (write, read)
                for header in ("X-Consul-KnownLeader", "X-Consul-LastContact", "Content-Type"):
                    assert mine.headers.get(header) == theirs.headers.get(header), read
                assert bool(mine.index) == bool(theirs.index), read
        for wrong in WRONG:
            theirs, mine = await asyncio.gather(ask(consul.http, *wrong), ask(address, *wrong))
            allow = (mine.headers.get("Allow") or "").replace(",HEAD", "").replace(",POST", "")
            assert allow == (theirs.headers.get("Allow") or "")
            assert (mine.status, mine.body) == (theirs.status, theirs.body), wrong
        for wrong in SAME_STATUS:
            theirs, mine = await asyncio.gather(ask(consul.http, *wrong), ask(address, *wrong))
            assert mine.status == theirs.status >= 400, wrong


async def test_both_block_until_the_same_writes(start_consul: Any) -> None:
    consul: ConsulAgent = await start_consul(OURSELVES)
    await consul.elected()
    async with running(OURSELVES, bootstrap=True, **SERVER) as ours:
        for address in (consul.http, ("127.0.0.1", ours.port)):
            service: dict[str, Any] = {"Service": "web", "Port": 1}
            await ask(address, *registration("n1", Service=service))
            for path in ("catalog/service/web", "health/service/web"):
                index = (await ask(address, "GET", f"/v1/{path}", None)).index
                # An idempotent write wakes nobody.
                target = f"/v1/{path}?index={index}&wait=20s"
                waiting = asyncio.ensure_future(ask(address, "GET", target, None))
                await ask(address, *registration("n1", Service=service))
                brief = f"/v1/{path}?index={index}&wait=20ms"
                assert (await ask(address, "GET", brief, None)).index == index
                assert not waiting.done()
                service["Port"] = 7000 + index
                await ask(address, *registration("n1", Service=service))
                answer = await waiting
                assert answer.index > index
                assert str(service["Port"]) in answer.body.decode()


async def test_consuls_command_line_reads_our_catalog(genuine_consul: str) -> None:
    async with running(OURSELVES, bootstrap=True, **SERVER) as ours:
        await eventually(
            lambda: ours.store.catalog.instances("consul"), within=10, what="ours in its catalog"
        )
        address = ("127.0.0.1", ours.port)
        await ask(address, *registration("n1", Service=WEB, Check=CHECK))

        async def consul(*arguments: str) -> list[list[str]]:
            process = await asyncio.create_subprocess_exec(
                genuine_consul,
                *arguments,
                f"-http-addr=127.0.0.1:{ours.port}",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out = await output_of(process)
            assert process.returncode == 0, out
            return [line.split() for line in out.splitlines() if line]

        assert await consul("catalog", "datacenters") == [["dc1"]]
        assert await consul("catalog", "nodes") == [
            ["Node", "ID", "Address", "DC"],
            ["n1", "10.0.0.1", "dc1"],
            [OURSELVES, ours.agent.node_id[:8], "127.0.0.1", "dc1"],
        ]
        assert [row[0] for row in await consul("catalog", "nodes", "-service=web")] == [
            "Node",
            "n1",
        ]
        assert await consul("catalog", "services", "-tags") == [["consul"], ["web", "Blue,v1"]]
        assert await consul("catalog", "services", "-node=n1") == [["web"]]
        seen = await consul("watch", "-type=checks", "-service=web")
        (check,) = json.loads(" ".join(word for line in seen for word in line))
        assert (check["CheckID"], check["Status"]) == ("service:web-1", "passing")
