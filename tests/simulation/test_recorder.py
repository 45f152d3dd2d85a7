"""What experiments write down, and distances between places."""

from __future__ import annotations

import pytest

from gossip.events import MemberFailed, MemberLeft, UserEvent
from gossip.swim.probe import Prober
from simulations.recorder import Recorder, Told
from simulations.shared import SharedWorld


def test_a_recorder_notes_the_events_that_it_was_asked_for() -> None:
    recorder = Recorder(UserEvent, MemberLeft)
    world = SharedWorld(3, 1, watch=recorder)
    one, two, three = world.hosts.values()
    world.run(2)

    world.fire(one, "deploy", b"v2")
    world.leave(two)
    world.kill(three)
    world.run(20)

    fired = Told(1002.0, one.name, UserEvent, "deploy", b"v2")
    assert recorder.told_events[0] == fired
    assert {(told.kind, told.observer, told.subject) for told in recorder.told_events} >= {
        (UserEvent, two.name, "deploy"), (MemberLeft, one.name, two.name)
    }  # fmt: skip
    assert not any(told.kind is MemberFailed for told in recorder.told_events)
    assert one.events == [], "a second copy would be memory for nothing"


def test_a_recorder_notes_suspicions_once_per_observer_and_forgets() -> None:
    recorder = Recorder(MemberFailed, suspicions=True)
    world = SharedWorld(3, 1, watch=recorder)
    one, two, three = world.hosts.values()
    world.run(2)

    world.kill(three, machine=True)
    world.run(30)

    assert sorted((s.observer, s.subject) for s in recorder.suspected) == [
        (one.name, three.name), (two.name, three.name)
    ]  # fmt: skip
    assert [told.kind for told in recorder.told_events] == [MemberFailed, MemberFailed]
    recorder.forget()
    assert not recorder.suspected
    assert not recorder.told_events


def test_an_error_of_the_core_ends_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Prober, "handle_ack", broken)
    world = SharedWorld(3, 1, watch=Recorder())

    with pytest.raises(AssertionError, match="planted"):
        world.run(5)


def test_distance_delays_packets_and_segments_between_places() -> None:
    recorder = Recorder(UserEvent)
    world = SharedWorld(3, 1, watch=recorder)
    one, two, three = world.hosts.values()
    world.network.distance = lambda a, b: 0.25 * ((a is three) != (b is three))
    world.run(2)

    world.fire(one, "deploy")
    world.run(5)

    at = {told.observer: told.at - 1002.0 for told in recorder.told_events}
    assert at[two.name] < 0.01
    assert 0.25 < at[three.name] < 0.26
    assert world.network.segment_delay(one, three) > 0.25 > world.network.segment_delay(one, two)
