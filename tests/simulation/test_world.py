"""The simulated world itself: machines, disks, streams, and what is reported about them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gossip.events import MemberStatus, UserEvent
from gossip.swim.exchange import PushPullExchange
from simulations.checkers import CHECKERS
from simulations.disk import Disk
from simulations.network import Weather
from simulations.trace import Trace
from simulations.watch import Checker, Transition, Watch
from simulations.world import NotReachedError, World

if TYPE_CHECKING:
    from simulations.host import Host


def joined(world: World, count: int, **options: object) -> list[Host]:
    hosts = [world.add(f"n{number}", **options) for number in range(count)]  # type: ignore[arg-type]
    for host in hosts[1:]:
        world.join(host, hosts[0])
    world.run_until(
        lambda: all(list(h.statuses().values()) == [MemberStatus.ALIVE] * count for h in hosts),
        20, every=0.1,
    )  # fmt: skip
    return hosts


def test_streams_arrive_in_pieces_in_order() -> None:
    world = World(3, weather=Weather(jitter=0.05), tags={"long": "x" * 400})

    joined(world, 12)

    assert world.covered["streams_in_pieces"] > 0


def test_a_connection_waits_for_a_cut_to_end_and_then_works() -> None:
    world = World(1)
    one, two = world.add("one"), world.add("two")
    world.network.cut("cut", lambda a, _b: a is two)
    exchange = world.join(one, two)[0]

    world.run(5)
    before = exchange.done
    world.network.mend("cut")
    world.run(4)

    assert (before, exchange.done, exchange.error) == (False, True, None)
    assert world.covered["segments_cut"] > 0


def test_a_connection_that_is_cut_for_too_long_times_out_at_its_deadline() -> None:
    world = World(1, tcp_timeout=3.0)
    one, two = world.add("one"), world.add("two")
    world.network.cut("cut", lambda a, _b: a is one)
    exchange = world.join(one, two)[0]

    took = world.run_until(lambda: exchange.done, 10)

    assert exchange.error == "timed out"
    assert took == pytest.approx(3.0)


@pytest.mark.parametrize(("machine", "error"), [(False, "connection refused"), (True, "timed out")])
def test_a_machine_refuses_connections_of_a_dead_process_unless_it_is_dead_itself(
    machine: bool, error: str
) -> None:
    world = World(1)
    one, two = world.add("one"), world.add("two")
    world.kill(two, machine=machine)
    exchange = world.join(one, two)[0]

    world.run(11)

    assert exchange.error == error


def test_a_killed_process_resets_its_connections() -> None:
    world = World(1)
    one, two = world.add("one"), world.add("two")
    world.pause(two, 60)
    exchange = world.join(one, two)[0]
    world.run(1)
    assert not exchange.done

    world.kill(two)
    world.run(1)

    assert exchange.error in {"connection reset by peer", "the peer closed the connection"}


def test_what_arrives_while_a_process_is_stopped_waits_in_its_kernel_up_to_a_bound() -> None:
    world = World(1)
    hosts = joined(world, 2)
    world.pause(hosts[1], 30)

    for number in range(400):
        world.fire(hosts[0], "x", str(number).encode())
        world.run(0.05)
    waiting = len(hosts[1].backlog)
    world.run(20)

    assert 0 < waiting <= 257
    assert len(hosts[1].told(UserEvent)) > 0
    assert not hosts[1].backlog


def test_a_slow_process_takes_its_inputs_one_by_one() -> None:
    world = World(1)
    hosts = joined(world, 3)
    hosts[2].slowness = 0.05
    world.fire(hosts[0], "x")

    took = world.run_until(lambda: bool(hosts[2].told(UserEvent)), 5)

    assert took < 2
    world.run(30)
    assert hosts[0].statuses()["n2"] is MemberStatus.ALIVE


def test_r10_a_clock_that_jumps_ahead_accuses_nobody() -> None:
    world = World(2)
    hosts = joined(world, 5)

    world.jump(hosts[2], 4000.0)
    world.run(60)

    assert all(set(host.statuses().values()) == {MemberStatus.ALIVE} for host in hosts)
    assert hosts[2].node.stats["stalls"] == 1


def test_a_restart_with_a_disk_finds_clocks_and_pool_again() -> None:
    world = World(4)
    hosts = joined(world, 3)
    old = world.add("kept", disk=Disk())
    world.join(old, hosts[0])
    world.run(2)
    world.fire(hosts[0], "x", b"1")
    world.run(2)

    new = world.restart(old, with_memory=True)
    world.run(10)

    assert new.resumed is not None
    assert new.resumed[1] == 1
    assert new.statuses() == dict.fromkeys(["n0", "n1", "n2", "kept"], MemberStatus.ALIVE)
    assert new.told(UserEvent) == [], "it had been delivered to the process before"


def test_a_restart_without_its_disk_remembers_nothing() -> None:
    world = World(4)
    host = world.add("one", disk=Disk())
    world.fire(host, "x")
    world.run(2)

    new = world.restart(host)

    assert new.resumed == (0, 0, 0)
    assert new.life == 2


def test_s19_whatever_is_on_the_disk_a_node_starts() -> None:
    world = World(4)
    hosts = joined(world, 3)
    disk, dice = Disk(), random.Random(1)
    host = world.add("one", disk=disk)
    world.join(host, hosts[0])
    world.run(2)

    for _ in range(40):
        disk.damage(dice)
        host = world.restart(host, with_memory=True)
        world.join(host, hosts[0])
        world.run(1)

    assert host.statuses()["n0"] is MemberStatus.ALIVE


def test_a_full_disk_is_written_again_when_there_is_room() -> None:
    world = World(1)
    disk = Disk()
    host = world.add("one", disk=disk)
    disk.full = True
    world.fire(host, "x")
    world.run(5)
    empty = disk.data

    disk.full = False
    world.run(2)

    assert empty == b""
    assert b"event-clock: 1" in disk.data
    assert not disk.sound
    assert world.covered["disk_writes_failed"] >= 4


def test_conditions_that_do_not_come_true_are_errors() -> None:
    world = World(1)
    world.add("one")

    with pytest.raises(NotReachedError, match=r"not true after 3 s"):
        world.run_until(lambda: False, 3)


def test_an_error_of_the_core_is_raised_unless_the_world_is_watched() -> None:
    def fail() -> None:
        raise KeyError("x")

    world, watch = World(1), Watch(())
    host = world.add("one")
    with pytest.raises(KeyError):
        world.give(host, fail)

    watched = World(1, watch=watch)
    host = watched.add("one")
    watched.give(host, fail)
    assert [violation.invariant for violation in watch.violations] == ["S20"]
    assert not host.running


def test_a_checker_sees_every_transition_also_one_that_lasts_no_time() -> None:
    seen: list[tuple[str, str | None, str | None, str]] = []

    class Recorder(Checker):
        def changed(self, change: Transition) -> None:
            if change.observer.name == "n0" and change.subject == "n1":
                before, after = change.before, change.after
                seen.append(
                    (
                        change.subject,
                        before and before.status.name,
                        after and after.status.name,
                        change.cause,
                    )
                )

    world = World(1, watch=Watch([Recorder]))
    hosts = joined(world, 2)
    world.kill(hosts[1])
    world.run(60)

    assert seen == [
        ("n1", None, "ALIVE", "alive"),
        ("n1", "ALIVE", "SUSPECT", "suspect"),
        ("n1", "SUSPECT", "DEAD", "dead"),
        ("n1", "DEAD", None, "reaped"),
    ]


def test_a_pause_that_ends_early_ends_then_also_for_what_waits() -> None:
    """Seed 1975 of the campaign of 15 minutes: a node stood still until a pause would have ended."""
    world = World(1)
    one, two = joined(world, 2)
    world.pause(two, 60)
    world.fire(one, "deploy")
    world.run(2)
    before = two.told(UserEvent)

    world.resume(two)
    world.run(0.1)

    assert before == []
    assert len(two.told(UserEvent)) == 1


def test_without_faults_no_checker_complains() -> None:
    watch = Watch(CHECKERS)
    world = World(9, watch=watch)

    joined(world, 6)
    world.run(30)

    assert watch.violations == []
    assert watch.transitions >= 30


def test_the_end_of_a_trace_is_shown_for_the_nodes_concerned() -> None:
    trace = Trace()
    world = World(9, trace=trace)
    hosts = joined(world, 3)
    world.fire(hosts[1], "deploy")

    lines = trace.around(world.now, frozenset({"n1"}), 10)

    assert len(lines) == 10
    assert any("n1: deploy at 1" in line for line in lines)
    assert all("n1" in line for line in lines)


def test_the_push_pulls_of_a_world_are_the_cores() -> None:
    world = World(1)
    one, two = world.add("one"), world.add("two")

    assert isinstance(world.join(one, two)[0], PushPullExchange)
