"""The fixture with agents as processes: the same verbs in real time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulations.fixture.edge import Rules

if TYPE_CHECKING:
    from pathlib import Path

    from simulations.fixture.processes import ProcessCluster

QUICK = {"gossip_lan": {"probe_interval": "200ms", "probe_timeout": "100ms", "suspicion_mult": 2}}


async def sees(cluster: ProcessCluster, observer: str, **expected: str) -> None:
    """Wait until a member sees some others so."""

    async def so() -> bool:
        members = await cluster.members(observer)
        return all(members[name] == status for name, status in expected.items())

    await cluster.until(so, within=60, what=f"{observer} sees {expected}")


@pytest.mark.gossip_cluster(kind="processes", nodes=3, config=QUICK)
async def test_processes_are_parted_stopped_killed_and_started_again(
    gossip_cluster: ProcessCluster,
) -> None:
    cluster = gossip_cluster
    await cluster.fire("node1", "deploy", b"v2")

    async def arrived() -> bool:
        return ("deploy", b"v2") in await cluster.events("node3")

    await cluster.until(arrived, within=20)

    await cluster.partition(["node3"])
    await sees(cluster, "node1", node2="alive", node3="failed")
    await sees(cluster, "node3", node1="failed", node2="failed")
    await cluster.heal()
    await cluster.settled(within=60)

    await cluster.pause("node2")
    await sees(cluster, "node1", node2="failed")
    await cluster.resume("node2")
    await cluster.settled(within=60)

    await cluster.kill("node3")
    await sees(cluster, "node1", node3="failed")
    assert cluster.running == ["node1", "node2"]
    await cluster.restart("node3")
    await cluster.settled(within=60)

    await cluster.leave("node2")
    await sees(cluster, "node1", node2="left")
    assert await cluster.add("extra") == "extra"
    await cluster.settled(within=60)


@pytest.mark.gossip_cluster(kind="processes", nodes=2, config=QUICK)
async def test_packets_of_processes_are_lost_and_members_stay(
    gossip_cluster: ProcessCluster,
) -> None:
    await gossip_cluster.loss(1.0)

    async def over_tcp() -> bool:
        told = (await gossip_cluster["node1"].call("GET", "/v1/agent/self")).json()
        return int(told["Stats"]["serf_lan"].get("udp_unreachable", "0")) > 0

    await gossip_cluster.until(over_tcp, within=30, what="nothing comes over UDP any more")
    await gossip_cluster.heal()
    await gossip_cluster.settled(within=30)


def test_rules_part_sides_and_lose_a_share(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    rules = Rules(path)
    a, b, c = ("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3)
    assert not rules.drops(a, b)

    Rules.write(path, {"127.0.0.1:1": 0, "127.0.0.1:2": 0}, {"127.0.0.1:2": 0.5})

    assert not rules.parted(a, b)
    assert rules.parted(a, c)
    assert rules.parted(c, b)
    assert 300 < sum(rules.drops(a, b) for _ in range(1000)) < 700
    Rules.write(path, {}, {"*": 1.0})
    assert rules.drops(a, c)
    Rules.write(path, {}, {})
    assert not rules.drops(a, c)
