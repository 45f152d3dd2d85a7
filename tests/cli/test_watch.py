"""``gossip watch``: what it asks, what it prints, and how it runs its handler."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.fake_agent import Answer, FakeAgent, event, member
from tests.cli.test_process import ROOT, environment
from tests.helpers_agent import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]
    Follower = Callable[..., subprocess.Popen[str]]

EVENTS = "/v1/event/list"
NODES = "/v1/catalog/nodes"
FAIL = ["-shell=false", "sh", "-c", "cat; echo $CONSUL_INDEX; exit 3"]
"""A handler after whose first run the watch ends."""


def test_without_a_handler_the_answer_is_printed_once(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer.of([{"Node": "\u00fc\u009b", "Meta": None}], index=7))
    code, out, err = gossip("watch", "-type=nodes")
    assert (code, err) == (0, "")
    assert out == ('[\n    {\n        "Node": "\\u00fc\\u009b",\n        "Meta": null\n    }\n]\n')


def test_an_empty_answer_is_printed_too(fake: FakeAgent, gossip: Any) -> None:
    assert gossip("watch", "-type=event") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("argv", "path", "query"),
    [
        (["-type=event", "-name=x"], EVENTS, {"name": "x"}),
        (["-type=members", "-wan"], "/v1/agent/members", {"wan": "1"}),
        (["-type=nodes", "-stale", "-dc=dc2"], NODES, {"dc": "dc2"}),
        (
            ["-type=service", "-service=w/b", "-tag=a", "-tag=b", "-passingonly=true"],
            "/v1/health/service/w%2Fb",
            {"tag": "b", "passing": "1"},
        ),
        (["-type=service", "-service=web", "-passingonly=0"], "/v1/health/service/web", {}),
        (["-type=checks"], "/v1/health/state/any", {}),
        (["-type=checks", "-state=critical"], "/v1/health/state/critical", {}),
    ],
)
def test_flags_say_what_is_asked(
    fake: FakeAgent, gossip: Any, argv: list[str], path: str, query: dict[str, str]
) -> None:
    fake.answer(path, Answer.of([], index=1))
    assert gossip("watch", *argv, "-token=t").code == 0
    (request,) = fake.requests
    assert (request.path, request.query, request.token) == (path, query, "t")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([], "Watch type must be specified"),
        (["-type=nope"], "Unsupported watch type: nope"),
        (["-type=service"], "Must specify a single service to watch"),
        (["-type=checks", "-state=any", "-service=x"], "Cannot specify service and state"),
        (["-type=nodes", "-tag=x"], "Invalid parameters: [tag]"),
        (["-type=service", "-service=x", "-passingonly=y"], 'invalid boolean "y"'),
        (["-type=nodes", "-nonsense"], "unknown flag -nonsense"),
    ],
)
def test_what_makes_no_watch_is_not_asked(
    fake: FakeAgent, gossip: Any, argv: list[str], error: str
) -> None:
    code, out, err = gossip("watch", *argv)
    assert (code, out) == (1, "")
    assert error in err
    assert fake.requests == []


def test_the_first_request_fails_like_any_other(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer(500, b"No cluster leader"), Answer(200, b"<html>"))
    for reason in ("Unexpected response code: 500 (No cluster leader)", "not JSON"):
        code, out, err = gossip("watch", "-type=nodes", *FAIL)
        assert (code, out) == (1, "")
        assert err.startswith("Error querying Consul agent: ")
        assert reason in err
    assert gossip("watch", "-type=nodes", "-http-addr=127.0.0.1:1").code == 1


# Handlers


def test_a_handler_gets_json_in_a_line_and_the_index(fake: FakeAgent, gossip_process: Run) -> None:
    fake.add_event(event(1, payload=b"x"))
    code, out, err = gossip_process("-type=event", *FAIL)
    line, index = out.splitlines()
    assert json.loads(line) == [event(1, payload=b"x")]
    assert int(index) > 1
    assert (code, err) == (1, "Error executing handler: exit status 3\n")


def test_by_default_a_shell_reads_the_words_and_with_shell_false_none(
    fake: FakeAgent, gossip_process: Run
) -> None:
    echo = ["echo", "$(echo a)", "  b", ";exit 4"]
    assert gossip_process("-type=event", *echo)[:2] == (1, "a b\n")
    words = "import sys; print(sys.argv[1:]); sys.exit(1)"
    argv = ["-shell=false", sys.executable, "-c", words, "$(a)", "  b", "-type=x", "-help"]
    assert gossip_process("-type=event", *argv)[1] == "['$(a)', '  b', '-type=x', '-help']\n"


def test_the_shell_is_the_users(
    fake: FakeAgent, gossip_process: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\necho mine "$@"\nexit 1\n')
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    assert gossip_process("-type=event", "do", "it")[1] == "mine -c do it\n"


def test_a_handler_that_cannot_be_started_or_is_killed_ends_the_watch(
    fake: FakeAgent, gossip_process: Run
) -> None:
    argv = ("-type=event", "-shell=false")
    code, _, err = gossip_process(*argv, "/nonexistent/x")
    assert (code, err.startswith("Error starting handler: ")) == (1, True)
    code, _, err = gossip_process(*argv, "sh", "-c", "kill -9 $$")
    assert (code, err) == (1, "Error executing handler: signal 9\n")


def test_a_handler_need_not_read_its_input(fake: FakeAgent, gossip_process: Run) -> None:
    fake.set_members(*(member(f"node-{number}", text="x" * 200) for number in range(1000)))
    found = gossip_process("-type=members", "echo done; exit 3")
    assert found == (1, "done\n", "Error executing handler: exit status 3\n")


def test_an_agent_that_fails_or_goes_away_is_asked_again(
    fake: FakeAgent, gossip: Any, no_sleep: list[float], tmp_path: Path
) -> None:
    file = tmp_path / "told"
    fake.answer(
        NODES,
        Answer.of(["a"], index=70),
        Answer(500, b"No cluster leader"),
        Answer(drop=True),
        Answer.of(["a"], index=5),
        Answer.of(["b"], index=6),
    )
    code, _, err = gossip("watch", "-type=nodes", f"cat >>{file}; ! grep b {file}")
    assert (code, file.read_text()) == (1, '["a"]\n["b"]\n')
    assert no_sleep == [5, 20]
    assert "500 (No cluster leader); trying again in 5 seconds\n" in err
    assert "trying again in 20 seconds\n" in err
    assert [request.query.get("index") for request in fake.requests] == [
        None,
        "70",
        None,
        None,
        "5",
    ]


def test_an_agent_that_refuses_a_later_request_ends_the_watch(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer.of([], index=7), Answer(403, b"Permission denied"))
    code, _, err = gossip("watch", "-type=nodes", "cat >/dev/null")
    assert code == 1
    assert err == (
        "Error querying Consul agent: Unexpected response code: 403 (Permission denied)\n"
    )


def test_each_change_is_told_until_the_watch_is_interrupted(
    fake: FakeAgent, follower: Follower, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    fake.add_event(event(1))
    process = follower("-type=event", f"cat >>{file}")

    def names(count: int) -> list[list[int]]:
        def told() -> list[list[int]] | None:
            lines = file.read_text().splitlines() if file.exists() else []
            found = [[one["LTime"] for one in json.loads(line)] for line in lines]
            return found if len(found) == count else None

        found: list[list[int]] = wait_for(told)
        return found

    assert names(1) == [[1]]
    fake.add_event(event(2), event(3))
    assert names(2) == [[1], [2, 3]]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_watch_ends_its_handler(
    fake: FakeAgent, follower: Follower, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "pid"
    process = follower("-type=event", f"echo $$ >{file}; exec sleep 1000")
    handler = int(wait_for(lambda: file.exists() and file.read_text().strip()))
    process.send_signal(number)
    assert process.wait(10) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(handler, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_handler_starts_waits_until_it_can_be_ended(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)
            signal.raise_signal(number)

    monkeypatch.setattr("agent.commands.watch.subprocess.Popen", Popen)
    assert gossip("watch", "-type=event", "exec sleep 1000").code == 0
    assert [process.returncode for process in started] == [-signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# Processes


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a condition gives once that is true."""
    return asyncio.run(eventually(condition, seconds=20))


@pytest.fixture
def gossip_process(fake: FakeAgent) -> Callable[..., tuple[int, str, str]]:
    """Runs the command as a process, whose output its handler shares."""

    def run(*argv: str) -> tuple[int, str, str]:
        found = subprocess.run(
            [sys.executable, "-m", "agent", "watch", *argv],
            cwd=ROOT,
            env=environment(fake.address),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return found.returncode, found.stdout, found.stderr

    return run


@pytest.fixture
def follower(fake: FakeAgent) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "agent", "watch", *argv]
        started.append(
            subprocess.Popen(command, cwd=ROOT, env=environment(fake.address), text=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.wait(10)
