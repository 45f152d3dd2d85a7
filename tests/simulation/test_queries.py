"""Queries in pools: who hears them, whose replies come back, and whose name it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gossip.events import MemberStatus, NameConflictLost, QueryReceived
from gossip.serf.leave import Lifecycle
from tests.helpers import Pool

if TYPE_CHECKING:
    from tests.helpers import Host


def names(hosts: list[Host]) -> list[str]:
    return sorted(host.name for host in hosts)


def answering(hosts: list[Host]) -> None:
    for host in hosts:
        host.answers = lambda query, name=host.name: query.payload + name.encode()


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_everybody_acks_and_answers_once(size: int) -> None:
    pool = Pool(seed=size)
    hosts = pool.joined(size)
    answering(hosts)

    asked = pool.ask(hosts[size // 2], "who", b"i am ", request_ack=True)
    pool.run(10)

    assert asked.acks() == names(hosts)
    assert asked.answers() == {host.name: b"i am " + host.name.encode() for host in hosts}
    assert len(asked.replies) == 2 * size
    assert [len(host.told(QueryReceived)) for host in hosts] == [1] * size
    assert len(asked.closed_at) == 1


def test_l4_a_query_is_answered_within_a_second_in_spite_of_loss() -> None:
    pool = Pool(seed=3)
    hosts = pool.joined(30)
    answering(hosts)
    pool.loss = 0.1
    start = pool.now

    asked = pool.ask(hosts[0], "who", relay_factor=3)
    pool.run(10)

    assert sorted(asked.answers()) == names(hosts)
    assert max(at for at, _ in asked.replies) - start < 1.0
    assert hosts[0].node.stats["query_duplicate_responses"] > 0


def test_relays_bring_answers_of_members_that_cannot_reach_us() -> None:
    pool = Pool(seed=4)
    hosts = pool.joined(8)
    answering(hosts)
    far = hosts[5]
    pool.udp_cut = lambda source, target: source is far and target is hosts[0]

    plain = pool.ask(hosts[0], "who", timeout=1)
    pool.run(1)
    relayed = pool.ask(hosts[0], "who", timeout=1, relay_factor=3)
    pool.run(1)

    assert far.name not in plain.answers()
    assert sorted(relayed.answers()) == names(hosts)


def test_filters_by_name_and_tag_choose_who_answers() -> None:
    pool = Pool(seed=5)
    hosts = [pool.add(f"n{i}", tags={"role": "web" if i % 2 else "db"}) for i in range(6)]
    for host in hosts[1:]:
        pool.join(host, hosts[0])
    pool.run_until(lambda: all(map(pool.sees_all_alive, hosts)), 10)
    answering(hosts)

    by_tag = pool.ask(hosts[0], "who", tags={"role": "^w"}, request_ack=True)
    both = pool.ask(hosts[0], "who", tags={"role": "^w"}, nodes=["n0", "n1", "n2", "n3"])
    pool.run(5)

    assert sorted(by_tag.answers()) == by_tag.acks() == ["n1", "n3", "n5"]
    assert sorted(both.answers()) == ["n1", "n3"]


def test_a_member_that_was_paused_over_the_deadline_does_not_count() -> None:
    pool = Pool(seed=6)
    hosts = pool.joined(4)
    answering(hosts)
    pool.pause(hosts[2], 2.0)

    asked = pool.ask(hosts[0], "who", timeout=1.0)
    pool.run(10)

    assert sorted(asked.answers()) == names([hosts[0], hosts[1], hosts[3]])
    assert hosts[0].node.stats["query_responses_unexpected"] == 1


# Names


def merged(pool: Pool, intruder: Host, friends: list[Host], hosts: list[Host]) -> None:
    """Let a pool of `intruder` and `friends` meet that of `hosts`, where its name is in use."""
    for friend in friends:
        pool.join(friend, intruder)
    pool.run(3)
    pool.join(friends[0], hosts[-1])


@pytest.mark.parametrize("seed", range(5))
def test_r14_of_two_nodes_with_one_name_the_one_that_most_hold_survives(seed: int) -> None:
    pool = Pool(seed=seed, dead_node_reclaim_time=30.0)
    hosts = pool.joined(9)
    owner = hosts[0]
    intruder = pool.add(owner.name)
    pool.hosts[owner.name] = owner

    merged(pool, intruder, [pool.add("friend")], hosts)
    pool.run_until(lambda: not intruder.running, 120, every=0.5)
    pool.run(90)

    (lost,) = intruder.told(NameConflictLost)
    assert (lost.name, lost.votes) == (owner.name, 1)
    assert lost.voters >= 3
    assert owner.running
    assert owner.node.lifecycle is Lifecycle.ALIVE
    assert owner.told(NameConflictLost) == []
    for host in pool.running():
        assert host.statuses() == dict.fromkeys([*names(hosts), "friend"], MemberStatus.ALIVE), (
            f"{host.name} at {host.address}"
        )


@pytest.mark.parametrize("seed", range(5))
def test_r14_in_a_tie_one_survives_and_no_third_party_is_harmed(seed: int) -> None:
    pool = Pool(seed=seed)
    hosts = pool.joined(3)
    owner = hosts[0]
    intruder = pool.add(owner.name)
    pool.hosts[owner.name] = owner
    friends = [pool.add("friend"), pool.add("friend-2")]

    merged(pool, intruder, friends, hosts)
    pool.run_until(lambda: not intruder.running or not owner.running, 300, every=0.5)
    pool.run(120)

    assert owner.running != intruder.running
    for host in [*hosts[1:], *friends]:
        assert host.running
        assert set(host.statuses()) == {*names(hosts), "friend", "friend-2"}


def test_r14_two_of_one_name_and_nobody_to_judge_both_stay() -> None:
    pool = Pool(seed=9)
    ann, other = pool.add("ann"), pool.add("ann")

    (exchange,) = pool.join(other, ann)
    pool.run(60)

    assert exchange.error is not None
    assert ann.running
    assert other.running
