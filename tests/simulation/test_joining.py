"""Joining, restarting and moving: pools that grow at once, names that come back, pools that must not mix."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gossip.events import (
    Member,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberStatus,
    MemberUpdated,
)
from gossip.wire.keyring import Keyring
from tests.helpers import Host, Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.events import Admit

ALIVE = MemberStatus.ALIVE


def whole(pool: Pool) -> bool:
    return all(pool.sees_all_alive(host) for host in pool.running())


def test_two_nodes_see_each_other_after_one_join() -> None:
    pool = Pool(seed=1)
    ann, bob = pool.add("ann"), pool.add("bob")

    (exchange,) = pool.join(bob, ann)
    took = pool.run_until(lambda: whole(pool), 1)

    assert exchange.error is None
    assert took < 0.01
    assert [event.member.name for event in bob.told(MemberJoined)] == ["bob", "ann"]


def test_g14_a_storm_of_sixty_joins_leaves_no_holes() -> None:
    pool = Pool(seed=2)
    hosts = pool.add_many(60)
    dice = random.Random(2)
    for number, host in enumerate(hosts[1:], 1):
        seed = hosts[dice.randrange(number)]
        pool.at(pool.now + dice.random() * 2, partial(pool.join, host, seed))

    took = pool.run_until(lambda: whole(pool), 10, every=0.05)

    assert took < 6
    pool.run(5)
    for host in hosts:
        assert len(host.told(MemberJoined)) == 60  # each once, and nobody failed meanwhile
        assert host.told(MemberFailed) == []
    assert max(len(host.node.membership.dissemination) for host in hosts) == 0  # L7


def test_a_join_through_somebody_who_is_gone_fails_and_through_another_works() -> None:
    pool = Pool(seed=3)
    ann, bob, cat = pool.add("ann"), pool.add("bob"), pool.add("cat")
    pool.kill(ann)

    exchanges = cat.node.join([ann.address, bob.address], pool.now)
    pool.drain(cat)
    pool.run(1)

    assert [exchange.error for exchange in exchanges] == ["connection refused", None]
    assert cat.statuses() == {"cat": ALIVE, "bob": ALIVE}


def test_new_tags_are_seen_everywhere() -> None:
    pool = Pool(seed=4)
    hosts = pool.joined(10)

    hosts[3].node.set_tags({"role": "db"}, pool.now)
    pool.drain(hosts[3])
    pool.run(2)

    for host in hosts:
        (update,) = host.told(MemberUpdated)
        assert (update.member.name, update.member.tags) == (hosts[3].name, {"role": "db"})


# the same name again


@pytest.mark.parametrize("wait", [0.0, 1.5, 3.0])
def test_r25_a_process_restarted_with_new_tags_shows_them_everywhere_soon(wait: float) -> None:
    pool = Pool(seed=5)
    hosts = pool.joined(8, tags={"version": "1"})

    pool.kill(hosts[3])
    pool.run(wait)  # within the time of suspicion
    reborn = pool.restart(hosts[3], tags={"version": "2"})
    pool.join(reborn, hosts[0])

    def updated() -> bool:
        members = [host.node.members.get(reborn.name) for host in pool.running()]
        return all(m and m.info.meta == reborn.node.membership.own.info.meta for m in members)

    took = pool.run_until(updated, 5)
    pool.run(20)
    assert took < 1
    assert whole(pool)


def test_a_process_restarted_after_it_was_declared_failed_is_back_at_once() -> None:
    pool = Pool(seed=6)
    hosts = pool.joined(8)
    pool.kill(hosts[3])
    pool.run(20)

    reborn = pool.restart(hosts[3])
    pool.join(reborn, hosts[0])
    took = pool.run_until(lambda: whole(pool), 5)
    pool.run(30)

    assert took < 1
    assert whole(pool)


@pytest.mark.parametrize("ip", [None, "10.77.0.1"])
def test_r12_after_a_clean_leave_the_name_may_return_at_once_from_anywhere(ip: str | None) -> None:
    pool = Pool(seed=7)
    hosts = pool.joined(8)
    pool.leave(hosts[3])
    pool.run_until(lambda: not hosts[3].running, 5)

    reborn = pool.restart(hosts[3], ip=ip)
    pool.join(reborn, hosts[0])
    took = pool.run_until(lambda: whole(pool), 5)
    pool.run(5)

    assert took < 1
    assert [notice for host in pool.hosts.values() for notice in host.notices] == []
    for host in pool.running():
        if host is not reborn:
            assert told_about(host, reborn.name) == [MemberJoined, MemberLeft, MemberJoined]


def told_about(host: Host, name: str) -> list[type[Any]]:
    """The kinds of events about a member, in order."""
    return [type(e) for e in host.events if hasattr(e, "member") and e.member.name == name]


@pytest.mark.parametrize(
    ("status", "moves", "reclaim", "back"),
    [
        ("alive", True, 0.0, False),
        ("alive", True, 30.0, False),
        ("failed", True, 0.0, False),
        ("failed", True, 2.0, True),
        ("left", True, 0.0, True),
        ("left", True, 30.0, True),
        ("alive", False, 0.0, True),
        ("failed", False, 0.0, True),
        ("left", False, 0.0, True),
    ],
)
def test_r11_who_may_come_back_from_another_address(
    status: str, reclaim: float, *, moves: bool, back: bool
) -> None:
    pool = Pool(seed=8, dead_node_reclaim_time=reclaim)
    hosts = pool.joined(6)
    old = hosts[2]
    if status == "left":
        pool.leave(old)
        pool.run(3)
    else:
        pool.kill(old)
        pool.run(20 if status == "failed" else 0)

    reborn = pool.restart(old, ip="10.77.0.1" if moves else None)
    (exchange,) = pool.join(reborn, hosts[0])
    pool.run(2)

    others = [host for host in pool.running() if host is not reborn]
    place = (reborn.address, ALIVE)
    seen = [seen_of(host, reborn.name) for host in others]
    assert all((view == place) is back for view in seen)
    if status == "alive" and not back:
        assert "is in use by a member at" in (exchange.error or "")


def seen_of(host: Host, name: str) -> tuple[tuple[str, int], MemberStatus] | None:
    """Where and how a host sees a member."""
    member = host.node.members.get(name)
    return None if member is None else (member.info.address, member.status)


@pytest.mark.parametrize("ip", [None, "moves"])
def test_r13_stale_news_of_an_old_life_does_not_touch_the_new_one(ip: str | None) -> None:
    pool = Pool(seed=9)
    hosts = pool.joined(6)
    host, dice = hosts[2], random.Random(1)
    others = [other for other in hosts if other is not host]
    for turn in range(1, 26):
        pool.leave(host)
        pool.run(1.5)
        assert not host.running
        stale = [(s, d, data) for _, s, d, data in pool.packets[-400:]]
        host = pool.restart(host, ip=f"10.77.0.{turn}" if ip else None)
        pool.join(host, others[turn % 5])
        pool.run_until(lambda: whole(pool), 2)
        pool.run(0.3)
        for other in others:
            other.events.clear()

        for source, target, data in dice.sample(stale, 150):  # replayed once all have the new life
            if pool[target].running and target != host.name:
                pool.inject(pool[target], data, pool[source].address)
        pool.run(0.7)

        for other in others:
            gone = [*other.told(MemberFailed), *other.told(MemberLeft)]
            assert [event.member.name for event in gone] == [], turn
    assert whole(pool)


# R-24, S12: pools that must not mix


def dc_of(member: Member) -> str:
    return member.tags.get("dc", "")


def only(dc: str) -> Admit:
    def admit(members: Sequence[Member]) -> str | None:
        for member in members:
            if dc_of(member) != dc:
                return f"{member.name} is of the pool {dc_of(member)!r}, this is {dc!r}"
        return None

    return admit


def settings_of(kind: str, pool: str) -> dict[str, Any]:
    match kind:
        case "label":
            return {"label": pool}
        case "key":
            return {"keyring": Keyring([pool.encode().ljust(16, b".")])}
        case _:
            return {"tags": {"dc": pool}, "admit": only(pool)}


@pytest.mark.parametrize("kind", ["label", "key", "application"])
def test_r24_two_pools_never_mix_however_often_they_try(kind: str) -> None:
    pool = Pool(seed=10)
    dice = random.Random(3)
    sides: dict[str, list[Host]] = {}
    for side in ("east", "west"):
        settings = settings_of(kind, side)
        if "keyring" in settings:
            settings = {"keyring": settings["keyring"]}
        sides[side] = [pool.add(f"{side}-{number}", **settings) for number in range(5)]
        for host in sides[side][1:]:
            pool.join(host, sides[side][0])
    pool.run(3)

    exchanges = []
    for _ in range(100):
        one, other = dice.choice(sides["east"]), dice.choice(sides["west"])
        exchanges += [*pool.join(one, other), *pool.join(other, one)]
        pool.run(0.05)
    pool.run(10)

    for side, hosts in sides.items():
        names = {host.name for host in hosts}
        for host in hosts:
            assert set(host.statuses()) == names
            assert host.told(MemberFailed) == []
            assert {member.tags.get("dc", side) for member in host.node.members.views()} == {side}
    assert all(exchange.error for exchange in exchanges)
    if kind == "application":
        assert all("east" in e.error and "west" in e.error for e in exchanges if e.error)
