"""``gossip agent``: how it hands its configuration to the agent, and how it reports mistakes."""

from __future__ import annotations

import json
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import AgentConfig, AgentConfigError
from gossip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Runner(types.ModuleType):
    """Stands in for the module that runs an agent."""

    def __init__(self) -> None:
        super().__init__("agent.run")
        self.configs: list[AgentConfig] = []
        self.result: int | Exception = 0
        self.reload: Callable[[], AgentConfig] | None = None

    def run(self, config: AgentConfig, *, reload: Callable[[], AgentConfig]) -> int:
        self.configs.append(config)
        self.reload = reload
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    runner = Runner()
    monkeypatch.setitem(sys.modules, "agent.run", runner)
    return runner


@pytest.mark.parametrize(
    "argv", [["agent", "-dev", "-node=n"], ["-dev", "-node=n"], ["--dev", "--node", "n"]]
)
def test_flags_without_a_command_are_those_of_agent(
    gossip: Any, runner: Runner, argv: list[str]
) -> None:
    assert gossip(*argv) == (0, "", "")
    (config,) = runner.configs
    assert (config.dev, config.node_name) == (True, "n")


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_the_agents(gossip: Any, runner: Runner, code: int) -> None:
    runner.result = code
    assert gossip("-dev").code == code


def test_an_agent_that_cannot_start_says_why(gossip: Any, runner: Runner) -> None:
    runner.result = ConfigError("cannot bind the gossip address: in use")
    assert gossip("-dev") == (1, "", "cannot bind the gossip address: in use\n")
    assert json.loads(gossip("-dev", "-format=json").err) == {
        "Error": "cannot bind the gossip address: in use"
    }


def test_mistakes_are_reported_together_and_nothing_is_started(
    gossip: Any, runner: Runner, tmp_path: Path
) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"datacentre": "x"}')
    code, out, err = gossip("agent", "-dc=a.b", "-nod=x", f"-config-file={file}")
    assert (code, out, runner.configs) == (1, "", [])
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "see gossip agent -help"
    code, _, err = gossip("agent", "-dc=a.b", "-nod=x", "-format=json", f"-config-file={file}")
    assert code == 1
    assert json.loads(err)["Errors"] == lines[:3]


def test_a_reload_reads_the_files_again(gossip: Any, runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"log_level": "info"}')
    gossip("agent", "-dev", f"-config-file={file}")
    assert runner.reload is not None
    file.write_text('{"log_level": "err"}')
    assert runner.reload().log_level == "ERR"
    file.write_text("{")
    with pytest.raises(AgentConfigError):
        runner.reload()
