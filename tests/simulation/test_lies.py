"""What a poisoned member said counts as said by it, also when its process has ended."""

from __future__ import annotations

import random

from gossip.swim.members import Status
from gossip.wire.messages import Dead
from simulations.checkers import CHECKERS
from simulations.poison import Poisoner
from simulations.watch import Watch
from simulations.world import World


def test_s4_whoever_left_by_a_lie_of_a_process_that_has_ended_since_breaks_no_promise() -> None:
    watch = Watch(CHECKERS, honest=False)
    world = World(1, watch=watch)
    hosts = [world.add(name) for name in ("one", "two", "three")]
    for host in hosts[1:]:
        world.join(host, hosts[0])
    world.run(3)
    Poisoner(world, hosts[2], random.Random(1), rate=20, until=world.now + 1).start()
    world.run(10)
    world.restart(hosts[2])
    world.kill(hosts[1])

    lie = Dead(2**16, "two", "two").encode()
    world.inject(hosts[0], lie, hosts[2].address)

    record = hosts[0].node.membership.table.get("two")
    assert record is not None
    assert record.status is Status.LEFT
    assert watch.violations == []


def test_s4_whoever_left_by_no_lie_does() -> None:
    watch = Watch(CHECKERS)
    world = World(1, watch=watch)
    one, two = world.add("one"), world.add("two")
    world.join(two, one)
    world.run(3)
    world.kill(two)
    record = one.node.membership.table.get("two")
    assert record is not None

    world.inject(one, Dead(record.incarnation, "two", "two").encode())

    assert {violation.invariant for violation in watch.violations} == {"S4"}
