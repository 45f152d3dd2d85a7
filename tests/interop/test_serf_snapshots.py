"""Snapshot files that we and a genuine Serf write: each starts from the other's and finds its pool."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, Config, MemberStatus, UserEvent
from gossip.serf.snapshot import Snapshot
from gossip.wire.address import join_host_port
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from simulations.local.ports import Ports

pytestmark = pytest.mark.interop

StartOurs = Callable[..., Awaitable[Cluster]]


@pytest.fixture
async def start_ours(ports: Ports) -> AsyncIterator[StartOurs]:
    """A function that starts one more node of ours, closed with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str, snapshot: Path | None = None, **settings: Any) -> Cluster:
            values = {"bind": "127.0.0.1", "port": settings.pop("port", None) or ports.take()}
            config = Config.lan(name, **(values | settings))
            return await stack.enter_async_context(Cluster(config, snapshot=snapshot))

        yield start


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def alive(cluster: Cluster) -> set[str]:
    return {m.name for m in cluster.members() if m.status is MemberStatus.ALIVE}


def names(events: list[Any]) -> list[str]:
    return [event.name for event in events if isinstance(event, UserEvent)]


async def test_a_genuine_serf_starts_from_our_file_and_finds_its_pool(
    tmp_path: Path, start_serf: Any, start_ours: StartOurs
) -> None:
    path = tmp_path / "moving.snapshot"
    stays = await start_ours("stays", reconnect_interval=600.0)
    moving = await start_ours("moving", path)
    gone = await start_ours("gone")
    for cluster in (moving, gone):
        await cluster.join([join_host_port(*stays.local_address)])
    await stays.fire("seen", b"1")
    await eventually(lambda: moving.node.event_clock.time == 2, within=5, what="it at the other")
    await moving.fire("seen", b"2")
    await gone.close()
    failed = ["not-alive: gone", f"#failed: gone {join_host_port(*gone.local_address)}"]

    def written() -> bool:
        lines = lines_of(path)
        return "event-clock: 2" in lines and set(failed) <= set(lines)

    await eventually(written, within=30, what="the failure and both events in the file")
    await moving.close()
    clock = Snapshot.replay(path.read_bytes()).clock
    await stays.fire("missed", b"3")

    serf = await start_serf("moving", arguments=[f"-snapshot={path}"], port=moving.config.port)
    await serf.collect_events("user")

    await eventually(lambda: alive(stays) == {"stays", "moving"}, within=10, what="it rejoined")
    await stays.fire("new")
    await eventually(lambda: serf.user_events("new"), within=10, what="a new event at it")
    assert not serf.user_events("seen"), "what we had seen is not delivered to it again"
    stats = (await serf.rpc.stats())["serf"]
    assert int(stats["member_time"]) > clock
    assert int(stats["event_time"]) == 5
    log = serf.process.log.read_text(errors="replace")
    assert "Re-joined to previously known node: stays" in log
    assert "Unrecognized snapshot line" not in log
    assert "Failed to parse" not in log


async def test_we_start_from_a_genuine_serfs_file_and_find_its_pool(
    tmp_path: Path, start_serf: Any, start_ours: StartOurs
) -> None:
    path = tmp_path / "moving.snapshot"
    stays = await start_serf("stays")
    moving = await start_serf("moving", arguments=[f"-snapshot={path}"])
    await moving.join([stays.gossip])
    for payload in (b"1", b"2"):
        await stays.rpc.fire("seen", payload)

    async def caught_up() -> bool:
        return int((await moving.rpc.stats())["serf"]["event_time"]) == 3

    await eventually(caught_up, within=10, what="both events at it")
    await moving.process.stop()  # without a leave; killed it would lack what it had not flushed
    await stays.rpc.fire("missed")

    restored = Snapshot.replay(path.read_bytes())
    assert set(restored.alive) == {"stays", "moving"}
    assert restored.skipped == 0
    config = Config.lan("moving", bind="127.0.0.1", port=moving.gossip[1])
    cluster = Cluster(config, snapshot=path)
    subscription = cluster.subscribe()
    async with cluster:
        assert cluster.node.event_clock.time == 3
        assert cluster.node.member_clock.time == restored.clock + 1
        await eventually(lambda: alive(cluster) == {"stays", "moving"}, within=10, what="rejoined")
        await stays.rpc.fire("new")
        await eventually(
            lambda: cluster.node.event_clock.time == 5, within=10, what="the new event"
        )
        subscription.close()
        assert names([event async for event in subscription]) == ["missed", "new"]
        assert (await stays.members())["moving"] == "alive"
    assert Snapshot.replay(path.read_bytes()).event_clock == 4


@pytest.mark.parametrize("rejoin", [False, True], ids=["left-for-good", "rejoin"])
async def test_after_our_leave_a_genuine_serf_rejoins_only_when_told_and_keeps_the_clocks(
    tmp_path: Path, start_serf: Any, start_ours: StartOurs, rejoin: bool
) -> None:
    path = tmp_path / "moving.snapshot"
    stays = await start_ours("stays")
    moving = await start_ours("moving", path)
    await moving.join([join_host_port(*stays.local_address)])
    await moving.fire("seen")
    await eventually(lambda: alive(moving) == {"stays", "moving"}, within=10, what="joined")
    await moving.leave()
    await moving.close()
    assert "leave" in lines_of(path)

    arguments = [f"-snapshot={path}", *(["-rejoin"] if rejoin else [])]
    serf = await start_serf("moving", arguments=arguments, port=moving.config.port)

    if rejoin:
        await eventually(lambda: alive(stays) == {"stays", "moving"}, within=10, what="rejoined")
    else:
        assert set(await serf.members()) == {"moving"}
    assert int((await serf.rpc.stats())["serf"]["event_time"]) >= 2


async def test_one_file_goes_back_and_forth_and_no_clock_goes_back(
    tmp_path: Path, start_serf: Any, start_ours: StartOurs, ports: Ports
) -> None:
    path = tmp_path / "moving.snapshot"
    stays = await start_ours("stays")
    port, expected, both = ports.take(), 0, {"stays", "moving"}
    path.write_text(f"alive: stays {join_host_port(*stays.local_address)}\n")
    for _ in range(2):
        ours = await start_ours("moving", path, port=port)
        await eventually(lambda: alive(ours) == both, within=15, what="ours rejoined")  # noqa: B023
        assert ours.node.event_clock.time >= expected
        expected = await ours.fire("by-ours") + 1
        await ours.close()

        serf = await start_serf("moving", arguments=[f"-snapshot={path}"], port=port)

        async def rejoined(serf: Any = serf) -> bool:
            return bool(await serf.alive() == both)

        await eventually(rejoined, within=15, what="it rejoined")

        async def caught_up(serf: Any = serf, expected: int = expected) -> bool:
            return int((await serf.rpc.stats())["serf"]["event_time"]) >= expected

        await eventually(caught_up, within=10, what="the clock of the genuine agent")
        await serf.rpc.fire("by-serf")
        expected += 1
        await eventually(
            lambda: stays.node.event_clock.time == expected,  # noqa: B023
            within=10,
            what="its event at the node that stays",
        )
        await serf.process.stop()  # it writes the rest only now
        assert Snapshot.replay(path.read_bytes()).event_clock == expected - 1
    assert Snapshot.replay(path.read_bytes()).skipped == 0
