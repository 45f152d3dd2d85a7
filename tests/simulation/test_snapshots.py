"""Restarts with snapshots: outages of everybody, islands, kills at random instants."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from gossip.events import MemberJoined, UserEvent
from gossip.serf.rejoin import MAX_PAUSE
from gossip.serf.snapshot import Snapshot
from tests.helpers import Host, Pool

FLUSH = 0.5
"""Seconds that a file may be behind its node (S8)."""


class Disks:
    """The files of a pool's nodes, each behind its node by at most `FLUSH`."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.files: dict[str, bytes] = {}
        self._open: dict[str, Snapshot] = {}

    def start(self, name: str, **settings: Any) -> Host:
        """A new process with what the one before left."""
        snapshot = Snapshot.replay(self.files.get(name, b""))
        self._open[name] = snapshot
        if name in self.pool.hosts:
            host = self.pool.restart(self.pool.hosts[name], snapshot=snapshot, **settings)
        else:
            host = self.pool.add(name, snapshot=snapshot, **settings)
        self.files[name] = snapshot.image()
        self._flush_later(host, snapshot)
        return host

    def before_firing(self, host: Host) -> None:
        """What the driver does before an event is fired."""
        if self._open[host.name].reserve():
            self.files[host.name] += self._open[host.name].take()

    def _flush_later(self, host: Host, snapshot: Snapshot) -> None:
        def flush() -> None:
            if host.running:
                self.files[host.name] += snapshot.take()
                self._flush_later(host, snapshot)

        self.pool.at(self.pool.now + FLUSH * self.pool.rng.uniform(0.2, 1.0), flush)


def whole(pool: Pool) -> bool:
    return all(pool.sees_all_alive(host) for host in pool.running())


def started(pool: Pool, disks: Disks, count: int) -> list[Host]:
    hosts = [disks.start(f"node-{index:03}") for index in range(count)]
    for host in hosts[1:]:
        pool.join(host, hosts[0])
    pool.run_until(lambda: whole(pool), 20, every=0.05)
    pool.run(2)
    return hosts


def new_address(index: int) -> str:
    return f"10.9.0.{index + 1}"


@pytest.mark.parametrize("seed", range(10))
def test_r15_g19_a_pool_killed_over_ten_minutes_is_one_pool_again_after_a_cold_start(
    seed: int,
) -> None:
    dice = random.Random(seed)
    pool = Pool(seed)
    disks = Disks(pool)
    hosts = started(pool, disks, 12)
    for host in hosts:
        pool.at(pool.now + dice.uniform(0, 600), partial(pool.kill, host))
    pool.run(610)
    assert pool.running() == []

    moved = dice.sample(hosts, len(hosts) // 2)  # half come back elsewhere
    pool.run(dice.uniform(0, 3600))
    for index, host in enumerate(hosts):
        where = {"ip": new_address(index)} if host in moved else {}
        pool.at(pool.now + dice.uniform(0, 120), partial(disks.start, host.name, **where))
    pool.run(120)
    took = pool.run_until(lambda: whole(pool), 60, every=0.25)

    assert len(pool.running()) == 12
    assert took <= 60


def test_r15_who_finds_nobody_at_first_is_found_by_those_who_come_later() -> None:
    pool = Pool(31)
    disks = Disks(pool)
    hosts = started(pool, disks, 4)
    for host in hosts:
        pool.kill(host)
    for index, host in enumerate(hosts[:3]):  # three at new addresses: none can find another
        disks.start(host.name, ip=new_address(index))
    pool.run(300)
    assert all(len(host.node.members) == 1 for host in pool.running())

    disks.start(hosts[3].name)
    took = pool.run_until(lambda: whole(pool), 60, every=0.1)

    assert took <= MAX_PAUSE * 1.25 + 1


def test_r15_two_islands_that_formed_at_the_start_grow_together() -> None:
    pool = Pool(32)
    disks = Disks(pool)
    hosts = started(pool, disks, 6)
    for host in hosts:
        pool.kill(host)
    left = {host.name for host in hosts[:3]}
    pool.cut = lambda a, b: (a.name in left) != (b.name in left)
    for host in hosts:
        disks.start(host.name)
    pool.run(40)
    assert {len(host.node.members) for host in pool.running()} == {3}

    pool.cut = lambda _a, _b: False
    took = pool.run_until(lambda: whole(pool), 60, every=0.1)

    assert took <= 30


def test_r16_halves_that_forgot_each_other_are_one_pool_again_after_a_restart_of_one_node() -> None:
    pool = Pool(33, reconnect_timeout=120.0)
    disks = Disks(pool)
    hosts = started(pool, disks, 6)
    before = disks.files[hosts[0].name]
    left = {host.name for host in hosts[:3]}
    pool.cut = lambda a, b: (a.name in left) != (b.name in left)
    pool.run(400)
    pool.cut = lambda _a, _b: False
    pool.run(60)
    assert {len(host.node.members) for host in pool.running()} == {3}, "they are forgotten"

    disks.files[hosts[0].name] = before  # a file from a time before
    disks.start(hosts[0].name)

    pool.run_until(lambda: whole(pool), 30, every=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_r37_g18_kills_at_random_instants_bring_no_event_twice_that_was_written(seed: int) -> None:
    pool = Pool(seed)
    disks = Disks(pool)
    hosts = started(pool, disks, 4)
    victim = hosts[3].name
    dice = random.Random(seed)
    fired = dict.fromkeys((host.name for host in hosts), 0)
    events_twice = 0

    def fire() -> None:
        for name, last in fired.items():
            host = pool[name]
            if host.running and dice.random() < 0.5:
                disks.before_firing(host)
                fired[name] = pool.fire(host, "e", f"{name}{pool.now}".encode())
                assert fired[name] > last, "S11, S8: none is used twice"
        pool.at(pool.now + dice.expovariate(10), fire)

    fire()
    delivered: set[tuple[int, bytes]] = set()
    for _ in range(50):
        pool.run(dice.uniform(0, 3))
        host = pool[victim]
        pool.kill(host)
        written = Snapshot.replay(disks.files[victim]).event_clock
        delivered |= {(event.ltime, event.payload) for event in host.told(UserEvent)}
        if dice.random() < 0.5:
            pool.run(dice.uniform(0, 1))
        host = disks.start(victim)
        took = pool.run_until(lambda: len(host.told(MemberJoined)) >= 2, 35)  # noqa: B023
        pool.run(0.1)
        again = {(event.ltime, event.payload) for event in host.told(UserEvent)} & delivered
        assert all(ltime > written for ltime, _ in again)
        events_twice += len(again)
        assert took < 5

    assert len(delivered) > 300
    assert events_twice < len(delivered) / 5  # those between the last write and the kill
