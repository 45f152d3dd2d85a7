"""S8 as it is checked: what a process may lose with its last moment, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulations.checkers import CHECKERS
from simulations.disk import Disk
from simulations.watch import Watch
from simulations.world import World

if TYPE_CHECKING:
    from simulations.host import Host

FAR = 10**6


def leaping_pool() -> tuple[World, Watch, Host]:
    """Two nodes, the second of which has just been told of an event far ahead, and has a snapshot."""
    watch = Watch(CHECKERS)
    world = World(1, watch=watch)
    one, two = world.add("one"), world.add("two", disk=Disk())
    world.join(two, one)
    world.fire(one, "early")
    world.run(3)
    one.node.event_clock.witness(FAR)
    world.fire(one, "late")
    world.run_until(lambda: two.node.event_clock.time > FAR, 1, every=0.001)
    return world, watch, two


def test_a_leap_that_was_not_written_when_the_process_was_killed_may_be_forgotten() -> None:
    world, watch, two = leaping_pool()
    assert two.disk is not None
    before = two.disk.data

    world.kill(two)
    two.disk.data = before  # nothing of what came last, instead of a part as chance has it
    again = world.restart(two, with_memory=True)

    assert again.node.event_clock.time < FAR
    assert watch.violations == []


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_leap_that_had_its_time_to_be_written_may_not(*, forgetful: bool) -> None:
    world, watch, two = leaping_pool()
    assert two.disk is not None
    before = two.disk.data
    world.run(0.2)

    world.kill(two)
    if forgetful:
        two.disk.data = before
    again = world.restart(two, with_memory=True)

    assert (again.node.event_clock.time < FAR) is forgetful
    assert [violation.invariant for violation in watch.violations] == ["S8"] * forgetful
