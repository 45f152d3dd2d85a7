"""Fixtures of the command line's tests: an agent to talk to, and a way to run the command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from agent.cli import main
from tests.cli.fake_agent import FakeAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = "Callable[..., Result]"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    for name in [name for name in os.environ if name.startswith("CONSUL_")]:
        monkeypatch.delenv(name)
    agent = FakeAgent()
    monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
    yield agent
    agent.close()


@pytest.fixture
def gossip(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs the command in this process and returns exit code and output."""

    def run(*argv: str) -> Result:
        code = main(argv)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts take no time; they are listed, without those that would take none anyway."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds:
            slept.append(seconds)

    monkeypatch.setattr("agent.commands.http.time.sleep", sleep)
    return slept
