"""``gossip monitor``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.fake_agent import Answer, FakeAgent

PATH = "/v1/agent/monitor"


@pytest.mark.parametrize(
    ("argv", "query"),
    [
        ([], "INFO"),
        (["-log-level=debug"], "debug"),
        (["--log-level", "ERR"], "ERR"),
    ],
)
def test_the_level_is_info_or_the_one_given(
    fake: FakeAgent, gossip: Any, argv: list[str], query: str
) -> None:
    fake.answer(PATH, Answer(body=b"one\ntwo \x1b[2J\n"))
    result = gossip("monitor", *argv)

    assert result.out == "one\ntwo \\x1b[2J\n"
    assert fake.requests[0].query == {"loglevel": query}


def test_an_agent_that_goes_away_is_an_error(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(PATH, Answer(body=b"one\n"))
    code, _, err = gossip("monitor")

    assert code == 1
    assert err == f"Error monitoring the log: http://{fake.address} ended the connection\n"


@pytest.mark.parametrize("flag", ["-format=json", "-log-json"])
def test_json_lines_are_asked_for(fake: FakeAgent, gossip: Any, flag: str) -> None:
    fake.answer(PATH, Answer(body=b'{"@level":"info"}\n'))

    assert gossip("monitor", flag).out == '{"@level":"info"}\n'
    assert fake.requests[0].query == {"loglevel": "INFO", "logjson": "true"}


def test_a_level_that_the_agent_does_not_know_is_its_error(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(PATH, Answer(400, b"Unknown log level: loud"))
    code, out, err = gossip("monitor", "-log-level=loud")

    assert (code, out) == (1, "")
    assert err == (
        "Error monitoring the log: Unexpected response code: 400 (Unknown log level: loud)\n"
    )


def test_an_interrupt_is_a_success(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answer(PATH, Answer(body=b"one\ntwo\n"))
    monkeypatch.setattr("agent.client.Client.lines", _interrupted)

    assert gossip("monitor") == (0, "one\n", "")


def _interrupted(*_args: object) -> Any:
    yield "one"
    raise KeyboardInterrupt
