"""Estimated round trips approach those of the network, between members that never probed each other too."""

from __future__ import annotations

import random
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Any

from gossip.serf.coordinates import distance
from tests.helpers import Host, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

HOP = 0.0005


class WidePool(Pool):
    """A pool in several cities: each pair of hosts has a latency of its own, one way."""

    def __init__(self, seed: int, way: Callable[[Host, Host], float], **settings: Any) -> None:
        super().__init__(seed, latency=0.0, **settings)
        dice = random.Random(seed)
        self.way = way
        self.network.distance = lambda a, b: way(a, b) * (0.9 + 0.2 * dice.random())


def city(host: Host) -> int:
    return int(host.name.partition("-")[2]) % 3


def between_cities(a: Host, b: Host) -> float:
    """20, 40 and 60 ms there and back between the cities, 1 ms within one: they lie on a line."""
    return HOP + 0.010 * abs((0, 1, 3)[city(a)] - (0, 1, 3)[city(b)])


def errors(pool: WidePool, hosts: list[Host]) -> list[float]:
    """By how much the estimates miss, as a part of each real round trip; seen by the first host."""
    known = coordinates(hosts[0])
    return [
        abs(distance(known[a.name], known[b.name]) / (2 * pool.way(a, b)) - 1)
        for a, b in combinations(hosts, 2)
        if city(a) != city(b)
    ]


def coordinates(host: Host) -> Any:
    assert host.node.coordinates is not None
    return host.node.coordinates.all()


def test_estimates_approach_the_round_trips_of_the_network() -> None:
    pool = WidePool(3, between_cities)
    hosts = pool.joined(12)
    pool.run(15)
    early = median(errors(pool, hosts))

    pool.run(585)

    late = errors(pool, hosts)
    assert median(late) < 0.1 < early
    assert max(late) < 0.4
    near = [
        distance(coordinates(hosts[0])[a.name], coordinates(hosts[0])[b.name])
        for a, b in combinations(hosts, 2)
        if city(a) == city(b)
    ]
    assert max(near) < 0.008, "the same city is nearer than any other"


def test_estimates_follow_when_the_network_changes() -> None:
    slow = 1.0
    pool = WidePool(5, lambda a, b: slow * between_cities(a, b))
    hosts = pool.joined(9)
    pool.run(400)
    assert median(errors(pool, hosts)) < 0.15

    slow = 3.0
    assert median(errors(pool, hosts)) > 0.5
    pool.run(600)

    assert median(errors(pool, hosts)) < 0.15


def test_r33_one_member_that_lies_does_not_spoil_the_others() -> None:
    pool = WidePool(7, between_cities)
    hosts = pool.joined(12)
    liar: Any = hosts[-1].node.coordinates
    liar.ack_payload = lambda: (
        b"\x01\x84\xa3Vec\x98"
        + b"\xcb\x7f\xe1\xcc\xf3\x85\xeb\xc8\xa0" * 8
        + (b"\xa5Error\x00\xaaAdjustment\x00\xa6Height\x00")
    )  # 1e308 eight times, and quite sure of it

    pool.run(600)

    honest = hosts[:-1]
    known = coordinates(hosts[0])
    assert hosts[-1].name not in known
    assert median(errors(pool, honest)) < 0.1
    assert all(host.node.stats["coordinates_refused"] > 0 for host in honest)
