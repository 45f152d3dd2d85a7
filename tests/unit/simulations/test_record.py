"""What an experiment is found to have done, from a history made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulations.__main__ import main
from simulations.cluster.agent import ALIVE, FAILED
from simulations.cluster.compare import Comparison
from simulations.cluster.live import comparison_lines, record_lines
from simulations.cluster.record import Record, figures
from simulations.cluster.report import MEANINGS, comparison_document, record_document
from simulations.commands import cluster as commands
from simulations.plan import Plan
from simulations.world import NotReachedError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a", "b", "c")


def three() -> Record:
    record = Record("processes")
    record.begin(NAMES)
    return record


def killed(record: Record, *, noticed: dict[str, float]) -> Record:
    """c is killed at second 10, and noticed by others some seconds later."""
    record.ended("c", 10.0, "kill")
    record.did(10.0, 10.0, "kill", ["c"])
    for by, after in noticed.items():
        record.saw(by, "c", FAILED, 10.0 + after)
    return record


def test_an_event_counts_from_when_it_was_fired_at_the_other_nodes_that_run_on() -> None:
    record = three()
    record.arrived("1", "b", 5.2)  # the answer to who fired it may come later
    record.fired("1", "deploy", "a", 5.0)
    record.arrived("1", "a", 5.1)
    record.arrived("1", "c", 5.4)
    record.arrived("1", "b", 9.0)  # it is listed again
    assert record.spreads()["1"] == pytest.approx([0.2, 0.4])
    assert record.undelivered() == 0
    assert record.overhead() == pytest.approx(0.1)

    record.ended("c", 8.0, "kill")
    assert record.spreads()["1"] == pytest.approx([0.2])


def test_an_event_that_a_node_never_showed_is_missing() -> None:
    record = three()
    record.fired("1", "deploy", "a", 5.0)
    record.arrived("1", "a", 5.1)
    assert record.undelivered() == 2
    record.ended("b", 6.0, "leave")
    assert record.undelivered() == 1, "of nodes that ended nothing is expected"
    record.ended("a", 6.0, "kill")
    assert record.undelivered() == 0, "it ended with its node"
    record.arrived("1", "b", 5.5)
    assert record.undelivered() == 1, "others have it to pass on"


def test_a_kill_is_noticed_once_by_each_node_that_runs_on() -> None:
    record = killed(three(), noticed={"a": 4.0, "b": 5.0})
    record.saw("a", "c", FAILED, 30.0)
    assert record.detections() == {"c at 10.0 s": [4.0, 5.0]}
    assert record.false_alarms() == 0


def test_a_node_that_is_back_before_it_was_noticed_is_no_detection() -> None:
    record = killed(three(), noticed={})
    record.began("c", 12.0)
    record.saw("a", "c", FAILED, 20.0)
    assert record.detections() == {}
    assert record.false_alarms() == 1, "it runs"


def test_who_says_a_paused_node_failed_is_not_wrong() -> None:
    record = three()
    record.paused("b", 5.0, 8.0)
    record.saw("a", "b", FAILED, 7.0)
    record.saw("c", "b", FAILED, 8.5)
    assert record.false_alarms() == 1


def test_views_are_right_again_when_the_last_one_is() -> None:
    record = killed(three(), noticed={"a": 4.0, "b": 5.0})
    (deed, took), *_ = record.recoveries()
    assert (deed.what, took) == ("kill", 5.0)
    assert record.settled()


def test_views_that_are_not_right_before_the_next_step_count_for_none() -> None:
    record = killed(three(), noticed={"a": 4.0, "b": 5.0})
    record.did(12.0, 12.0, "fire", ["a"])
    assert [took for _, took in record.recoveries()] == [None, pytest.approx(3.0)]


def test_a_restarted_node_has_to_see_everybody_and_be_seen() -> None:
    record = killed(three(), noticed={"a": 4.0, "b": 5.0})
    record.began("c", 20.0)
    record.did(20.0, 20.0, "restart", ["c"])
    for by, about, at in [("a", "c", 21.0), ("b", "c", 22.0), ("c", "c", 20.5), ("c", "a", 21.0)]:
        record.saw(by, about, ALIVE, at)
    assert not record.settled()
    record.saw("c", "b", ALIVE, 23.0)
    assert record.settled()
    assert record.recoveries()[-1][1] == pytest.approx(3.0)


def test_a_fault_that_lasts_counts_from_its_end() -> None:
    record = three()
    record.did(10.0, 30.0, "partition", ["a"])
    record.did(20.0, 20.0, "fire", ["a"])
    for by, about in [("b", "a"), ("a", "b"), ("a", "c"), ("c", "a")]:
        record.saw(by, about, FAILED, 15.0)
        record.saw(by, about, ALIVE, 32.0)
    assert record.recoveries()[0][1] == pytest.approx(2.0)
    assert max(wrong for _, wrong in record.wrong_entries()) == 4
    assert figures([record])["views right after a cut, s"] == pytest.approx(2.0)


def test_a_run_says_what_went_wrong() -> None:
    record = three()
    record.problems.append("5.0 s fire a: no answer")
    record.saw("a", "b", FAILED, 7.0)
    text = "\n".join(record_lines(record))
    assert "PROBLEM: 5.0 s fire a: no answer" in text
    assert "Some view was WRONG in the end." in text


def test_a_comparison_names_the_figures_that_are_far_apart() -> None:
    real = killed(three(), noticed={"a": 4.0, "b": 5.0})
    near = killed(three(), noticed={"a": 3.9, "b": 5.1})
    far = killed(three(), noticed={"a": 4.0, "b": 9.0})

    assert Comparison(Plan(), real, [near]).far() == []
    assert Comparison(Plan(), real, [far]).far() == [
        "kill noticed by a node, s",
        "kill noticed by all, s",
    ]
    assert "Further apart than 15 %, or on one side only: kill noticed" in "\n".join(
        comparison_lines(Comparison(Plan(), real, [far]))
    )  # fmt: skip


def test_a_figure_that_only_one_side_has_is_far_and_one_that_neither_has_is_not() -> None:
    noticed = killed(three(), noticed={"a": 4.0, "b": 5.0})
    nobody_noticed = killed(three(), noticed={})
    missing = [
        "kill noticed first, s",
        "kill noticed by a node, s",
        "kill noticed by all, s",
    ]

    assert Comparison(Plan(), noticed, [nobody_noticed]).far() == missing
    assert Comparison(Plan(), nobody_noticed, [noticed]).far() == missing
    assert Comparison(Plan(), nobody_noticed, [nobody_noticed]).far() == []


def test_the_report_of_a_run_says_what_every_figure_is_and_how_to_get_it_again() -> None:
    record = three()
    record.did(1.0, 4.5, "partition", ["node-000"])
    record.facts |= {"CPU of an agent, %": 0.5, "packets_delayed": 3}

    report = record_document(Plan(name="mine"), record, "the command").lines

    assert figures([record]).keys() <= MEANINGS.keys()
    assert "Again: `the command`" in report
    rows = [line.split(" | ") for line in report if line.startswith("| ")]
    assert ["| 1.0 to 4.5", "partition", "node-000"] in [row[:3] for row in rows]
    told = [row for row in rows if row[0][2:] in {*figures([record]), *record.facts}]
    assert len(told) > 3
    assert all(len(row) == 3 and row[2] != "|" for row in told)


def test_problems_of_either_side_are_told_and_make_the_command_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, troubled = three(), three()
    troubled.problems.append("events are missing")
    comparison = Comparison(Plan(), three(), [calm, troubled])
    assert comparison.problems == ["simulator, seed 2: events are missing"]
    assert comparison.to_dict()["problems"] == comparison.problems
    assert "PROBLEM: simulator, seed 2: events are missing" in list(comparison_lines(comparison))
    report = comparison_document(comparison, "the command").lines
    assert "Again: `the command`" in report
    assert "* did not work: simulator, seed 2: events are missing" in report

    monkeypatch.setattr(commands, "compare_with_virtual", lambda *_: comparison)
    assert main(["compare", "--out", str(tmp_path)]) == 1
    monkeypatch.setattr(
        commands, "compare_with_virtual", lambda *_: Comparison(Plan(), three(), [calm])
    )
    assert main(["compare", "--out", str(tmp_path)]) == 0


def test_simulated_nodes_that_do_not_find_together_are_an_error_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apart(*_: object) -> Comparison:
        raise NotReachedError("not true after 120 s")

    monkeypatch.setattr(commands, "compare_with_virtual", apart)

    assert main(["compare", "--out", str(tmp_path)]) == 1
    assert "error: not true after 120 s" in capsys.readouterr().err
