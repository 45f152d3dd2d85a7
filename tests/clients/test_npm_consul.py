"""The npm package ``consul`` at our agent: each test names what its callers rely on."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from simulations.cluster.agent import ALIVE, FAILED, LEFT
from tests.helpers_peers import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.helpers_clients import Pool

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path(__file__).parent
WAIT = "20s"


class CallError(Exception):
    """What the package rejected its promise with.

    Attributes:
        status: of the answer; None when there was none.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.status = error["status"]


class Client:
    """The package in a process of node, called from here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._answers: list[asyncio.Queue[Any]] = []
        self.reading = asyncio.create_task(self._read())

    async def call(self, method: str, *parameters: Any) -> Any:
        """Await one method, such as ``agent.members``."""
        return await self.next(self.send(method, *parameters))

    def send(self, method: str, *parameters: Any) -> int:
        """Call without waiting for the answer, which `next` gives by this number."""
        number = len(self._answers)
        self._answers.append(asyncio.Queue())
        self._stdin.write(json.dumps([number, method, *parameters]).encode() + b"\n")
        return number

    async def next(self, number: int) -> Any:
        """The next answer to what was sent."""
        async with asyncio.timeout(30):
            error, result = await self._answers[number].get()
        if error is not None:
            raise CallError(error)
        return result

    async def _read(self) -> None:
        while line := await self._stdout.readline():
            number, error, result = json.loads(line)
            self._answers[number].put_nowait((error, result))
        for queue in self._answers:
            queue.put_nowait(({"message": "node ended", "status": None}, None))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(pool: Pool) -> AsyncIterator[Client]:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules" / "consul").is_dir():
        missing("no npm package consul: install node, and run `npm ci --prefix tests/clients`")
    host, port = pool.server.http
    process = await asyncio.create_subprocess_exec(
        node,
        str(FOLDER / "calls.cjs"),
        host,
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client = Client(process)
    try:
        yield client
    finally:
        process.kill()
        await process.wait()
        await client.reading


def by(key: str, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


async def test_agent_self_and_members_have_the_fields_callers_read(
    client: Client, pool: Pool
) -> None:
    own = await client.call("agent.self")
    assert own["Config"]["NodeName"] == own["Member"]["Name"] == "one"
    members = by("Name", await client.call("agent.members"))
    assert (members["two"]["Addr"], members["two"]["Port"]) == pool.client.gossip
    assert members["two"]["Status"] == ALIVE
    (wan,) = await client.call("agent.members", {"wan": True})
    assert wan["Name"].startswith("one")


async def test_join_and_force_leave_resolve_and_a_failed_join_rejects(
    client: Client, pool: Pool
) -> None:
    assert await client.call("agent.join", "{}:{}".format(*pool.client.gossip)) is None
    with pytest.raises(CallError, match="connection refused") as failed:
        await client.call("agent.join", "127.0.0.1:1")
    assert failed.value.status == 500
    gone = await pool.join("gone")
    await gone.process.kill()
    await pool.until("gone", FAILED)
    assert await client.call("agent.forceLeave", "gone") is None
    await pool.until("gone", LEFT)


async def test_reload_and_maintenance_resolve(client: Client) -> None:
    assert await client.call("agent.reload") is None
    assert await client.call("agent.maintenance", {"enable": True, "reason": "upgrade"}) is None
    assert (await client.call("agent.checks"))["_node_maintenance"]["Notes"] == "upgrade"
    assert await client.call("agent.maintenance", False) is None
    assert "_node_maintenance" not in await client.call("agent.checks")


async def test_a_registered_service_is_in_services_and_its_ttl_check_can_be_set(
    client: Client,
) -> None:
    await client.call(
        "agent.service.register",
        {
            "name": "api",
            "id": "api-1",
            "address": "10.0.0.1",
            "port": 8080,
            "tags": ["v1"],
            "meta": {"team": "x"},
            "check": {"ttl": "1h", "deregistercriticalserviceafter": "2h"},
        },
    )
    held = (await client.call("agent.services"))["api-1"]
    assert (held["Service"], held["Address"], held["Port"]) == ("api", "10.0.0.1", 8080)
    assert (held["Tags"], held["Meta"]) == (["v1"], {"team": "x"})
    for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        await client.call(f"agent.check.{verb}", {"id": "service:api-1", "note": verb})
        check = (await client.call("agent.checks"))["service:api-1"]
        assert (check["Status"], check["Output"]) == (status, verb)
    await client.call("agent.check.register", {"name": "extra", "ttl": "1h"})
    await client.call("agent.check.deregister", "extra")
    await client.call("agent.service.maintenance", {"id": "api-1", "enable": True})
    await client.call("agent.service.deregister", "api-1")
    assert "api-1" not in await client.call("agent.services")


async def test_fire_and_list_give_payloads_decoded(client: Client) -> None:
    fired = await client.call("event.fire", {"name": "deploy", "payload": "v2", "node": "^one$"})
    assert (fired["Name"], fired["Payload"], fired["NodeFilter"]) == ("deploy", "v2", "^one$")
    (event,) = await client.call("event.list", "deploy")
    assert (event["ID"], event["Payload"]) == (fired["ID"], "v2")
    silent = await client.call("event.fire", "silent")
    assert silent["Payload"] is None
    assert await client.call("event.list", "none") == []
    with pytest.raises(CallError) as failed:
        await client.call("event.fire", {"name": "deploy", "node": "["})
    assert failed.value.status == 500


async def test_a_watch_of_events_sees_each_as_it_comes(client: Client) -> None:
    watch = client.send("watch", "event.list", {"name": "beat", "wait": WAIT})
    assert await client.next(watch) == []
    fired: list[str] = []
    for number in range(3):
        before = list(fired)
        fired.append((await client.call("event.fire", "beat", str(number)))["ID"])
        # The index of events is no counter, and after a smaller one the package asks from the start.
        while (seen := [event["ID"] for event in await client.next(watch)]) == before:
            pass
        assert seen == fired
    await client.call("end", watch)


async def test_what_is_put_into_the_catalog_is_found_and_taken_out(client: Client) -> None:
    await client.call(
        "catalog.register",
        {
            "node": "outside",
            "address": "10.0.0.9",
            "nodemeta": {"rack": "7"},
            "service": {"id": "db-1", "service": "db", "tags": ["primary"], "port": 5432},
            "check": {"name": "db", "checkid": "db", "serviceid": "db-1", "status": "passing"},
        },
    )
    assert await client.call("catalog.datacenters") == ["dc1"]
    nodes = by("Node", await client.call("catalog.nodes"))
    assert nodes["outside"]["Meta"] == {"rack": "7"}
    assert (await client.call("catalog.services"))["db"] == ["primary"]
    (found,) = await client.call("catalog.service.nodes", {"service": "db", "tag": "primary"})
    assert (found["Node"], found["ServicePort"]) == ("outside", 5432)
    services = await client.call("catalog.node.services", "outside")
    assert list(services["Services"]) == ["db-1"]
    await client.call("catalog.deregister", {"node": "outside", "serviceid": "db-1"})
    assert await client.call("catalog.service.nodes", "db") == []
    await client.call("catalog.deregister", "outside")
    assert "outside" not in by("Node", await client.call("catalog.nodes"))


async def test_a_watch_of_health_sees_a_check_fail_and_pass_again(client: Client) -> None:
    watch = client.send(
        "watch", "health.service", {"service": "web", "passing": True, "wait": WAIT}
    )
    (entry,) = await client.next(watch)
    assert (entry["Node"]["Node"], entry["Service"]["Port"]) == ("one", 80)
    await client.call("agent.check.fail", {"id": "service:web", "note": "down"})
    assert await client.next(watch) == []
    (check,) = await client.call("health.checks", "web")
    assert (check["Status"], check["Output"]) == ("critical", "down")
    assert [c["CheckID"] for c in await client.call("health.state", "critical")] == ["service:web"]
    assert "service:web" in by("CheckID", await client.call("health.node", "one"))
    await client.call("agent.check.pass", "service:web")
    assert [entry["Service"]["ID"] for entry in await client.next(watch)] == ["web"]
    await client.call("end", watch)


async def test_leader_and_peers_can_be_read(client: Client) -> None:
    leader = await client.call("status.leader")
    assert await client.call("status.peers") == [leader]
