"""Leaving, force-leaving, forgetting: quickly, everywhere, for good."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from gossip.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberStatus,
)
from gossip.wire.messages import UserMessage
from gossip.wire.serf import LeaveIntent
from tests.helpers import Host, Pool

LEFT, FAILED = MemberStatus.LEFT, MemberStatus.FAILED


def others(pool: Pool, host: Host) -> list[Host]:
    return [other for other in pool.running() if other is not host]


def seen_as(pool: Pool, name: str, status: MemberStatus | None) -> bool:
    return all(host.statuses().get(name) is status for host in pool.running() if host.name != name)


# Leaving: L5, G-16, S18


@pytest.mark.parametrize(("size", "within"), [(2, 0.05), (10, 0.05), (30, 0.1), (70, 1.0)])
def test_g16_a_leave_is_seen_by_all_quickly_and_by_none_as_a_failure(
    size: int, within: float
) -> None:
    pool = Pool(seed=size)
    hosts = pool.joined(size)
    pool.run(3)

    pool.leave(hosts[-1])
    name = hosts[-1].name
    took = pool.run_until(lambda: seen_as(pool, name, LEFT), 3)
    pool.run(15)

    assert took < within
    for host in others(pool, hosts[-1]):
        assert [event.member.name for event in host.told(MemberLeft)] == [name]
        assert host.told(MemberFailed) == []
    assert not hosts[-1].running


@pytest.mark.parametrize("loss", [0.2, 0.5])
def test_s18_a_leave_under_loss_is_left_and_never_a_failure(loss: float) -> None:
    for seed in range(4):
        pool = Pool(seed=seed)
        hosts = pool.joined(12)

        pool.loss = loss
        pool.leave(hosts[5])
        pool.run(4)
        pool.loss = 0.0
        pool.run(30)

        assert seen_as(pool, hosts[5].name, LEFT)
        for host in others(pool, hosts[5]):
            failed = [event.member.name for event in host.told(MemberFailed)]
            assert hosts[5].name not in failed


def test_r22_a_leave_that_nobody_hears_is_over_in_time() -> None:
    pool = Pool(seed=1)
    hosts = pool.joined(10)

    pool.loss = 1.0
    pool.leave(hosts[3])
    took = pool.run_until(lambda: not hosts[3].running, 10)

    assert took <= 5.0 + 1.0 + 1.0


def test_all_but_one_may_leave_one_after_the_other() -> None:
    pool = Pool(seed=2)
    hosts = pool.joined(12)

    for host in hosts[1:]:
        pool.leave(host)
        pool.run(0.3)
    pool.run(5)

    assert pool.running() == [hosts[0]]
    assert set(hosts[0].statuses().values()) == {LEFT, MemberStatus.ALIVE}
    assert hosts[0].told(MemberFailed) == []


def test_all_may_leave_at_once() -> None:
    pool = Pool(seed=3)
    hosts = pool.joined(12)

    for host in hosts:
        pool.leave(host)
    pool.run(8)

    assert pool.running() == []


# Force-leave: R-19, L9


def test_r19_force_leave_of_a_failed_member_sticks_everywhere() -> None:
    pool = Pool(seed=4)
    hosts = pool.joined(10)
    victim = hosts[4]
    pool.kill(victim)
    pool.run_until(lambda: seen_as(pool, victim.name, FAILED), 20)

    hosts[0].node.force_leave(victim.name, pool.now)
    pool.drain(hosts[0])
    took = pool.run_until(lambda: seen_as(pool, victim.name, LEFT), 3)
    pool.run(120)

    assert took < 0.1
    assert seen_as(pool, victim.name, LEFT)


def test_r19_force_leave_of_a_running_member_is_undone_by_it() -> None:
    pool = Pool(seed=5)
    hosts = pool.joined(10)
    pool.run(3)

    hosts[0].node.force_leave(hosts[4].name, pool.now)
    pool.drain(hosts[0])
    took = pool.run_until(lambda: seen_as(pool, hosts[4].name, MemberStatus.ALIVE), 2)
    pool.run(30)

    assert took < 0.1
    assert seen_as(pool, hosts[4].name, MemberStatus.ALIVE)
    assert hosts[4].node.stats["leave_intents_refuted"] == 1
    assert all(host.told(MemberLeft) == [] for host in hosts)


def test_r19_prune_forgets_everywhere_and_old_news_does_not_bring_it_back() -> None:
    pool = Pool(seed=6)
    hosts = pool.joined(8)
    victim = hosts[4]
    old = [(source, target, data) for _, source, target, data in pool.packets]
    pool.kill(victim)
    pool.run_until(lambda: seen_as(pool, victim.name, FAILED), 20)

    hosts[0].node.force_leave(victim.name, pool.now, prune=True)
    pool.drain(hosts[0])
    pool.run_until(lambda: seen_as(pool, victim.name, None), 3)
    for source, target, data in old:
        if pool[target].running:
            pool.inject(pool[target], data, pool[source].address)
    pool.run(1)

    assert seen_as(pool, victim.name, None)


# leave intents do not multiply


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("order", list(permutations([50, 60, 70])))
def test_r20_leave_intents_of_several_times_end_within_the_budget(
    size: int, order: tuple[int, ...]
) -> None:
    pool = Pool(seed=7)
    hosts = pool.joined(size)
    pool.run(2)
    before = len(pool.packets)
    dice = random.Random(1)

    for ltime in order:
        intent = UserMessage(LeaveIntent(ltime, "somebody").encode()).encode()
        pool.inject(dice.choice(hosts), intent)
        pool.run(dice.random() * 0.2)
    pool.run(10)

    copies = sum(b"somebody" in data for _, _, _, data in pool.packets[before:])
    limit = hosts[0].node.membership.dissemination.intents.limit
    assert copies <= 3 * limit * size
    assert all(len(host.node.membership.dissemination) == 0 for host in hosts)


def test_r20_a_leave_intent_about_a_running_member_ends_too() -> None:
    pool = Pool(seed=8)
    hosts = pool.joined(5)
    before = len(pool.packets)

    for ltime in (50, 60):
        intent = UserMessage(LeaveIntent(ltime, hosts[2].name).encode()).encode()
        pool.inject(hosts[0], intent)
    pool.run(10)

    intents = [data for _, _, _, data in pool.packets[before:] if b"LTime" in data]
    assert len(intents) <= 4 * 4 * 5
    assert all(len(host.node.membership.dissemination) == 0 for host in hosts)
    assert seen_as(pool, hosts[2].name, MemberStatus.ALIVE)


# Forgetting, L6


def test_r18_members_that_came_and_went_are_gone_for_good() -> None:
    pool = Pool(
        seed=9, tombstone_timeout=40.0, reconnect_timeout=40.0, gossip_to_the_dead_time=10.0,
        reap_interval=5.0, push_pull_interval=10.0,
    )  # fmt: skip
    dice = random.Random(9)
    hosts = pool.joined(8)
    guests = []
    for number in range(25):
        guest = pool.add(f"guest-{number}")
        guests.append(guest)
        pool.join(guest, dice.choice(hosts))
        pool.run(dice.uniform(0.5, 2))
        if number % 2:
            pool.leave(guest)
        else:
            pool.kill(guest)
    pool.run(40 + 2 * 10 + 2 * 5 + 15)

    stable = {host.name for host in hosts}
    for host in hosts:
        assert set(host.statuses()) == stable
        assert {record.info.name for record in host.node.membership.table} == stable
        for guest in guests:  # each came once and was never announced again
            kinds = [
                type(e) for e in host.events if hasattr(e, "member") and e.member.name == guest.name
            ]
            assert kinds.count(MemberJoined) == 1
            assert kinds.count(MemberReaped) == 1


def test_r23_the_state_stays_small_while_members_come_and_go() -> None:
    pool = Pool(
        seed=10, tombstone_timeout=20.0, gossip_to_the_dead_time=5.0, reap_interval=5.0,
        recent_intent_timeout=10.0, push_pull_interval=10.0,
    )  # fmt: skip
    hosts = pool.joined(3)
    sizes = []
    for number in range(120):
        guest = pool.add(f"guest-{number:03}")
        pool.join(guest, hosts[number % 3])
        pool.run(0.6)
        pool.leave(guest)
        pool.run(1.4)
        state = hosts[0].node.membership.state_exchange.own_state(join=False)
        sizes.append(len(state.encode()))

    assert max(sizes[60:]) <= max(sizes[20:60]) * 1.1
    assert len(hosts[0].node.intents.early) <= 30
