"""A sealed request is obeyed once, and only for a while."""

from __future__ import annotations

import itertools

import pytest

from agent.forward import challenges
from agent.forward.challenges import LIFE, Challenges
from gossip.errors import WireError


def counting() -> Challenges:
    numbers = itertools.count(1)
    return Challenges(lambda: f"challenge {next(numbers)}")


def test_an_unknown_challenge_is_not_obeyed() -> None:
    found = counting()
    for challenge in ("", "challenge 2", "x"):
        assert not found.use(challenge, b"a", 0.0)
    assert found.use(found.current(0.0), b"a", 0.0)


def test_a_request_is_obeyed_once() -> None:
    found = counting()
    first = found.current(0.0)
    assert found.use(first, b"a", 0.0)
    assert found.use(first, b"b", 0.0)
    for now in (0.0, LIFE - 1, LIFE + 1, 2 * LIFE - 1):
        with pytest.raises(WireError, match="was here before"):
            found.use(first, b"a", now)


def test_the_previous_challenge_is_obeyed_still_and_the_one_before_is_not() -> None:
    found = counting()
    first = found.current(0.0)
    second = found.current(LIFE)
    assert first != second
    assert found.use(first, b"a", LIFE)
    found.current(2 * LIFE)
    assert found.use(second, b"b", 2 * LIFE)
    assert not found.use(first, b"c", 2 * LIFE)


def test_a_request_held_back_for_two_lives_is_void_even_if_nothing_else_came() -> None:
    found = counting()
    first = found.current(0.0)
    assert not found.use(first, b"a", 2 * LIFE)
    assert not found.use(first, b"a", 1000 * LIFE)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "USES", 10)
    found = counting()
    obeyed = 0
    for number in range(1000):
        obeyed += found.use(found.current(0.0), number.to_bytes(16, "big"), 0.0)
        assert sum(len(seen) for seen in found._seen.values()) <= 30
    assert obeyed == 1000
    stale = next(iter(found._seen))
    for number in range(1000, 2000):
        found.use(stale, number.to_bytes(16, "big"), 0.0)
    assert sum(len(seen) for seen in found._seen.values()) <= 30
