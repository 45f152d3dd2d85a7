"""User events: to everybody, once, soon, within the budget of packets."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gossip.events import UserEvent
from gossip.wire.messages import UserMessage
from gossip.wire.serf import UserEvent as Message
from tests.helpers import Host, Pool


def quiet_pool(size: int, seed: int, **settings: float) -> tuple[Pool, list[Host]]:
    """A pool in which the news of its own start is over."""
    pool = Pool(seed=seed, **settings)
    hosts = pool.joined(size)
    pool.run(4)
    return pool, hosts


def payloads(host: Host) -> list[bytes]:
    return [event.payload for event in host.told(UserEvent)]


def everywhere(pool: Pool, payload: bytes) -> bool:
    return all(payload in payloads(host) for host in pool.running())


@pytest.mark.parametrize(("size", "within"), [(2, 0.01), (3, 0.01), (10, 0.05), (30, 0.1)])
def test_g15_an_event_is_everywhere_at_once(size: int, within: float) -> None:
    pool, hosts = quiet_pool(size, 1)

    for turn in range(10):
        payload = b"%d" % turn
        pool.fire(hosts[turn % size], "deploy", payload)
        assert pool.run_until(lambda payload=payload: everywhere(pool, payload), 1) < within  # type: ignore[misc]  # bound
        pool.run(0.5)

    assert all(len(payloads(host)) == 10 for host in hosts)  # S10


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_l4_g15_all_events_reach_all_of_thirty_nodes(loss: float) -> None:
    pool, hosts = quiet_pool(30, 2)
    dice = random.Random(2)

    pool.loss = loss
    for number in range(40):
        pool.fire(dice.choice(hosts), "deploy", b"%d" % number)
        pool.run(dice.random() * 0.3)
    pool.run(10)

    for host in hosts:
        assert Counter(payloads(host)) == Counter(b"%d" % number for number in range(40))


@pytest.mark.parametrize("size", [5, 10, 30])
def test_an_event_costs_no_more_packets_than_memberlist_would_send(size: int) -> None:
    pool, hosts = quiet_pool(size, 3)
    budget = size * hosts[0].node.membership.dissemination.events.limit

    for turn in range(5):
        payload = b"payload-%d" % turn
        before = len(pool.packets)
        pool.fire(hosts[turn], "deploy", payload)
        pool.run(3)
        copies = sum(payload in data for _, _, _, data in pool.packets[before:])
        assert copies <= budget


def test_s11_events_of_one_node_arrive_with_rising_times() -> None:
    pool, hosts = quiet_pool(8, 4)

    times = [pool.fire(hosts[2], "x", b"%d" % number) for number in range(20)]
    pool.run(2)

    assert times == sorted(set(times))
    for host in hosts:
        assert sorted(event.ltime for event in host.told(UserEvent)) == times


def test_events_fired_at_the_same_moment_by_all_reach_all() -> None:
    pool, hosts = quiet_pool(20, 5)

    ltimes = {pool.fire(host, "x", host.name.encode()) for host in hosts}
    pool.run(5)

    assert len(ltimes) == 1  # nobody had heard of the others
    for host in hosts:
        assert sorted(payloads(host)) == sorted(h.name.encode() for h in hosts)


def test_a_paced_burst_of_a_thousand_events_arrives_whole() -> None:
    pool, hosts = quiet_pool(10, 6)

    for number in range(1_000):
        while pause := hosts[0].node.event_pause(pool.now):
            pool.run(pause)
        pool.fire(hosts[0], "x", b"%d" % number)
    pool.run(5)

    for host in hosts:
        assert len(set(payloads(host))) == len(payloads(host)) == 1_000


def test_l4_an_event_that_gossip_cannot_carry_arrives_by_push_pull() -> None:
    pool, hosts = quiet_pool(6, 7, user_event_size_limit=9216, push_pull_interval=5.0)

    pool.fire(hosts[0], "x", bytes(3_000))
    took = pool.run_until(lambda: everywhere(pool, bytes(3_000)), 60, every=0.2)

    assert took <= 40


def test_r37_a_newcomer_does_not_see_events_from_before_it_joined_unless_it_asks() -> None:
    pool, hosts = quiet_pool(5, 8)
    pool.fire(hosts[0], "old")
    pool.run(1)
    curious, calm = pool.add("curious"), pool.add("calm")

    pool.join(curious, hosts[1], ignore_old=False)
    pool.join(calm, hosts[1])
    pool.run(70)  # through several push/pulls
    pool.fire(hosts[0], "new")
    pool.run(1)

    assert [event.name for event in curious.told(UserEvent)] == ["old", "new"]
    assert [event.name for event in calm.told(UserEvent)] == ["new"]


def test_r43_one_poisoned_peer_does_not_stop_the_events_of_the_others() -> None:
    pool, hosts = quiet_pool(8, 9)
    dice = random.Random(9)
    fired = 0
    for _ in range(40):
        poison = Message(dice.choice((2**40, 2**63, 2**64 - 1)), "evil", b"", coalesce=True)
        pool.inject(dice.choice(hosts), UserMessage(poison.encode()).encode())
        pool.fire(dice.choice(hosts), "good", b"%d" % fired)
        fired += 1
        pool.run(dice.random() * 0.2)
    pool.run(3)

    for host in hosts:
        assert sorted(payloads(host)) == sorted(b"%d" % number for number in range(fired))
        assert host.node.event_clock.time <= fired + 1
    assert sum(host.node.stats["ltimes_refused"] for host in hosts) == 40
