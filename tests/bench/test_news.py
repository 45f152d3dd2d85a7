"""News from logs and from our node: whole lines only, the first time counts, the last view holds."""

from __future__ import annotations

import pytest

from simulations.bench.news import Kind, NewsFeed, json_news, log_news

SERF = (
    b"    2026/01/01 01:13:50 [INFO] serf: EventMemberJoin: a 127.0.0.1\n"
    b"    2026/01/01 01:13:51 [INFO] agent: Received event: user-event: deploy\n"
    b"    2026/01/01 01:13:52 [INFO] agent: Received event: member-join\n"
    b"    2026/01/01 01:13:53 [INFO] memberlist: Suspect b has failed, no acks received\n"
    b"    2026/01/01 01:13:57 [INFO] serf: EventMemberFailed: b 127.0.0.1\n"
    b"    2026/01/01 01:13:59 [INFO] serf: EventMemberLeave: c 127.0.0.1\n"
)
CONSUL = (
    b"2026-01-01T01:14:04Z [INFO]  agent.server.serf.wan: serf: EventMemberJoin: c.dc1 127.0.0.1\n"
    b"2026-01-01T01:14:04Z [INFO]  agent.server.serf.lan: serf: EventMemberJoin: c 127.0.0.1\n"
    b"2026-01-01T01:14:07Z [DEBUG] agent.server: User event: event=foo\n"
    b"2026-01-01T01:14:07Z [DEBUG] agent: new event: event_name=foo event_id=7facadcd\n"
)
OURS = (
    b"2026-01-01T01:14:03.000Z [INFO]  agent.wan: MemberJoined member=a.dc1 address=127.0.0.1\n"
    b"2026-01-01T01:14:04.000Z [INFO]  agent.lan: MemberJoined member=a address=127.0.0.1\n"
    b"2026-01-01T01:14:05.000Z [DEBUG] agent.agent: event name=deploy id=7facadcd\n"
    b"2026-01-01T01:14:06.000Z [INFO]  agent.lan: MemberFailed member=a address=127.0.0.1\n"
    b"2026-01-01T01:14:07.000Z [INFO]  agent.lan: MemberLeft member=b address=127.0.0.1\n"
    b"2026-01-01T01:14:08.000Z [INFO]  agent.lan: MemberUpdated member=b address=127.0.0.1\n"
)


def test_our_agents_log_lines_become_news() -> None:
    assert [(n.kind, n.subject) for n in log_news(1.0, OURS)] == [
        (Kind.JOINED, "a"),
        (Kind.EVENT, "deploy"),
        (Kind.FAILED, "a"),
        (Kind.LEFT, "b"),
    ]


def test_serf_log_lines_become_news() -> None:
    assert [(n.kind, n.subject) for n in log_news(1.0, SERF)] == [
        (Kind.JOINED, "a"),
        (Kind.EVENT, "deploy"),
        (Kind.SUSPECTED, "b"),
        (Kind.FAILED, "b"),
        (Kind.LEFT, "c"),
    ]


def test_a_consul_log_reports_each_event_once_and_nothing_of_the_wan_pool() -> None:
    assert [(n.kind, n.subject) for n in log_news(1.0, CONSUL)] == [
        (Kind.JOINED, "c"),
        (Kind.EVENT, "foo"),
    ]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_lines_cut_anywhere_are_read_whole_with_the_time_of_their_end(size: int) -> None:
    feed = NewsFeed(log_news)
    for at, start in enumerate(range(0, len(SERF), size)):
        feed.watch(float(at), SERF[start : start + size])

    assert len(feed.all()) == 5
    end = SERF.index(b"deploy\n") + len(b"deploy")
    assert feed.first(Kind.EVENT) == {"deploy": float(end // size)}


def test_a_node_reports_its_own_times_and_answers_are_no_news() -> None:
    feed = NewsFeed(json_news)
    feed.watch(99.0, b'=ok\n[1.25,"join","a"]\n[1.5,"event","deploy"]\n[2.0,"join","a"]\n')

    assert feed.first(Kind.JOINED) == {"a": 1.25}
    assert feed.first(Kind.EVENT) == {"deploy": 1.5}


def test_the_view_is_the_last_word_on_each_member() -> None:
    feed = NewsFeed(json_news)
    feed.watch(
        0.0, b'[1,"join","a"]\n[1,"join","b"]\n[2,"failed","a"]\n[3,"join","a"]\n[4,"leave","b"]\n'
    )

    assert feed.view() == {"a": Kind.JOINED, "b": Kind.LEFT}
    assert feed.alive() == 1
