"""The command as a process: what it imports, its exit codes, signals and pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.fake_agent import FakeAgent, event, member

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HEAVY = {"aiohttp", "asyncio", "asyncio_dgram", "cryptography", "msgpack", "gossip", "dataclasses"}


def environment(address: str = "127.0.0.1:1") -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CONSUL_")}
    return kept | {"CONSUL_HTTP_ADDR": address, "PYTHONWARNINGS": "error"}


def run(*argv: str, address: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *argv],
        cwd=ROOT,
        env=environment(address),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Follower:
    """A command that follows changes, with its lines."""

    def __init__(self, address: str, *argv: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent", *argv],
            cwd=ROOT,
            env=environment(address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line; the test's own timeout bounds the wait."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupt(self) -> tuple[int, str]:
        """Exit code and stderr after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err

    def close(self) -> None:
        """End it whatever happened."""
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def watch(fake: FakeAgent) -> Iterator[Follower]:
    fake.members = [member("a")]
    follower = Follower(fake.address, "members", "-watch", "-format=json")
    yield follower
    follower.close()


@pytest.fixture
def tail(fake: FakeAgent) -> Iterator[Follower]:
    follower = Follower(fake.address, "events", "-follow", "-format=json")
    yield follower
    follower.close()


def test_version_runs_as_a_module() -> None:
    result = run("version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("gossip-agent v")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ([], 127),
        (["nonsense"], 127),
        (["-h"], 0),
        (["members", "-h"], 0),
        (["members", "-nope"], 1),
        (["members"], 1),
        (["agent"], 1),
        (["-datacenter=a.b", "-dev"], 1),
        (["decode", "0b81a55365714e6f0c"], 0),
        (["decode", "ff"], 1),
        (["keygen"], 0),
    ],
)
def test_exit_codes(argv: list[str], code: int) -> None:
    result = run(*argv)
    assert result.returncode == code
    assert "Traceback" not in result.stderr


def test_members_exits_with_2_when_nothing_matches(fake: FakeAgent) -> None:
    assert run("members", address=fake.address).returncode == 2


@pytest.mark.parametrize("argv", [["members"], ["events"], ["info"], ["event", "x"], ["join", "x"]])
def test_short_commands_import_nothing_heavy(fake: FakeAgent, argv: list[str]) -> None:
    fake.members = [member("a")]
    program = (
        "import sys; from agent.cli import main; code = main(sys.argv[1:]); "
        "print('\\n'.join({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); "
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *argv],
        cwd=ROOT,
        env=environment(fake.address),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    imported = set(result.stderr.split())
    assert "agent" in imported
    assert not imported & HEAVY


def test_a_watch_shows_a_change_when_it_happens_and_ends_with_0(
    fake: FakeAgent, watch: Follower
) -> None:
    assert json.loads(watch.line())["Change"] == "present"
    fake.wait_for_request(2, "/v1/agent/members")
    fake.set_members(member("a", 4))
    change = json.loads(watch.line())
    assert (change["Change"], change["Member"]["Name"]) == ("failed", "a")
    fake.wait_for_request(3, "/v1/agent/members")
    assert watch.interrupt() == (0, "")


def test_a_follower_shows_an_event_when_it_happens_and_ends_with_0(
    fake: FakeAgent, tail: Follower
) -> None:
    fake.wait_for_request(2, "/v1/event/list")
    fake.add_event(event(1, payload=b"x"))
    assert json.loads(tail.line()) == event(1, payload=b"x")
    fake.wait_for_request(3, "/v1/event/list")
    assert tail.interrupt() == (0, "")


def test_a_reader_that_has_seen_enough_ends_the_command_cleanly(fake: FakeAgent) -> None:
    fake.members = [member(f"node{number}") for number in range(5000)]
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "members"],
        cwd=ROOT,
        env=environment(fake.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("Node")
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_a_follower_ends_when_nobody_reads_it_any_more(fake: FakeAgent, tail: Follower) -> None:
    fake.add_event(event(1))
    assert tail.line()
    assert tail.process.stdout is not None
    tail.process.stdout.close()
    fake.add_event(event(2))
    assert tail.process.wait(20) == 0
    assert tail.process.stderr is not None
    assert tail.process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_an_output_that_cannot_be_written_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent", "keygen"],
            cwd=ROOT,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        1,
        "cannot write the output: No space left on device\n",
    )
