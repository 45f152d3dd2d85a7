"""Partitions: short ones and long ones heal by themselves, in the smallest pools too (R-16, R-57)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gossip.events import MemberFailed, MemberStatus
from tests.helpers import Host, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulations.fixture.virtual import VirtualCluster

FAILED = MemberStatus.FAILED


def whole(pool: Pool) -> bool:
    return all(pool.sees_all_alive(host) for host in pool.running())


def split(pool: Pool, side: set[str]) -> None:
    pool.cut = lambda a, b: (a.name in side) != (b.name in side)


def heal(pool: Pool) -> None:
    pool.cut = lambda _a, _b: False


def names(hosts: list[Host]) -> set[str]:
    return {host.name for host in hosts}


@pytest.mark.gossip_cluster(nodes=10)
@pytest.mark.parametrize("minority", [1, 3, 5])
async def test_r16_g13_a_short_partition_is_forgotten_soon(
    gossip_cluster: VirtualCluster, minority: int
) -> None:
    await gossip_cluster.partition(gossip_cluster.names[:minority])
    await asyncio.sleep(20)
    await gossip_cluster.heal()

    await gossip_cluster.settled(within=10)


@pytest.mark.parametrize("minority", [1, 3, 5])
def test_r16_g13_a_partition_longer_than_the_memory_of_gossip_heals_by_reconnecting(
    minority: int,
) -> None:
    pool = Pool(seed=2)
    hosts = pool.joined(10)
    small = hosts[:minority]

    split(pool, names(small))
    pool.run(150)
    for host in hosts:
        other_side = names(hosts[minority:]) if host in small else names(small)
        statuses = host.statuses()
        assert {statuses[name] for name in other_side} == {FAILED}
        assert len(host.node.membership.table) == len(hosts) - len(other_side)
    heal(pool)

    assert pool.run_until(lambda: whole(pool), 75, every=0.2) <= 75


def test_r16_members_forgotten_by_everybody_come_back_when_one_of_them_joins() -> None:
    pool = Pool(seed=3, reconnect_timeout=60.0)
    hosts = pool.joined(6)
    small = hosts[:2]
    split(pool, names(small))
    pool.run(180)
    assert all(len(host.statuses()) in {2, 4} for host in hosts)
    heal(pool)
    pool.run(60)
    assert all(len(host.statuses()) in {2, 4} for host in hosts)  # nobody remembers the others

    pool.join(small[0], hosts[-1])

    # Its own side may learn of the other one only from the next push/pull.
    pool.run_until(lambda: whole(pool), 35, every=0.2)


def test_a_one_way_cut_does_not_kill_whom_others_can_reach() -> None:
    pool = Pool(seed=4)
    hosts = pool.joined(8)

    pool.udp_cut = lambda a, b: a is hosts[0] and b is hosts[1]
    pool.run(120)

    assert [event for host in hosts for event in host.told(MemberFailed)] == []


def test_a_ring_of_cuts_kills_nobody() -> None:
    pool = Pool(seed=5, tcp_ping=False)
    hosts = pool.joined(8)
    order = {host.name: number for number, host in enumerate(hosts)}

    pool.cut = lambda a, b: order[b.name] == (order[a.name] + 1) % 8
    pool.run(90)

    assert [event for host in hosts for event in host.told(MemberFailed)] == []


@pytest.mark.gossip_cluster(nodes=8)
async def test_events_of_both_sides_are_everywhere_after_the_partition(
    gossip_cluster: VirtualCluster,
) -> None:
    await gossip_cluster.partition(gossip_cluster.names[:4])
    await asyncio.sleep(20)
    for name in gossip_cluster.names:
        await gossip_cluster.fire(name, "deploy", name.encode())
    await asyncio.sleep(20)
    await gossip_cluster.heal()

    await gossip_cluster.settled(within=75)
    await asyncio.sleep(65)  # at most two push/pulls later

    for name in gossip_cluster.names:
        payloads = sorted(payload for _, payload in await gossip_cluster.events(name))
        assert payloads == sorted(name.encode() for name in gossip_cluster.names)


# every fault in pools of two, three and four


def blackout(pool: Pool, host: Host) -> Callable[[], None]:
    pool.cut = lambda a, b: host in (a, b)
    return lambda: heal(pool)


def udp_blackout(pool: Pool, host: Host) -> Callable[[], None]:
    pool.udp_cut = lambda a, b: host in (a, b)

    def restore() -> None:
        pool.udp_cut = lambda _a, _b: False

    return restore


def one_way(pool: Pool, host: Host) -> Callable[[], None]:
    pool.cut = lambda a, _b: a is host
    return lambda: heal(pool)


def crash(pool: Pool, host: Host) -> Callable[[], None]:
    pool.kill(host)

    def restart() -> None:
        seed = pool.running()[0]
        pool.join(pool.restart(host), seed)

    return restart


def pause(pool: Pool, host: Host) -> Callable[[], None]:
    pool.pause(host, 40.0)
    return lambda: None


def loss(pool: Pool, _host: Host) -> Callable[[], None]:
    pool.loss = 0.4

    def restore() -> None:
        pool.loss = 0.0

    return restore


def leave(pool: Pool, host: Host) -> Callable[[], None]:
    pool.leave(host)

    def back() -> None:
        seed = pool.running()[0]
        pool.join(pool.restart(host), seed)

    return back


@pytest.mark.parametrize("fault", [blackout, udp_blackout, one_way, crash, pause, loss, leave])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_r57_the_smallest_pools_survive_every_fault(
    size: int, fault: Callable[[Pool, Host], Callable[[], None]]
) -> None:
    pool = Pool(seed=size)
    hosts = pool.joined(size)

    restore = fault(pool, hosts[-1])
    pool.run(40)
    restore()
    pool.run_until(lambda: whole(pool), 75, every=0.2)
    pool.run(30)

    assert whole(pool)
    for host in pool.running():
        assert set(host.statuses().values()) == {MemberStatus.ALIVE}
        assert len(host.node.membership.dissemination) == 0  # L7
