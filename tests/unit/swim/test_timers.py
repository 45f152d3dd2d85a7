"""The heap of deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gossip.swim.timers import COMPACT_ABOVE, Timers

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


def noting(called: list[_T], value: _T) -> Callable[[float], None]:
    return lambda _now: called.append(value)


def test_calls_come_in_the_order_of_their_times() -> None:
    timers, called = Timers(), list[str]()
    for at, name in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        timers.call_at(at, noting(called, name))

    timers.run_due(2.5)

    assert called == ["a", "b"]
    assert timers.next_at() == 3.0


def test_calls_at_the_same_time_come_in_the_order_in_which_they_were_asked_for() -> None:
    timers, called = Timers(), list[int]()
    for number in range(20):
        timers.call_at(1.0, noting(called, number))

    timers.run_due(1.0)

    assert called == list(range(20))


def test_a_call_gets_the_time_at_which_it_is_made() -> None:
    timers, called = Timers(), list[float]()
    timers.call_at(1.0, called.append)

    timers.run_due(7.5)

    assert called == [7.5]


def test_calls_asked_for_meanwhile_are_made_too_when_they_are_due() -> None:
    timers, called = Timers(), list[float]()

    def again(now: float) -> None:
        called.append(now)
        if len(called) < 3:
            timers.call_at(now, again)

    timers.call_at(1.0, again)
    timers.run_due(1.0)

    assert called == [1.0, 1.0, 1.0]
    assert timers.next_at() is None


def test_a_cancelled_call_is_not_made_and_does_not_count() -> None:
    timers, called = Timers(), list[float]()
    timer = timers.call_at(1.0, called.append)
    timers.call_at(2.0, called.append)

    timers.cancel(timer)

    assert (len(timers), timers.next_at(), timer.pending) == (1, 2.0, False)
    timers.run_due(5.0)
    assert called == [5.0]


def test_cancelling_nothing_or_something_done_or_cancelled_is_fine() -> None:
    timers = Timers()
    done = timers.call_at(1.0, lambda _now: None)
    timers.run_due(1.0)
    cancelled = timers.call_at(2.0, lambda _now: None)

    timers.cancel(None)
    timers.cancel(done)
    timers.cancel(cancelled)
    timers.cancel(cancelled)

    assert len(timers) == 0
    assert timers.next_at() is None


def test_a_call_may_cancel_another_that_is_due_with_it() -> None:
    timers, called = Timers(), list[float]()
    victims = [timers.call_at(2.0, called.append) for _ in range(2 * COMPACT_ABOVE)]
    kept = timers.call_at(3.0, called.append)

    def cancel_all(_now: float) -> None:
        for victim in victims:
            timers.cancel(victim)

    timers.call_at(1.0, cancel_all)
    timers.run_due(5.0)

    assert called == [5.0]
    assert not kept.pending
    assert len(timers) == 0


def test_cancelled_calls_do_not_pile_up() -> None:
    timers = Timers()
    timers.call_at(0.5, lambda _now: None)

    for _ in range(10_000):
        timers.cancel(timers.call_at(1000.0, lambda _now: None))

    assert len(timers._heap) <= 2 * COMPACT_ABOVE + 2
    assert len(timers) == 1
    assert timers.next_at() == 0.5
