"""Which answers are news, and what is asked next."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from agent.asking import NO_PROGRESS, POLL
from agent.decode import Body
from agent.watches.plan import watch_plan
from agent.watches.progress import MAX_RETRY, AnswerError, News, Progress

SLOW = 5.0


def progress(kind: str = "nodes") -> Progress:
    return Progress(watch_plan(Body({"type": kind})), wait=60)


def take(one: Progress, index: int, value: Any, elapsed: float = SLOW) -> Any:
    """The value of the news in an answer, or None."""
    news = one.answered(index, json.dumps(value).encode(), elapsed)
    return None if news is None else news.value


def event(number: int) -> dict[str, Any]:
    return {"ID": str(uuid.UUID(int=number)), "Name": "x"}


# Every list


def test_the_first_answer_is_news_even_when_it_is_empty() -> None:
    one = progress()
    assert one.target() == "/v1/catalog/nodes"
    assert one.answered(7, b"[ ]", SLOW) == News(7, [], b"[]\n")
    assert one.target() == "/v1/catalog/nodes?index=7&wait=60s"


def test_only_another_answer_is_news_whatever_its_index() -> None:
    one = progress()
    assert take(one, 7, [1]) == [1]
    assert take(one, 7, [1]) is None
    assert take(one, 8, [1]) is None
    assert take(one, 9, [2]) == [2]
    assert take(one, 10, [1]) == [1]


def test_the_text_is_one_line_of_json_in_utf_8() -> None:
    news = progress().answered(1, b'{"a": ["\\u00fc", "\\ud800"],\n "b": null}', SLOW)
    assert news is not None
    assert news.data.decode() == '{"a":["\u00fc","?"],"b":null}\n'


def test_an_index_that_goes_backwards_is_forgotten() -> None:
    one = progress()
    take(one, 70, [1])
    assert take(one, 5, [2]) == [2]
    assert one.target() == "/v1/catalog/nodes"
    assert take(one, 5, [2]) is None
    assert one.target().endswith("index=5&wait=60s")


def test_a_failure_forgets_the_index_and_the_same_answer_after_it_is_no_news() -> None:
    one = progress()
    take(one, 70, [1])
    one.failed()
    assert one.target() == "/v1/catalog/nodes"
    assert take(one, 3, [1]) is None
    assert take(one, 4, [2]) == [2]


def test_attempts_after_failures_are_further_and_further_apart() -> None:
    one = progress()
    assert [one.failed() for _ in range(7)] == [5, 20, 45, 80, 125, MAX_RETRY, MAX_RETRY]
    take(one, 1, [])
    assert one.failed() == 5


def test_an_agent_without_an_index_is_asked_every_second() -> None:
    one = progress("members")
    assert take(one, 0, [1]) == [1]
    assert (one.pause, one.target()) == (POLL, "/v1/agent/members")
    assert take(one, 0, [1]) is None


def test_answers_at_once_without_a_new_index_are_slowed_down() -> None:
    one = progress()
    take(one, 7, [1], elapsed=0)
    assert one.pause == 0
    take(one, 7, [1], elapsed=0)
    assert one.pause == NO_PROGRESS
    take(one, 7, [1], elapsed=SLOW)
    assert one.pause == 0
    take(one, 8, [2], elapsed=0)
    assert one.pause == 0


@pytest.mark.parametrize("kind", ["nodes", "event"])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_an_error(kind: str, body: bytes) -> None:
    with pytest.raises(AnswerError, match="not JSON"):
        progress(kind).answered(1, body, SLOW)


# Events


def test_of_events_the_new_ones_are_news() -> None:
    one = progress("event")
    assert take(one, 2, [event(1), event(2)]) == [event(1), event(2)]
    assert take(one, 4, [event(1), event(2), event(3), event(4)]) == [event(3), event(4)]
    assert take(one, 4, [event(1), event(2), event(3), event(4)]) is None


def test_no_events_are_news_only_at_first() -> None:
    one = progress("event")
    assert take(one, 1, []) == []
    assert take(one, 1, None) is None
    assert take(one, 9, [event(1)]) == [event(1)]


def test_a_lower_index_of_events_is_as_good_as_a_higher_one() -> None:
    one = progress("event")
    take(one, 70, [event(1)])
    assert take(one, 5, [event(1), event(2)]) == [event(2)]
    assert one.target() == "/v1/event/list?index=5&wait=60s"


def test_after_a_failure_no_event_is_told_twice() -> None:
    one = progress("event")
    take(one, 70, [event(1)])
    one.failed()
    assert one.target() == "/v1/event/list?index=70&wait=60s"
    assert take(one, 71, [event(1), event(2)]) == [event(2)]


def test_events_of_an_agent_that_began_anew_are_all_news() -> None:
    one = progress("event")
    take(one, 70, [event(1), event(2)])
    assert take(one, 1, []) is None
    assert take(one, 9, [event(3)]) == [event(3)]


def test_when_the_last_event_is_not_there_any_more_all_are_news() -> None:
    one = progress("event")
    take(one, 70, [event(1)])
    assert take(one, 9, [event(8), event(9)]) == [event(8), event(9)]


@pytest.mark.parametrize("value", [{}, 1, [1], [{}], [{"ID": 1}]])
def test_what_is_no_list_of_events_is_an_error(value: Any) -> None:
    with pytest.raises(AnswerError, match="not a list of events"):
        take(progress("event"), 1, value)
