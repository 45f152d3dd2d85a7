"""The report: medians, ratios to peers of the same run, goals judged, and what cannot be told left out."""

from __future__ import annotations

import json
import math

import pytest

from simulations.bench.figure import Goal, Verdict
from simulations.bench.figures import FIGURES
from simulations.bench.lab import share
from simulations.bench.peers import parse
from simulations.bench.report import Report, number


def report() -> Report:
    made = Report(["serf", "node"], {"agents": 10})
    made.add("event", "serf", {"all": [0.4, 0.6, 0.5]})
    made.add("event", "node", {"all": [0.02]})
    made.add("event", "node", {"all": [0.04]})
    made.add("join", "serf", {"complete": [math.inf, math.inf, 0.2]})
    made.add("join", "node", {"complete": [0.1]})
    return made


def test_values_are_medians_over_all_rounds_and_ratios_ours_to_theirs() -> None:
    assert report().value("event", "all", "node") == pytest.approx(0.03)
    assert report().ratio("event", "all", "node", "serf") == pytest.approx(0.06)


def test_there_is_no_ratio_to_what_never_happened_or_was_not_measured() -> None:
    assert report().ratio("join", "complete", "node", "serf") is None
    assert report().ratio("event", "all", "node", "consul") is None


def test_the_table_shows_ranges_goals_and_verdicts() -> None:
    lines = report().as_table().splitlines()

    row = next(line for line in lines if "at all members" in line)
    assert "0.5 (0.4..0.6)" in row
    assert "0.06" in row
    assert row.endswith("<= 0.05 x serf (at least 0.25)  node at least")
    assert any("never" in line for line in lines if "every view" in line)


def test_the_json_is_strict_json_with_null_for_never() -> None:
    text = json.dumps(report().as_json(), allow_nan=False)

    rows = {(row["figure"], row["quantity"]): row for row in json.loads(text)["figures"]}
    assert rows["join", "complete"]["samples"]["serf"] == [None, None, 0.2]
    assert rows["event", "all"]["verdict"] == {"node": "at least"}


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(0.05, least=0.25), 0.05, Verdict.MET),
        (Goal(0.05, least=0.25), 0.25, Verdict.LEAST),
        (Goal(0.05, least=0.25), 0.26, Verdict.MISSED),
        (Goal(10, least=3, above=True), 12, Verdict.MET),
        (Goal(10, least=3, above=True), 2.9, Verdict.MISSED),
        (Goal(100, above=True, against=None), 99.99, Verdict.MISSED),
        (Goal(0, against=None), math.inf, Verdict.MISSED),
    ],
)
def test_goals_are_judged_in_their_direction(goal: Goal, value: float, verdict: Verdict) -> None:
    assert goal.judge(value) is verdict


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 1.0), (0.5, 5.0), (0.51, 6.0), (0.99, 10.0), (1.0, 10.0)]
)
def test_share_is_the_time_by_which_that_part_had_passed(part: float, expected: float) -> None:
    assert share([float(i) for i in range(1, 11)], part) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.inf, "never"), (0.0, "0"), (0.12345, "0.123"), (1234.5, "1234")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    "arguments",
    [["-figures", "idle,nonsense"], ["-systems", "etcd"], ["-n", "2"], ["-seconds", "0"]],
)
def test_a_wrong_command_line_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)

    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", FIGURES)
def test_quantities_of_a_figure_have_keys_of_their_own(name: str) -> None:
    keys = [quantity.key for quantity in FIGURES[name].quantities]

    assert len(set(keys)) == len(keys)
