"""Coordinates through the driver: real round trips on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gossip import distance

if TYPE_CHECKING:
    from gossip import Cluster
    from tests.driver.conftest import StartNode

QUICK = {"probe_interval": 0.05, "probe_timeout": 0.05}


async def pair(start_node: StartNode, **settings: object) -> tuple[Cluster, Cluster]:
    one = await start_node("one", **QUICK)
    two = await start_node("two", **QUICK, **settings)
    await two.join(["{}:{}".format(*one.local_address)])
    return one, two


async def until_known(cluster: Cluster, name: str) -> None:
    async with asyncio.timeout(10):
        while cluster.coordinate_of(name) is None:
            await cluster.coordinates_changed(cluster.coordinates_version)


async def test_probed_members_have_coordinates_and_loopback_is_near(start_node: StartNode) -> None:
    one, two = await pair(start_node)
    assert (await start_node("alone")).coordinate is not None

    await until_known(one, "two")
    await until_known(two, "one")

    assert one.coordinate == one.coordinate_of("one") is not None
    assert one.coordinates().keys() == {"one", "two"}
    theirs = one.coordinates()["two"]
    assert theirs == one.coordinate_of("two")
    assert 0 < distance(one.coordinates()["one"], theirs) < 0.05
    assert one.coordinate_of("three") is None
    assert one.stats()["coordinate_resets"] == "0"


async def test_members_with_coordinates_off_have_none_and_live_all_the_same(
    start_node: StartNode,
) -> None:
    one, two = await pair(start_node, coordinates=False)
    probers = [cluster.node.membership.prober for cluster in (one, two)]

    async with asyncio.timeout(10):
        while min(prober._seq_no for prober in probers) < 3:  # noqa: ASYNC110 - nothing else changes
            await asyncio.sleep(0.01)

    assert two.coordinate is None
    assert (two.coordinates(), two.coordinate_of("one")) == ({}, None)
    assert one.coordinate_of("two") is None
    assert two.stats()["coordinate_resets"] == "0"
    assert [member.status.name for member in one.members()] == ["ALIVE", "ALIVE"]


async def test_who_waits_for_members_sleeps_through_coordinates(start_node: StartNode) -> None:
    one, _ = await pair(start_node)
    await until_known(one, "two")
    waiting = asyncio.create_task(one.members_changed(one.members_version))
    version = one.coordinates_version

    async with asyncio.timeout(10):
        assert await one.coordinates_changed(version) > version

    assert not waiting.done()
    await one.close()
    async with asyncio.timeout(1):
        assert await waiting == one.members_version


async def test_closing_ends_the_wait_for_coordinates(start_node: StartNode) -> None:
    one = await start_node("one")
    waiting = asyncio.create_task(one.coordinates_changed(one.coordinates_version))
    await asyncio.sleep(0)

    await one.close()

    async with asyncio.timeout(1):
        assert await waiting == one.coordinates_version
