"""``python -m simulations simulate``: virtual time and processes in one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulations.__main__ import main
from simulations.commands import cluster, scenario, simulate
from simulations.document import Document, join
from simulations.scenario import Curve, Lines

PLAN = """
name = "one is killed"
nodes = 3
seconds = 8
[settings]
probe_interval = 0.2
probe_timeout = 0.1
suspicion_mult = 2
[[steps]]
at = 1
do = "fire"
nodes = "first:1"
[[steps]]
at = 2
do = "kill"
nodes = "last:1"
"""


def test_one_report_has_both_kinds_of_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    out = tmp_path / "out"

    status = main(
        [
            "simulate",
            "--tiny",
            "--jobs",
            "1",
            "--nodes",
            "3",
            "--plan",
            str(plan),
            "--out",
            str(out),
        ]
    )

    printed = capsys.readouterr().out
    assert status == 0, printed
    report = (out / "report.md").read_text()
    headings = [line for line in report.splitlines() if line.startswith("#")]
    assert headings[:2] == ["# What a pool does", "## Simulated experiments"]
    assert "## one is killed: 3 agents as processes" in headings
    images = {line.split("](")[1][:-1] for line in report.splitlines() if line.startswith("![")}
    assert len(images) >= 5
    assert all((out / image).read_bytes().startswith(b"\x89PNG") for image in images)
    data = json.loads((out / "report.json").read_text())
    assert set(data) == {"virtual", "processes"}
    assert printed.splitlines()[-1] == f"Report: {out / 'report.md'}"


@pytest.mark.parametrize("place", ["file", "folder that takes no file"])
@pytest.mark.parametrize("command", ["simulate", "cluster", "compare", "scenario spread"])
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    command: str,
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    for work in ("run_processes", "compare_with_virtual"):
        monkeypatch.setattr(cluster, work, lambda *_: pytest.fail("it must not start"))
    monkeypatch.setattr(scenario, "run_scenarios", lambda *_: pytest.fail("it must not start"))
    out = tmp_path / "file"
    if place != "file":
        out = Path("/proc")  # whose mode says that root may write there
        if not out.is_dir():
            pytest.skip("there is no such folder on this system")

    status = main([*command.split(), "--out", str(out)])

    assert status == 2
    assert "no report can be written to" in capsys.readouterr().err


def test_a_plan_that_processes_cannot_do_is_refused_before_minutes_of_virtual_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"steps": [{"at": 1, "do": "slow", "nodes": "all", "delay": 1}]}')
    monkeypatch.setattr(
        simulate, "run_scenarios", lambda *_: pytest.fail("virtual time has to wait")
    )

    status = main(["simulate", "--plan", str(plan), "--out", str(tmp_path / "out")])

    assert status == 2
    assert "steps[0]: slow is for the simulator only" in capsys.readouterr().err


def test_joined_documents_keep_their_order_and_their_plots() -> None:
    plot = Lines("a", "A", "x", "y", [Curve("c", [(0, 1.0)])])
    one = Document(["# One", "text", "## Below"], [("a.png", plot)], {"a": 1})
    two = Document(["# Two"], [], {"b": 2})

    whole = join("Both", "Opening.", {"one": one, "two": two})

    assert whole.lines == [
        "# Both",
        "",
        "Opening.",
        "",
        "## One",
        "text",
        "### Below",
        "",
        "## Two",
    ]
    assert whole.plots == [("a.png", plot)]
    assert whole.data == {"one": {"a": 1}, "two": {"b": 2}}


def test_a_report_replaces_the_one_that_was_there_with_its_plots_and_nothing_else(
    tmp_path: Path,
) -> None:
    plot = Lines("a", "A", "x", "y", [Curve("c", [(0, 1.0)])])
    Document(["# One", "![A](a.png)", "![B](b.png)"], [("a.png", plot), ("b.png", plot)], {}).save(
        tmp_path
    )
    (tmp_path / "mine.png").write_bytes(b"")

    Document(["# Two", "![A](a.png)"], [("a.png", plot)], {}).save(tmp_path)

    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["a.png", "mine.png", "report.json", "report.md"]
