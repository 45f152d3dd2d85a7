"""``gossip members``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.fake_agent import Answer, FakeAgent, member

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/v1/agent/members"


def changes(out: str) -> list[tuple[str, str, str]]:
    """Change, name and status of each line of ``-watch``."""
    rows = [line.split() for line in out.splitlines()]
    return [(row[1], row[2], row[4]) for row in rows]


def test_the_columns_are_consuls_with_servers_first(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [
        member("web", 4),
        member("db", build="1.8.7:abcdef01", dc="east", segment="alpha"),
        member("zeus", role="consul", vsn="3", bootstrap="1"),
        member("old", build="-", segment="-"),
        member("serf", role="-"),
        member("v6", 2) | {"Addr": "fe80::1"},
    ]
    code, out, err = gossip("members")
    assert (code, err) == (0, "")
    assert out == (
        "Node  Address         Status   Type     Build  Protocol  DC    Segment\n"
        "zeus  127.0.0.1:8301  alive    server   0.1.0  3         dc1   <all>\n"
        "old   127.0.0.1:8301  alive    client   < 0.3  2         dc1   <default>\n"
        "serf  127.0.0.1:8301  alive    unknown\n"
        "v6    [fe80::1]:8301  leaving  client   0.1.0  2         dc1   <default>\n"
        "web   127.0.0.1:8301  failed   client   0.1.0  2         dc1   <default>\n"
        "db    127.0.0.1:8301  alive    client   1.8.7  2         east  alpha\n"
    )


def test_detailed_shows_all_tags_sorted(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [member("a", zone="x"), member("s", role="consul")]
    assert gossip("members", "-detailed").out == (
        "Node  Address         Status  Tags\n"
        "s     127.0.0.1:8301  alive   build=0.1.0:pygossip,dc=dc1,role=consul,segment=<all>,vsn=2\n"
        "a     127.0.0.1:8301  alive   "
        "build=0.1.0:pygossip,dc=dc1,role=node,segment=<default>,vsn=2,zone=x\n"
    )


def test_json_is_the_agents_own_objects(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [member("b"), member("a")]
    code, out, err = gossip("members", "-format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [member("a"), member("b")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("alive", ["a"]), ("left|failed", ["c", "d"]), ("^lea", ["b"]), (".*", ["a", "b", "c", "d"])],
)
def test_status_is_a_regular_expression_searched_for(
    fake: FakeAgent, gossip: Any, pattern: str, names: list[str]
) -> None:
    fake.members = [member(name, status) for status, name in enumerate("abcd", 1)]
    out = gossip("members", f"-status={pattern}", "-format=json").out
    assert [m["Name"] for m in json.loads(out)] == names


@pytest.mark.parametrize(("form", "out"), [("text", ""), ("json", "[]\n")])
def test_nothing_that_matches_exits_with_2(
    fake: FakeAgent, gossip: Any, form: str, out: str
) -> None:
    fake.members = [member("a")]
    assert gossip("members", "-status=failed", "-format", form) == (2, out, "")


def test_a_bad_status_pattern_exits_with_1(fake: FakeAgent, gossip: Any) -> None:
    code, out, err = gossip("members", "-status=[")
    assert (code, out) == (1, "")
    assert err.startswith("Failed to compile status regexp: ")
    assert fake.requests == []


def test_wan_asks_for_the_wan_pool(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [member("a.dc1")]
    gossip("members", "-wan")
    gossip("members")
    assert [request.query for request in fake.requests] == [{"wan": "1"}, {}]


def test_names_and_tags_cannot_steer_the_terminal(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [member("\x1b[2Jevil\n", zone="\u202ex")]
    out = gossip("members", "-detailed").out
    assert "\\x1b[2Jevil\\n" in out
    assert "zone=\\u202ex" in out
    assert out.count("\n") == 2


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"\xff", b'"x"', b"[" * 100_000], ids=lambda b: repr(b[:4])
)
def test_an_answer_of_another_shape_is_an_error(fake: FakeAgent, gossip: Any, body: bytes) -> None:
    fake.answer(PATH, Answer(body=body))
    code, out, err = gossip("members")
    assert (code, out) == (1, "")
    assert err.startswith("Error retrieving members: the answer of http://")


def test_odd_members_are_shown_and_do_not_fail(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(PATH, Answer.of([{}, {"Name": 5, "Tags": None, "Status": 9}]))
    code, out, _ = gossip("members")
    assert code == 0
    assert "unknown" in out


def test_null_counts_as_no_members(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(PATH, Answer.of(None))
    assert gossip("members").code == 2


def test_watch_prints_a_line_per_change(fake: FakeAgent, gossip: Any, no_sleep: Any) -> None:
    moved = member("b") | {"Addr": "10.0.0.9"}
    lists = [
        [member("b"), member("a")],
        [member("a", 4), member("b"), member("c")],
        [member("a", 3), moved, member("c", 2), member("d", 4)],
        [member("a", 1), moved],
    ]
    answers = [Answer.of(value, index) for index, value in enumerate(lists, 10)]
    fake.answer(PATH, *answers, Answer(403, b"Permission denied"))
    code, out, err = gossip("members", "-watch")
    assert changes(out) == [
        ("present", "a", "alive"),
        ("present", "b", "alive"),
        ("failed", "a", "failed"),
        ("join", "c", "alive"),
        ("leave", "a", "left"),
        ("update", "b", "alive"),
        ("leaving", "c", "leaving"),
        ("failed", "d", "failed"),
        ("join", "a", "alive"),
        ("reap", "c", "leaving"),
        ("reap", "d", "failed"),
    ]
    assert (code, err) == (
        1,
        "Error retrieving members: Unexpected response code: 403 (Permission denied)\n",
    )
    queries = [request.query for request in fake.requests]
    assert queries[0] == {}
    assert queries[1:] == [{"index": str(i), "wait": "55s"} for i in range(10, 14)]


def test_watch_in_json_is_a_line_per_change(fake: FakeAgent, gossip: Any, no_sleep: Any) -> None:
    fake.answer(PATH, Answer.of([member("a")], 5), Answer(400, b"Invalid index"))
    _, out, err = gossip("members", "-watch", "-format=json", "-status=alive")
    (line,) = out.splitlines()
    shown = json.loads(line)
    assert (shown["Change"], shown["Member"]) == ("present", member("a"))
    assert json.loads(err)["Status"] == 400


def test_watch_goes_on_when_the_agent_comes_back(
    fake: FakeAgent, gossip: Callable[..., Any], no_sleep: list[float]
) -> None:
    fake.answer(
        PATH,
        Answer.of([member("a")], 7),
        Answer(drop=True),
        Answer(500, b"starting"),
        Answer.of([member("a"), member("b")], 3),
        Answer(403),
    )
    _, out, err = gossip("members", "-watch")
    assert changes(out) == [("present", "a", "alive"), ("join", "b", "alive")]
    assert "closed the connection; trying again" in err
    assert f"connected to http://{fake.address} again" in err
    assert no_sleep == [1.0, 2.0]
    queries = [request.query for request in fake.requests]
    assert queries[2:4] == [{}, {}]  # the index of the old process means nothing to the new one


def test_watch_asks_an_agent_without_index_every_second(
    fake: FakeAgent, gossip: Any, no_sleep: list[float]
) -> None:
    fake.answer(PATH, Answer.of([member("a")]), Answer.of([member("a", 4)]), Answer(403))
    _, out, _ = gossip("members", "-watch")
    assert changes(out) == [("present", "a", "alive"), ("failed", "a", "failed")]
    assert no_sleep == [1.0, 1.0]


def test_watch_does_not_spin_on_an_agent_that_never_blocks(
    fake: FakeAgent, gossip: Any, no_sleep: list[float]
) -> None:
    fake.answer(PATH, *[Answer.of([member("a")], 5)] * 3, Answer(403))
    gossip("members", "-watch")
    assert no_sleep == [0.2, 0.2]


def test_watch_fails_when_the_agent_is_not_there_at_first(fake: FakeAgent, gossip: Any) -> None:
    code, out, err = gossip("members", "-watch", "-http-addr=127.0.0.1:1")
    assert (code, out) == (1, "")
    assert (
        err
        == "Error retrieving members: cannot connect to http://127.0.0.1:1: connection refused\n"
    )
