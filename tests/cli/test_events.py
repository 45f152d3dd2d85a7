"""``gossip event`` and ``gossip events``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.fake_agent import Answer, FakeAgent, event, event_index

LIST = "/v1/event/list"


@pytest.mark.parametrize(
    ("argv", "sent"),
    [
        (["deploy"], ("deploy", {}, b"")),
        (["deploy", "160"], ("deploy", {}, b"160")),
        (["-name=deploy", "160"], ("deploy", {}, b"160")),
        (["deploy", "-node=web.*"], ("deploy", {"node": "web.*"}, b"")),
        (
            ["-service=a&b", "-tag=x", "deploy", "p"],
            ("deploy", {"service": "a&b", "tag": "x"}, b"p"),
        ),
        (["-datacenter=dc2", "a b/c"], ("a%20b%2Fc", {"dc": "dc2"}, b"")),
        (["-name=level", "--", "-3"], ("level", {}, b"-3")),
        (["k\u00f6ln", "\u00fc"], ("k%C3%B6ln", {}, b"\xc3\xbc")),
        (["x", "\udcff"], ("x", {}, b"\xff")),
    ],
)
def test_an_event_is_put_with_name_payload_and_filters(
    fake: FakeAgent, gossip: Any, argv: list[str], sent: tuple[str, dict[str, str], bytes]
) -> None:
    assert gossip("event", *argv) == (0, f"Event ID: {event(1)['ID']}\n", "")
    (request,) = fake.requests
    name, query, body = sent
    assert (request.method, request.path) == ("PUT", f"/v1/event/fire/{name}")
    assert (request.query, request.body) == (query, body)


def test_a_fired_event_in_json_is_the_agents_object(fake: FakeAgent, gossip: Any) -> None:
    out = gossip("event", "deploy", "x", "-format=json").out
    assert json.loads(out) == event(1, "deploy", b"x") | {"LTime": 0}


@pytest.mark.parametrize("pattern", [r"\pL+\z", "a(?i)b", "(?U)a+", "[[:word:]]"])
def test_filters_are_what_agents_take_and_not_what_python_does(
    fake: FakeAgent, gossip: Any, pattern: str
) -> None:
    assert gossip("event", "a", f"-node={pattern}").code == 0
    (request,) = fake.requests
    assert request.query == {"node": pattern}
    assert gossip("event", "a", "-node=(?<=a)b").err.startswith("Failed to compile node filter")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([], "Event name must be specified"),
        (["-name="], "Event name must be specified"),
        (["a", "b", "c"], "too many arguments"),
        (["-name=a", "b", "c"], "too many arguments"),
        (["a", "-tag=x"], "Cannot provide tag filter without service filter."),
        (["a", "-node=["], "Failed to compile node filter regexp: "),
        (["a", "-service=("], "Failed to compile service filter regexp: "),
    ],
)
def test_what_cannot_be_fired_is_not_sent(
    fake: FakeAgent, gossip: Any, argv: list[str], error: str
) -> None:
    code, out, err = gossip("event", *argv)
    assert (code, out) == (1, "")
    assert err.startswith(error)
    assert fake.requests == []


def test_the_agents_refusal_is_shown(fake: FakeAgent, gossip: Any) -> None:
    text = b"user event exceeds configured limit of 512 bytes"
    fake.answer("/v1/event/fire/big", Answer(500, text))
    code, _, err = gossip("event", "big")
    assert (code, err) == (
        1,
        f"Error firing event: Unexpected response code: 500 ({text.decode()})\n",
    )


def test_an_answer_that_is_no_event_is_an_error(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/event/fire/x", Answer.of({"ID": 5}))
    assert "is not an event" in gossip("event", "x").err


def test_events_are_listed_oldest_first(fake: FakeAgent, gossip: Any) -> None:
    fake.events = [
        event(1),
        event(2, "restart", b"now"),
        event(30, "bin", b"\x00\xff"),
        event(4, "e", b"\x1b["),
    ]
    code, out, err = gossip("events")
    assert (code, err) == (0, "")
    assert out == (
        "LTime  ID                                    Name     Payload\n"
        "1      00000000-0000-0000-0000-000000001001  deploy\n"
        "2      00000000-0000-0000-0000-000000001002  restart  now\n"
        "30     00000000-0000-0000-0000-00000000101e  bin      base64:AP8=\n"
        "4      00000000-0000-0000-0000-000000001004  e        base64:G1s=\n"
    )


def test_no_events_are_no_lines(fake: FakeAgent, gossip: Any) -> None:
    assert gossip("events") == (0, "", "")
    assert gossip("events", "-format=json") == (0, "[]\n", "")


def test_events_in_json_are_the_agents_objects(fake: FakeAgent, gossip: Any) -> None:
    fake.events = [event(1), event(2, "restart", b"now")]
    assert json.loads(gossip("events", "-format=json").out) == fake.events


def test_events_are_filtered_by_the_agent(fake: FakeAgent, gossip: Any) -> None:
    fake.events = [event(1), event(2, "other")]
    out = gossip("events", "-name=other", "-format=json").out
    assert [e["Name"] for e in json.loads(out)] == ["other"]
    assert fake.requests[0].query == {"name": "other"}


def follow(fake: FakeAgent, gossip: Any, *answers: Answer, form: str = "text") -> Any:
    """Follow through these answers; a refusal ends it."""
    fake.answer(LIST, *answers, Answer(403, b"Permission denied"))
    result = gossip("events", "-follow", "-format", form)
    assert result.code == 1
    return result


def listing(*numbers: int) -> Answer:
    events = [event(number) for number in numbers]
    return Answer.of(events, event_index(events))


def ltimes(out: str) -> list[int]:
    return [int(line.split()[0]) for line in out.splitlines()]


def test_following_prints_each_event_once(fake: FakeAgent, gossip: Any, no_sleep: Any) -> None:
    out = follow(fake, gossip, listing(), listing(1), listing(1, 2, 3), listing(1, 2, 3)).out
    assert ltimes(out) == [1, 2, 3]
    queries = [request.query for request in fake.requests]
    assert queries[0] == {}
    assert [query["index"] for query in queries[1:]] == ["1", "4097", "4099", "4099"]
    assert all(query["wait"] == "55s" for query in queries[1:])


def test_following_finds_events_that_arrive_out_of_order(
    fake: FakeAgent, gossip: Any, no_sleep: Any
) -> None:
    assert ltimes(follow(fake, gossip, listing(5), listing(5, 3)).out) == [5, 3]


def test_an_index_above_two_to_the_63_is_sent_back_whole(
    fake: FakeAgent, gossip: Any, no_sleep: Any
) -> None:
    events = [event(1) | {"ID": "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"}]
    assert event_index(events) == 7256511592453824992
    big = Answer.of(events, 2**64 - 1)
    follow(fake, gossip, big)
    assert fake.requests[1].query["index"] == str(2**64 - 1)


def test_an_overflow_of_the_ring_is_said_once(fake: FakeAgent, gossip: Any, no_sleep: Any) -> None:
    _, out, err = follow(fake, gossip, listing(1), listing(7, 8), listing(7, 8, 9))
    assert ltimes(out) == [1, 7, 8, 9]
    assert err.count("events may be missing here") == 1
    assert "too many came at once" in err


def test_a_reconnection_and_a_restart_are_said(
    fake: FakeAgent, gossip: Any, no_sleep: list[float]
) -> None:
    _, out, err = follow(
        fake, gossip, listing(1), Answer(drop=True), listing(), listing(2), form="json"
    )
    assert [json.loads(line)["LTime"] for line in out.splitlines()] == [1, 2]
    notes = [json.loads(line) for line in err.splitlines()]
    assert "trying again" in notes[0]["Warning"]
    assert "again" in notes[1]["Warning"]
    assert "it was restarted" in notes[2]["Warning"]
    assert list(notes[3]) == ["Error", "Status"]
    assert no_sleep[0] == 1.0


def test_a_reconnection_without_loss_repeats_nothing(
    fake: FakeAgent, gossip: Any, no_sleep: Any
) -> None:
    _, out, err = follow(fake, gossip, listing(1, 2), Answer(drop=True), listing(1, 2, 3))
    assert ltimes(out) == [1, 2, 3]
    assert "missing" not in err
