"""Nodes whose messages are held up, and Lifeguard's components switched off one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gossip.events import MemberFailed, UserEvent
from gossip.swim import probe as probe_module
from gossip.swim.clock import LocalClock
from gossip.swim.membership import Membership
from gossip.swim.suspicion import Suspicions
from gossip.wire.messages import Ping, Suspect, decode_message
from simulations.blocked import BlockedWorld
from simulations.chains import NOTHING
from simulations.recorder import Recorder
from simulations.switches import ALL, PAPER, Component, only
from simulations.world import MAX_BACKLOG

if TYPE_CHECKING:
    from gossip.wire.address import Address
    from simulations.chains import Depths
    from simulations.host import Host


def pool(size: int = 6, **options: Any) -> BlockedWorld:
    world = BlockedWorld(size, 1, **options)
    world.run(3)
    return world


def test_what_a_blocked_node_sends_leaves_at_the_end_of_the_block() -> None:
    world = pool()
    blocked, *others = world.hosts.values()
    world.block(blocked, 2.0)

    world.fire(blocked, "deploy")
    world.run(1.9)
    before = [len(host.told(UserEvent)) for host in others]
    world.run(0.2)

    assert before == [0] * 5
    assert [len(host.told(UserEvent)) for host in others] == [1] * 5


def test_what_arrives_at_a_blocked_node_is_read_at_the_end_of_the_block() -> None:
    world = pool()
    blocked, other, *_ = world.hosts.values()
    world.block(blocked, 2.0)

    world.fire(other, "deploy")
    world.run(1.9)
    before = len(blocked.told(UserEvent))
    world.run(0.2)

    assert (before, len(blocked.told(UserEvent))) == (0, 1)


def test_the_timers_of_a_blocked_node_run_and_accuse_others() -> None:
    world = pool()
    blocked = next(iter(world.hosts.values()))

    world.block(blocked, 5.0)
    world.run(4.9)

    assert blocked.node.stats["probes_failed"] >= 1
    assert blocked.node.stats["suspected"] >= 1
    assert blocked.node.stats["stalls"] == 0


def test_streams_of_a_blocked_node_wait_too() -> None:
    world = pool()
    blocked, other, *_ = world.hosts.values()
    world.block(blocked, 3.0)

    outward = world.join(blocked, other)[0]
    inward = world.join(other, blocked)[0]
    world.run(2.9)
    before = outward.done, inward.done
    world.run(1.0)

    assert before == (False, False)
    assert outward.done
    assert inward.done
    assert outward.error is inward.error is None


def test_a_blocked_node_keeps_a_bounded_backlog() -> None:
    world = pool()
    blocked, other, *_ = world.hosts.values()
    world.block(blocked, 1.0)

    for _ in range(MAX_BACKLOG + 10):
        world._arrive(blocked.address, b"", other, NOTHING)
    overflowed = world.covered["packets_overflowed"]
    world.run(1.1)
    before = world.covered["packets_overflowed"]
    world.block(blocked, 1.0)
    world._arrive(blocked.address, b"", other, NOTHING)

    assert overflowed == 10
    assert world.covered["packets_overflowed"] == before, "the backlog was read meanwhile"


# Switches


def pieces() -> list[object]:
    """What a switch replaces."""
    status = vars(probe_module)["Status"]
    return [Suspicions.confirm, Membership._warn, LocalClock.enter, status]


def test_inside_everything_is_as_chosen_and_afterwards_as_before() -> None:
    originals = pieces()

    with only(set()) as settings:
        inside = pieces()

    assert settings == {"awareness_max": 1, "suspicion_max_timeout_mult": 1}
    assert not any(one is other for one, other in zip(originals, inside, strict=True))
    assert pieces() == originals
    with only(ALL) as settings:
        assert settings == {}
        assert pieces() == originals


class Seen(Recorder):
    """Notes packets of exactly these messages, and how long after the suspicion somebody failed."""

    def __init__(self) -> None:
        super().__init__(MemberFailed, suspicions=True)
        self.packets: list[tuple[float, list[Any]]] = []

    def packet_sent(self, host: Host, data: bytes, address: Address) -> Depths:
        depths = super().packet_sent(host, data, address)
        self.packets.append((self.world.now, [decode_message(part) for part in depths]))
        return depths


def silenced(
    components: set[Component] | frozenset[Component], size: int = 6
) -> tuple[Seen, float]:
    """One machine of a pool dies; how long its suspicion lasted, and what was sent."""
    seen = Seen()
    with only(components) as settings:
        world = BlockedWorld(size, 1, watch=seen, **settings)
        world.run(3)
        victim = next(iter(world.hosts.values()))
        world.kill(victim, machine=True)
        world.run(60)
    suspected = min(s.at for s in seen.suspected if s.subject == victim.name)
    failed = min(told.at for told in seen.told_events if told.subject == victim.name)
    return seen, failed - suspected


def test_without_lha_suspicion_nobody_waits_for_accusers() -> None:
    _, lonely = silenced({Component.SUSPICION})
    _, fixed = silenced(set())

    assert fixed == pytest.approx(4.0, abs=0.1)
    assert lonely > fixed + 0.1


def test_without_lha_suspicion_confirmations_are_not_passed_on() -> None:
    def accusers(components: set[Component]) -> set[str]:
        seen, _ = silenced(components)
        return {
            message.sender for _, messages in seen.packets for message in messages
            if isinstance(message, Suspect)
        }  # fmt: skip

    assert len(accusers({Component.SUSPICION})) > 1
    assert len(accusers(set())) == 1


def test_the_buddy_system_tells_a_suspect_in_the_ping() -> None:
    def told_in_ping(components: set[Component]) -> int:
        seen, _ = silenced(components)
        return sum(
            isinstance(messages[0], Ping)
            and any(
                isinstance(m, Suspect) and m.node == messages[0].node and m.sender == messages[0].source_node
                for m in messages[1:]
            )
            for _, messages in seen.packets
        )  # fmt: skip

    with_it, without = told_in_ping({Component.BUDDY}), told_in_ping(set())

    assert with_it > without


def test_the_last_word_is_a_packet_before_the_death() -> None:
    def lone_accusations(components: set[Component]) -> int:
        seen, _ = silenced(components, size=2)
        return sum(len(m) == 1 and isinstance(m[0], Suspect) for _, m in seen.packets)

    assert lone_accusations({Component.LAST_WORD}) == lone_accusations(set()) + 1


def test_without_awareness_a_lonely_node_does_not_slow_down() -> None:
    def probes_failed(components: set[Component]) -> int:
        with only(components) as settings:
            world = BlockedWorld(8, 1, **settings)
            world.run(3)
            blocked = next(iter(world.hosts.values()))
            world.block(blocked, 30.0)
            world.run(30)
        return blocked.node.stats["probes_failed"]

    assert probes_failed({Component.AWARENESS}) < probes_failed(set()) / 2


def test_without_the_stall_guard_a_stop_is_not_noticed() -> None:
    def stalls(components: frozenset[Component]) -> int:
        with only(components) as settings:
            world = BlockedWorld(8, 1, **settings)
            world.run(3)
            stopped = next(iter(world.hosts.values()))
            world.pause(stopped, 5.0)
            world.run(10)
        return stopped.node.stats["stalls"]

    assert stalls(ALL) == 1
    assert stalls(PAPER) == 0
