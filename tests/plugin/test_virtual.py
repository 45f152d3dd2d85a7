"""The fixture in virtual time: production clusters whose hours pass in milliseconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gossip import Cluster, Config, JoinError, MemberStatus, UserEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gossip import Event, Gap, Subscription
    from simulations.fixture.virtual import VirtualCluster


async def test_members_are_joined_and_an_event_reaches_all(gossip_cluster: VirtualCluster) -> None:
    await gossip_cluster.fire("node2", "deploy", b"v2")

    for name in gossip_cluster.names:

        async def arrived(name: str = name) -> bool:
            return ("deploy", b"v2") in await gossip_cluster.events(name)

        await gossip_cluster.until(arrived, within=1)


async def test_a_quarter_of_an_hour_passes_in_moments(gossip_cluster: VirtualCluster) -> None:
    virtual, real = gossip_cluster.now, time.monotonic()

    await asyncio.sleep(900)

    assert gossip_cluster.now - virtual == pytest.approx(900)
    assert time.monotonic() - real < 180
    await gossip_cluster.settled(within=1)


@pytest.mark.gossip_cluster(nodes=5)
async def test_a_partition_shows_on_both_sides_and_heals(gossip_cluster: VirtualCluster) -> None:
    minority, majority = {"node1", "node2"}, {"node3", "node4", "node5"}
    await gossip_cluster.partition(minority)

    for side, other in ((minority, majority), (majority, minority)):
        for name in side:

            async def sees(name: str = name, other: set[str] = other) -> bool:
                members = await gossip_cluster.members(name)
                return {who for who, how in members.items() if how == "failed"} == other

            await gossip_cluster.until(sees, within=60)
    await gossip_cluster.heal()

    await gossip_cluster.settled(within=120)


async def test_a_short_pause_is_forgiven_and_a_long_one_noticed(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.pause("node3", seconds=1.0)
    await asyncio.sleep(30)
    assert (await gossip_cluster.members("node1"))["node3"] == "alive"

    await gossip_cluster.pause("node3")
    await asyncio.sleep(30)
    assert (await gossip_cluster.members("node1"))["node3"] == "failed"
    seen_when_it_stopped = await gossip_cluster.members("node3")

    await gossip_cluster.resume("node3")
    await gossip_cluster.settled()
    assert set(seen_when_it_stopped.values()) == {"alive"}  # it accused nobody meanwhile


async def test_a_killed_member_fails_and_a_restarted_one_is_back(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.kill("node2")
    await asyncio.sleep(30)
    assert (await gossip_cluster.members("node1"))["node2"] == "failed"
    assert gossip_cluster.running == ["node1", "node3"]

    await gossip_cluster.restart("node2")

    await gossip_cluster.settled()


async def test_a_member_that_leaves_is_left_and_one_that_is_added_joins(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.leave("node2")
    assert await gossip_cluster.add(tags={"role": "web"}) == "node4"
    await gossip_cluster.settled()

    assert (await gossip_cluster.members("node1"))["node2"] == "left"
    member = gossip_cluster["node1"].member("node4")
    assert member is not None
    assert member.tags == {"role": "web"}


@pytest.mark.gossip_cluster(nodes=4)
async def test_loss_costs_packets_and_no_member(gossip_cluster: VirtualCluster) -> None:
    await gossip_cluster.loss(0.2)
    await asyncio.sleep(60)
    lost = gossip_cluster.loop.covered["packets_lost"]
    await gossip_cluster.heal()
    await asyncio.sleep(60)

    assert lost > 20
    assert gossip_cluster.loop.covered["packets_lost"] == lost
    await gossip_cluster.settled(within=5)


@pytest.mark.gossip_cluster(nodes=5)
async def test_a_member_that_hears_nothing_is_told_by_its_own_loss(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.loss(1.0, "node5")
    await asyncio.sleep(20)

    assert gossip_cluster["node1"].stats()["udp_unreachable"] == "1"  # TCP still passes
    assert gossip_cluster["node1"].member("node5").status is MemberStatus.ALIVE  # type: ignore[union-attr]


# A test's own programs


async def test_a_cluster_of_the_tests_own_joins_by_name_and_by_address(
    gossip_cluster: VirtualCluster,
) -> None:
    async with Cluster(Config.lan("mine")) as mine, Cluster(Config.lan("other")) as other:
        assert await mine.join(["node1"]) == 1
        assert await other.join([gossip_cluster.address("node2")]) == 1

        await gossip_cluster.settled("mine", "other")
        await gossip_cluster.partition(["mine"])
        await gossip_cluster.settled("other")


async def test_clusters_bound_to_loopback_find_each_other_there(
    gossip_cluster: VirtualCluster,
) -> None:
    first = Cluster(Config.lan("first", bind="127.0.0.1", port=17946))
    second = Cluster(Config.lan("second", bind="127.0.0.1", port=0))
    async with first, second:
        assert await second.join(["127.0.0.1:17946"]) == 1

        assert {member.name for member in first.members()} == {"first", "second"}
        with pytest.raises(JoinError, match=r"127\.0\.0\.1:17999.*refused"):
            await first.join(["127.0.0.1:17999"])
        with pytest.raises(OSError, match="already in use"):
            await Cluster(Config.lan("third", bind="127.0.0.1", port=17946)).start()


async def test_everything_on_a_machine_stands_still_while_it_is_paused(
    gossip_cluster: VirtualCluster,
) -> None:
    ticks: list[float] = []

    async def service() -> None:
        async with Cluster(Config.lan("web")) as cluster:
            await cluster.join(["node1"])
            while True:
                ticks.append(gossip_cluster.now)
                await asyncio.sleep(1)

    with gossip_cluster.on("web"):
        task = asyncio.create_task(service())
    await gossip_cluster.settled("web")
    await gossip_cluster.pause("web", seconds=60)
    await asyncio.sleep(59)
    stopped_with = len(ticks)
    assert (await gossip_cluster.members("node1"))["web"] == "failed"

    await asyncio.sleep(20)
    await gossip_cluster.settled("web")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert stopped_with < 10
    assert len(ticks) > stopped_with + 15


async def test_streams_of_a_program_pass_through_the_simulated_network(
    gossip_cluster: VirtualCluster,
) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    with gossip_cluster.on("server"):
        server = await asyncio.start_server(shout, port=80)
    with gossip_cluster.on("client"):
        reader, writer = await asyncio.open_connection("server", 80)
    await gossip_cluster.partition(["server"])
    started = gossip_cluster.now
    asyncio.get_running_loop().call_later(10, gossip_cluster.loop.network.mend)
    writer.write(b"hello" * 10_000)
    writer.write_eof()

    assert await reader.read() == b"HELLO" * 10_000
    assert 10 < gossip_cluster.now - started < 15  # as TCP does, it waited for the cut to end
    writer.close()
    server.close()
    with gossip_cluster.on("client"), pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("server", 80)


async def test_a_query_is_answered_by_handlers_that_block(gossip_cluster: VirtualCluster) -> None:
    gossip_cluster["node2"].on_query("uptime", lambda _query: b"42")

    replies = [reply async for reply in gossip_cluster["node1"].query("uptime", timeout=5.0)]

    assert [(reply.node, getattr(reply, "payload", None)) for reply in replies] == [
        ("node2", b"42")
    ]


@pytest.mark.gossip_cluster(nodes=2, config={"keys": (bytes(range(32)),), "label": "prod"})
async def test_the_configuration_is_every_members(gossip_cluster: VirtualCluster) -> None:
    assert gossip_cluster["node2"].stats()["encrypted"] == "true"
    async with Cluster(Config.lan("stranger", label="prod")) as stranger:
        with pytest.raises(JoinError):
            await stranger.join(["node1"])


async def test_a_snapshot_remembers_the_pool_over_a_restart(
    gossip_cluster: VirtualCluster, tmp_path: Path
) -> None:
    file = tmp_path / "web.snapshot"
    async with Cluster(Config.lan("web"), snapshot=file) as cluster:
        await cluster.join(["node1"])
        await gossip_cluster.settled("web")
        await asyncio.sleep(1)
    await gossip_cluster.fire("node1", "missed")

    async with Cluster(Config.lan("web"), snapshot=file) as cluster:
        events = cluster.subscribe()
        # Without being told where they are.
        await gossip_cluster.until(lambda: len(cluster.members()) == 4, within=5)
        await asyncio.sleep(1)
        names = [e.name async for e in until_closed(events, cluster) if isinstance(e, UserEvent)]

    assert names == ["missed"]


async def until_closed(events: Subscription[Event], cluster: Cluster) -> AsyncIterator[Event | Gap]:
    """What a subscription has got; closes its cluster."""
    await cluster.close()
    async for event in events:
        yield event


def test_a_plain_test_waits_with_run(gossip_cluster: VirtualCluster) -> None:
    events = gossip_cluster["node1"].subscribe()
    gossip_cluster.run(gossip_cluster.fire("node1", "deploy"))

    assert isinstance(gossip_cluster.run(anext(events)), UserEvent)


async def test_faults_of_unknown_members_are_refused(gossip_cluster: VirtualCluster) -> None:
    with pytest.raises(KeyError, match="nobody"):
        await gossip_cluster.partition(["nobody"])
    with pytest.raises(KeyError, match="nobody"):
        await gossip_cluster.loss(0.1, "nobody")
    with pytest.raises(
        KeyError, match="no machine is called nobody; there are node1, node2, node3"
    ):
        await gossip_cluster.pause("nobody")
    with pytest.raises(KeyError, match="no member is called nobody; there are node1, node2, node3"):
        await gossip_cluster.kill("nobody")
    with pytest.raises(ValueError, match="rate 2 is not between"):
        await gossip_cluster.loss(2)


async def test_what_is_missing_is_named_when_the_members_do_not_settle(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.partition(["node3"])
    await asyncio.sleep(60)

    with pytest.raises(TimeoutError, match=r"node3 sees node3 alive"):
        await gossip_cluster.settled(within=1)
