"""Who is accused and who is not: crashes, blackouts, loss, stalls and pauses."""

from __future__ import annotations

import random
from math import inf
from typing import TYPE_CHECKING

import pytest

from gossip.events import MemberFailed, MemberStatus
from gossip.swim import clock
from tests.helpers import Host, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FAILED = MemberStatus.FAILED


def failures(hosts: Iterable[Host]) -> list[tuple[str, str]]:
    """Who declared whom failed."""
    return [(host.name, event.member.name) for host in hosts for event in host.told(MemberFailed)]


def stalling(
    pool: Pool, host: Host, length: Callable[[], float], pause: Callable[[], float]
) -> None:
    """Stop a host for some time, again and again, and let it run in between."""

    def stall() -> None:
        stopped = length()
        pool.pause(host, stopped)
        pool.at(pool.now + stopped + pause(), stall)

    pool.at(pool.now + pause(), stall)


def all_alive(pool: Pool) -> bool:
    return all(pool.sees_all_alive(host) for host in pool.running())


# Those who are gone


@pytest.mark.parametrize(("size", "within"), [(2, 7.0), (3, 8.0), (10, 15.0), (30, 20.0)])
def test_g08_a_machine_that_is_gone_is_failed_everywhere(size: int, within: float) -> None:
    pool = Pool(seed=size)
    hosts = pool.joined(size)
    victim = hosts[-1]
    pool.cut = lambda a, b: victim in (a, b)  # nothing answers, not even its machine

    others = hosts[:-1]
    pool.run_until(lambda: all(h.statuses()[victim.name] is FAILED for h in others), within)

    assert {accused for _, accused in failures(others)} == {victim.name}


def test_g08_a_process_that_is_gone_is_found_faster_as_its_machine_says_so() -> None:
    pool = Pool(seed=4)
    hosts = pool.joined(10)

    pool.kill(hosts[3])
    others = pool.running()
    took = pool.run_until(lambda: all(h.statuses()[hosts[3].name] is FAILED for h in others), 15)

    assert took < 10
    assert {accused for _, accused in failures(others)} == {hosts[3].name}


def test_without_faults_nobody_is_even_suspected() -> None:
    pool = Pool(seed=5)
    hosts = pool.joined(12)

    pool.run(120)

    assert failures(hosts) == []
    assert sum(h.node.stats["suspected"] + h.node.stats["probes_failed"] for h in hosts) == 0


# all ways to one node fail together


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_r03_a_blackout_shorter_than_the_suspicion_never_makes_a_failure(seed: int) -> None:
    pool = Pool(seed=seed)
    hosts = pool.joined(8)
    victim = hosts[2]

    for length in (1.5, 3.0, 3.9):
        pool.cut = lambda a, b: victim in (a, b)
        pool.run(length)
        pool.cut = lambda _a, _b: False
        pool.run(20)

    assert failures(hosts) == []
    assert all_alive(pool)


def test_r03_a_blackout_longer_than_the_suspicion_always_does_and_heals() -> None:
    pool = Pool(seed=6)
    hosts = pool.joined(8)
    victim = hosts[2]

    pool.cut = lambda a, b: victim in (a, b)
    pool.run(30)
    others = [host for host in hosts if host is not victim]
    statuses = {host.statuses()[victim.name] for host in others}
    pool.cut = lambda _a, _b: False
    pool.run_until(lambda: all_alive(pool), 75)

    assert statuses == {FAILED}


def test_r03_the_suspicion_is_as_long_as_configured() -> None:
    pool = Pool(seed=6, suspicion_mult=12)
    hosts = pool.joined(8)
    victim = hosts[2]

    pool.cut = lambda a, b: victim in (a, b)
    pool.run(11)  # would be too long at the default
    pool.cut = lambda _a, _b: False
    pool.run(20)

    assert failures(hosts) == []


# UDP is blocked, TCP is open


def tcp_only(host: Host) -> list[str]:
    return host.node.membership.prober.tcp_only.names()


def test_r04_a_member_reachable_over_tcp_only_stays_alive_with_one_notice() -> None:
    pool = Pool(seed=7)
    hosts = pool.joined(4)
    victim = hosts[1]

    pool.udp_cut = lambda a, b: victim in (a, b)
    pool.run(660)

    others = [host for host in hosts if host is not victim]
    assert failures(hosts) == []
    for host in others:
        assert host.notices == [f"{victim.name} answers over TCP but not over UDP"]
        assert host.node.stats["udp_unreachable"] == 1
        assert tcp_only(host) == [victim.name]
    assert tcp_only(victim) == sorted(host.name for host in others)
    assert 1 <= len(victim.notices) <= 2
    pool.udp_cut = lambda _a, _b: False
    pool.run(30)
    assert all(not tcp_only(host) for host in hosts)


def test_r04_where_nobody_has_udp_everybody_stays_alive_and_says_so_once_a_minute_at_most() -> None:
    pool = Pool(seed=8)
    hosts = pool.joined(12)

    pool.udp_cut = lambda _a, _b: True
    pool.run(660)

    assert failures(hosts) == []
    assert all(len(tcp_only(host)) == 11 for host in hosts)
    assert all(1 <= len(host.notices) <= 2 for host in hosts)


# R-05, G-10: loss


