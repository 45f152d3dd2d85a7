"""``python -m simulations``: its help says what each command is for, and what it shows can be typed."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.__main__ import command_line, main
from simulations.document import Document

README = (Path(__file__).parents[3] / "README.md").read_text()


def commands() -> dict[str, argparse.ArgumentParser]:
    (table,) = (
        action
        for action in command_line()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return table.choices


def shown(text: str) -> list[list[str]]:
    """The command lines in a text, without what is said beside them."""
    lines = re.findall(r"^ *python -m simulations (.*?)(?:   .*| [#>].*)?$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("name", commands())
def test_the_help_of_every_command_says_what_it_does_and_shows_examples_of_it(name: str) -> None:
    parser = commands()[name]

    assert parser.description
    assert "`" not in parser.format_help()
    examples = shown(parser.epilog or "")
    assert name in {example[0] for example in examples}
    for example in examples:
        command_line().parse_args(example)


@pytest.mark.parametrize("text", [command_line().format_help(), README], ids=["help", "README"])
def test_what_is_shown_elsewhere_can_be_typed(text: str) -> None:
    examples = shown(text)

    assert len(examples) > 8
    for example in examples:
        command_line().parse_args(example)


def test_the_help_of_commands_that_take_a_plan_says_what_a_plan_may_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("run", "cluster"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "  force_leave  nodes to [prune]\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "0"], "'0' is not a whole number between 1 and 100"),
        (["--http-port", "70000"], "'70000' is not a whole number between 1 and 65,535"),
    ],
)
def test_agents_refuses_what_cannot_be(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["agents", *arguments])

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_agents_refuses_more_of_them_than_a_machine_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["agents", "-n", "60", "--datacenters", "2"]) == 2
    assert "-n 60 is not between 1 and 50, 100 agents in all" in capsys.readouterr().err


def test_a_reader_that_is_gone_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulations", "plan", "17", "--minutes", "1000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()

    assert (process.returncode, errors) == (0, b"")


def test_a_report_that_fails_to_be_written_after_all_is_an_error_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Document, "save", full)

    assert main(["scenario", "load", "--tiny", "--jobs", "1", "--out", str(tmp_path)]) == 1
    assert "error: [Errno 28] No space left on device" in capsys.readouterr().err
