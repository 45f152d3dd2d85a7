"""The tour of a datacenter: one server and two clients as processes, what they run, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.config import AgentConfig, GossipTuning
from simulations.bounds import Bounds
from simulations.cluster import LocalCluster
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulations.cluster import LocalAgent

HURRY = GossipTuning(probe_interval=0.5, probe_timeout=0.25, gossip_interval=0.1, suspicion_mult=2)
BUSY = 5.0
"""Seconds that a busy machine may add to what the configuration promises."""
WEB = {
    "Name": "web",
    "Port": 80,
    "Tags": ["v2"],
    "Check": {"TTL": "10m", "Notes": "told by the tour"},
}


def detection_time() -> float:
    """Seconds until a dead member of the three is failed everywhere, at the latest."""
    config = AgentConfig(node_name="any", dev=True, gossip_lan=HURRY)
    return Bounds.of(config.gossip_config(""), 3).detect


def settings(folder: Path) -> Path:
    file = folder / "hurry.json"
    durations = ("probe_interval", "probe_timeout", "gossip_interval")
    tuning = asdict(HURRY) | {key: f"{getattr(HURRY, key)}s" for key in durations}
    file.write_text(json.dumps({"gossip_lan": tuning}))
    return file


async def at_all(
    agents: list[LocalAgent], path: str, right: Callable[[Any], bool], *, within: float, what: str
) -> None:
    """Wait until every agent answers so."""
    answers: dict[str, Any] = {}

    async def shown() -> bool:
        found = await asyncio.gather(*(agent.call("GET", path) for agent in agents))
        answers.update({a.name: one.json() for a, one in zip(agents, found, strict=True)})
        return all(map(right, answers.values()))

    await eventually(shown, within=within, what=lambda: f"{what}: {answers}")


async def register(agent: LocalAgent) -> None:
    await agent.call("PUT", "/v1/agent/service/register", json.dumps(WEB).encode())


def statuses(rows: Any) -> dict[str, dict[str, str]]:
    """What the checks of each instance say, by node."""
    return {
        row["Node"]["Node"]: {check["CheckID"]: check["Status"] for check in row["Checks"]}
        for row in rows
    }


def says(node: str, serf: str, service: str) -> Callable[[Any], bool]:
    """Whether the service is on this node alone, with these statuses."""
    wanted = {node: {"serfHealth": serf, "service:web": service}}
    return lambda rows: statuses(rows) == wanted


async def test_the_tour_of_a_datacenter(tmp_path: Path) -> None:
    async with LocalCluster(0, servers=1, arguments=[f"-config-file={settings(tmp_path)}"]) as dc:
        server, web, other = dc.add("-bootstrap"), dc.add(), dc.add()
        await dc.start()
        await dc.join()
        await dc.complete(within=20)
        instances = "/v1/health/service/web"
        await at_all(
            dc.agents,
            "/v1/catalog/nodes",
            lambda nodes: [node["Node"] for node in nodes] == [a.name for a in dc.agents],
            within=20,
            what="every node is in the catalog",
        )

        # A service that runs on a client is seen at every agent, with what its check says.
        await register(web)
        for status, verb in (("critical", ""), ("passing", "pass"), ("warning", "warn")):
            if verb:
                await web.call("PUT", f"/v1/agent/check/{verb}/service:web?note=tour")
            await at_all(
                dc.agents,
                instances,
                says(web.name, "passing", status),
                within=20,
                what=f"the check is {status} everywhere",
            )

        # When the client is killed serfHealth tells so; what it ran is still listed.
        await web.process.kill()
        begin = time.monotonic()
        left = [server, other]
        await at_all(
            left,
            instances,
            says(web.name, "critical", "warning"),
            within=detection_time() + BUSY,
            what="serfHealth is critical, and the service still listed",
        )
        assert time.monotonic() - begin > HURRY.probe_timeout, "it had to be found out"
        (check,) = (
            check
            for check in (await other.call("GET", f"/v1/health/node/{web.name}")).json()
            if check["CheckID"] == "serfHealth"
        )
        assert check["Output"] == "Agent not live or unreachable"
        assert (await other.call("GET", f"{instances}?passing")).json() == []

        # Forced to leave, it is gone with all that it had.
        await other.force_leave(web.name)
        await at_all(
            left, instances, lambda rows: rows == [], within=20, what="its service is gone"
        )
        await at_all(
            left,
            f"/v1/catalog/node/{web.name}",
            lambda node: node is None,
            within=20,
            what="it is gone",
        )

        # It comes back with what it ran, as it was.
        await web.restart()
        await dc.complete(within=20)
        await at_all(
            dc.agents,
            instances,
            says(web.name, "passing", "warning"),
            within=20,
            what="the service is back",
        )

        # An event for a service arrives where that runs, and nowhere else.
        await other.fire("deploy", b"v3", service="^web$", tag="v2")
        await other.fire("everywhere")
        for agent in dc.agents:

            async def last(agent: LocalAgent = agent) -> bool:
                names = {event["Name"] for event in (await agent.events())[0]}
                return names == ({"deploy"} if agent is web else set()) | {"everywhere"}

            await eventually(last, within=20, what=f"{agent.name} has its events")