@pytest.mark.parametrize("loss", [0.05, 0.2, 0.3])
def test_r05_g10_loss_in_all_directions_makes_no_failures(loss: float) -> None:
    pool = Pool(seed=8)
    hosts = pool.joined(8)

    pool.loss = loss
    pool.run(150)
    pool.loss = 0.0
    pool.run_until(lambda: all_alive(pool), 10)

    assert failures(hosts) == []


@pytest.mark.parametrize("seed", [2, 8])
def test_r05_g10_refutations_reach_their_accusers_without_tcp_too(seed: int) -> None:
    pool = Pool(seed=seed, tcp_ping=False)
    hosts = pool.joined(8)

    pool.loss = 0.2
    pool.run(240)

    assert sum(host.node.stats["suspected"] for host in hosts) > 100
    assert failures(hosts) == []


def test_g10_a_pool_comes_together_again_after_half_of_everything_was_lost() -> None:
    pool = Pool(seed=9)
    pool.joined(8)

    pool.loss = 0.5
    pool.run(60)
    pool.loss = 0.0
    took = pool.run_until(lambda: all_alive(pool), 60)

    assert took < 60


def test_r02_a_node_that_hears_little_neither_kills_others_nor_floods_them() -> None:
    pool = Pool(seed=10)
    hosts = pool.joined(10)
    deaf, dice = hosts[4], random.Random(1)
    quiet = packets_of(pool, hosts, deaf, 60)

    pool.udp_cut = lambda _a, b: b is deaf and dice.random() < 0.8
    loud = packets_of(pool, hosts, deaf, 60)

    assert [f for f in failures(hosts) if f[1] != deaf.name] == []
    assert loud <= 3 * quiet


def packets_of(pool: Pool, hosts: list[Host], apart: Host, seconds: float) -> int:
    """Packets that the others sent within so many seconds."""
    before = len(pool.packets)
    pool.run(seconds)
    assert len(hosts) == 10
    return sum(source != apart.name for _, source, _, _ in pool.packets[before:])


# H8, R-01, R-09: those who do not run


def test_h8_stalls_of_the_event_loop_accuse_nobody() -> None:
    pool = Pool(seed=11)
    hosts = pool.joined(8)
    dice = random.Random(1)
    stalling(pool, hosts[0], lambda: 0.7, lambda: dice.uniform(3.8, 4.8))

    pool.run(180)

    assert hosts[0].node.stats["stalls"] > 20
    assert hosts[0].node.stats["suspected"] == 0
    assert failures(hosts) == []
    assert all_alive(pool)


@pytest.mark.parametrize("pause", [1.0, 3.0, 10.0, 45.0, 600.0])
def test_r09_after_a_pause_nobody_is_accused_and_the_pool_is_whole_again_soon(pause: float) -> None:
    pool = Pool(seed=12)
    hosts = pool.joined(8)
    sleeper = hosts[3]
    others = [host for host in hosts if host is not sleeper]

    pool.pause(sleeper, pause)
    pool.run(pause)
    pool.run_until(lambda: all_alive(pool), 35)
    pool.run(5)

    assert failures([sleeper]) == []
    assert sleeper.node.stats["suspected"] == 0
    assert {accused for _, accused in failures(others)} <= {sleeper.name}
    assert all_alive(pool)


def test_r09_a_whole_pool_that_pauses_together_stays_whole() -> None:
    pool = Pool(seed=13)
    hosts = pool.joined(6)

    for host in hosts:  # the machine that holds them all is suspended
        pool.pause(host, 120.0)
    pool.run(150)

    assert failures(hosts) == []
    assert all_alive(pool)


def accused_by_throttled(seed: int, **settings: float) -> list[tuple[str, str]]:
    """Healthy members declared failed while three of twelve get next to no CPU time."""
    pool = Pool(seed=seed, latency=0.03, **settings)
    pool.buffers = False  # what comes while they do not run is lost
    hosts = pool.joined(12)
    dice = random.Random(seed)
    slow = hosts[:3]
    for host in slow:
        stalling(pool, host, lambda: dice.uniform(0.5, 1.5), lambda: dice.uniform(0.01, 0.05))
    pool.run(60)
    names = {host.name for host in slow}
    return [f for f in failures(hosts) if f[1] not in names]


def test_r01_g12_observers_without_cpu_time_accuse_no_healthy_member() -> None:
    assert [accused_by_throttled(seed) for seed in (1, 2, 3)] == [[], [], []]


def test_r01_without_lifeguard_and_local_time_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "STALL_THRESHOLD", inf)

    assert accused_by_throttled(1, awareness_max=1, suspicion_max_timeout_mult=1)


# one who was cut off does not bury the living when it is back


@pytest.mark.parametrize("length", [2.0, 8.0, 18.0])
@pytest.mark.parametrize("size", [8, 20])
def test_r02_accusations_from_a_blackout_are_refuted_before_they_are_believed(
    size: int, length: float
) -> None:
    pool = Pool(seed=3)
    hosts = pool.joined(size)
    victim = hosts[2]

    pool.cut = lambda a, b: victim in (a, b)
    pool.run(length)
    pool.cut = lambda _a, _b: False
    pool.run(60)

    assert victim.node.stats["suspected"] > 0
    assert [f for f in failures(hosts) if f[1] != victim.name] == []
    assert all_alive(pool)
