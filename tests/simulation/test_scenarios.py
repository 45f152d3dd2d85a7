"""Scenarios at their smallest, their reports, plots and command."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from simulations import plots, scenarios
from simulations.__main__ import main
from simulations.report import Part, as_json, as_markdown, document, number
from simulations.scenario import (
    Bars,
    Case,
    Curve,
    Findings,
    Goal,
    Lines,
    Measured,
    Plan,
    Run,
    Scenario,
    Size,
    Table,
    grid,
    mean,
    perform,
    select,
)
from simulations.scenarios import SCENARIOS
from simulations.world import NotReachedError

PNG = b"\x89PNG\r\n\x1a\n"
LINES = Lines(
    "times", "Times", "members", "time, s",
    [Curve("measured", [(10, 1.0), (100, 2.0)]), Curve("theory", [(10, 1.1), (100, 2.1)], theory=True)],
    log_x=True, log_y=True,
)  # fmt: skip
BARS = Bars(
    "kinds", "Kinds", "how many", ["one", "two"], {"a": [0, 3], "b": [10, 2000]}, log_y=True
)


def measure(case: Case, seed: int) -> Measured:
    if case["nodes"] == 13:
        raise NotReachedError("not true after 1 s")
    return {"time, s": case["nodes"] / 10 + seed}


def read(runs: object) -> Findings:
    assert isinstance(runs, list)
    high = max(run.measured["time, s"] for run in runs)
    return Findings(
        Table(("members", "time, s"), [(run.case["nodes"], run.measured["time, s"]) for run in runs]),
        [LINES, BARS],
        [Goal("it is fast", f"{high:g} s", high < 5)],
    )  # fmt: skip


EXAMPLE = Scenario(
    name="example", title="An example", question="How fast?", setup="Nothing.", explanation="Because.",
    sizes={size: Plan(grid(nodes=[10, 20]), 2) for size in Size},
    run=measure, read=read,
)  # fmt: skip


def part_of(scenario: Scenario) -> Part:
    return Part.of(scenario, [run for _, run in perform([scenario], Size.TINY)])


# Every scenario


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_of_the_smallest_size_meets_its_goals(name: str) -> None:
    scenario = SCENARIOS[name]

    part = part_of(scenario)

    assert [goal for goal in part.goals if not goal.met] == []
    assert part.findings is not None
    assert part.findings.table.rows
    assert all(len(row) == len(part.findings.table.head) for row in part.findings.table.rows)
    assert part.findings.plots


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_what_it_asks_and_explains(name: str) -> None:
    scenario = SCENARIOS[name]

    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert len(scenario.explanation) > 200
    assert set(scenario.sizes) == set(Size)
    assert all(plan.cases and plan.seeds >= 1 for plan in scenario.sizes.values())
    assert len(scenario.sizes[Size.FULL].cases) >= len(scenario.sizes[Size.QUICK].cases)


def test_every_file_of_an_experiment_is_listed() -> None:
    files = {path.stem for path in Path(scenarios.__file__).parent.glob("*.py")} - {"__init__"}

    assert files == set(SCENARIOS)


def test_a_seed_gives_the_same_numbers_again() -> None:
    scenario = SCENARIOS["rolling"]
    case = scenario.sizes[Size.TINY].cases[0]

    assert scenario.run(case, 3) == scenario.run(case, 3)
    assert scenario.run(case, 3) != scenario.run(case, 4)


# Running


def test_runs_on_all_cores_are_those_of_one() -> None:
    def measured(jobs: int) -> list[tuple[int, int, float]]:
        return sorted(
            (run.case["nodes"], run.seed, run.measured["time, s"])
            for _, run in perform([EXAMPLE], Size.TINY, seed=5, jobs=jobs)
        )

    assert measured(1) == measured(2) == [(10, 5, 6.0), (10, 6, 7.0), (20, 5, 7.0), (20, 6, 8.0)]


def test_a_run_that_does_not_end_is_reported_and_misses_a_goal() -> None:
    plan = Plan(grid(nodes=[10, 13]))

    part = part_of(replace(EXAMPLE, sizes={Size.TINY: plan}))

    assert not part.met
    assert part.goals[-1] == Goal("every run comes to its end", "1 of 2", met=False)
    text = as_markdown([part], Size.TINY, 1, with_plots=False)
    assert "* did not end: {'nodes': 13}, seed 1: not true after 1 s" in text


def test_a_scenario_whose_runs_all_fail_has_a_report() -> None:
    part = part_of(replace(EXAMPLE, sizes={Size.TINY: Plan(grid(nodes=[13]))}))

    assert part.findings is None
    assert "0 of 1, **missed**" in as_markdown([part], Size.TINY, 1, with_plots=True)
    assert as_json([part], Size.TINY, 1)["scenarios"][0]["table"] is None


def test_select_and_mean() -> None:
    runs = [Run({"a": 1, "b": 2}, 1, {"x": 2.0}), Run({"a": 1, "b": 3}, 1, {"x": 4.0})]

    assert mean(select(runs, a=1), "x") == 3.0
    assert mean(select(runs, a=1, b=3), "x") == 4.0
    assert mean(select(runs, a=2), "x") != mean(select(runs, a=2), "x"), "NaN"


# Reports


def test_the_report_in_markdown() -> None:
    text = as_markdown([part_of(EXAMPLE)], Size.TINY, 1, with_plots=True)

    golden = Path(__file__).with_name("report.md").read_text()
    assert text == golden


def test_the_report_in_json_has_everything_and_no_number_that_json_lacks(tmp_path: Path) -> None:
    odd = Findings(Table(("x",), [(nan,), (inf,)]), [], [])
    part = replace(part_of(EXAMPLE), findings=odd)

    document([part], Size.TINY, 1).save(tmp_path)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["met"] is True
    assert report["size"] == "tiny"
    (scenario,) = report["scenarios"]
    assert scenario["table"] == {"head": ["x"], "rows": [[None], [None]]}
    assert scenario["runs"][0]["measured"] == {"time, s": 2.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), (0.0, "0"), (0.00123, "0.00123"), (1234.5, "1,234"), (12.345, "12.3"), (nan, "-"),
     ("a", "a"), (inf, "inf")],
)  # fmt: skip
def test_numbers_have_three_digits_that_count(value: float | str, text: str) -> None:
    assert number(value) == text


# Plots


@pytest.mark.parametrize("plot", [LINES, BARS], ids=["lines", "bars"])
def test_a_plot_is_a_png(plot: Lines | Bars, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"

    plots.draw(plot, path)

    data = path.read_bytes()
    assert data.startswith(PNG)
    assert len(data) > 5000


@pytest.mark.parametrize(
    "plot",
    [
        replace(LINES, curves=[]),
        replace(LINES, curves=[Curve("nothing", [])]),
        replace(LINES, curves=[Curve("zeros", [(0, 0.0), (1, 0.0)])]),
        replace(LINES, curves=[Curve("nan", [(1, nan), (2, 1.0)])]),
        replace(LINES, curves=[Curve("never", [(1, inf), (2, inf)])]),
        replace(BARS, series={}, groups=[]),
    ],
    ids=["no curve", "no point", "zeros", "nan", "never", "no bars"],
)
def test_a_plot_of_little_or_nothing_is_drawn_too(plot: Lines | Bars, tmp_path: Path) -> None:
    plots.draw(plot, tmp_path / "plot.png")

    assert (tmp_path / "plot.png").read_bytes().startswith(PNG)


def test_a_plot_names_only_curves_that_are_seen_and_shows_a_theory_of_one_point() -> None:
    curves = [
        Curve("measured", [(1, 2.0)]),
        Curve("not tried", [(1, nan)]),
        Curve("theory", [(1, 3.0), (1, 3.0)], theory=True),
    ]

    (axes,) = plots.figure_of(replace(LINES, curves=curves)).axes

    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["measured", "theory"]
    assert axes.get_lines()[1].get_marker() == "_"


def labels(plot: Lines) -> list[str]:
    figure = plots.figure_of(plot)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    return [
        t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()
    ]


def test_a_logarithmic_axis_has_labels_enough_and_counts_have_whole_ones() -> None:
    few = [Curve("a", [(1, 30.0), (2, 230.0)])]
    counts = [Curve("a", [(1, 0.0), (2, 18.0)])]

    assert labels(replace(LINES, curves=few, log_y=True)) == ["100", "50", "200"]
    assert all("." not in label for label in labels(replace(LINES, curves=counts, log_y=False)))


def test_plots_leave_no_figures_behind(tmp_path: Path) -> None:
    def figures() -> int:
        gc.collect()
        return sum(isinstance(thing, Figure) for thing in gc.get_objects())

    before = figures()
    for _ in range(3):
        plots.draw(LINES, tmp_path / "plot.png")

    assert figures() == before


# The command


def test_the_command_writes_a_report_with_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["scenario", "load", "rolling", "--tiny", "--jobs", "1", "--out", str(tmp_path)])

    output = capsys.readouterr().out
    assert status == 0
    assert f"Report: {tmp_path}/report.md" in output
    text = (tmp_path / "report.md").read_text()
    assert text.index("Messages and bandwidth per member") < text.index("Rolling restart")
    for line in text.splitlines():
        if line.startswith("!["):
            file = line.rpartition("(")[2].rstrip(")")
            assert (tmp_path / file).read_bytes().startswith(PNG)
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_a_missed_goal_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCENARIOS, "load", replace(EXAMPLE, name="load"))

    status = main(["scenario", "load", "--tiny", "--seed", "9", "--jobs", "1", "--json",
                   "--out", str(tmp_path)])  # fmt: skip

    report = json.loads(capsys.readouterr().out)
    assert status == 1
    assert report["met"] is False
    assert report["scenarios"][0]["goals"][0] == {
        "text": "it is fast", "measured": "12 s", "met": False
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["load", "--seed", "0"],
        ["load", "--quick", "--full"],
        ["load", "--jobs", "0"],
    ],
)
def test_bad_usage_ends_with_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["scenario", *arguments])

    assert caught.value.code == 2


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    status = main(["scenario", "lifeguard", "--full", "--out", str(tmp_path / "file" / "in it")])

    assert status == 2
    assert "no report can be written to" in capsys.readouterr().err


def test_without_matplotlib_the_report_has_no_plots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)

    status = main(["scenario", "load", "--tiny", "--jobs", "1", "--out", str(tmp_path)])

    assert status == 0
    assert "no plots" in capsys.readouterr().err
    assert "![" not in (tmp_path / "report.md").read_text()
    assert not list(tmp_path.glob("*.png"))


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    output = capsys.readouterr().out
    assert main(["scenarios", "--json"]) == 0

    assert all(scenario.question in output for scenario in SCENARIOS.values())
    listed = json.loads(capsys.readouterr().out)
    assert [scenario["name"] for scenario in listed] == list(SCENARIOS)


def test_goals_and_rows_speak_of_what_was_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["scenario", "storm", "detection", "--tiny", "--jobs", "1", "--out", str(tmp_path)])
        == 0
    )

    output = capsys.readouterr().out
    assert "up to 100 events/s, everybody gets every event" in output
    assert (
        "with up to 0 % loss, no healthy member is declared dead: 0 in 0.0278 node hours" in output
    )
    assert "| UDP only |" not in (tmp_path / "report.md").read_text()
