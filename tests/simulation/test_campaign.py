"""G-1, G-2 and G-5 at the size that every change can afford; `python -m simulations` does the rest."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gossip.swim.probe import Prober
from simulations.__main__ import main
from simulations.campaign import COVERAGE, plan_of, run_seed, uncovered
from simulations.network import Weather
from simulations.planted import PLANTED, Planted, hunt
from simulations.world import World

ROOT = Path(__file__).parents[2]
MINUTES = 5.0
RARE = {"name_conflicts", "disk_writes_failed", "segments_cut", "streams_timed_out"}
"""Faults that not every twenty seeds bring about; a whole campaign has to."""


@pytest.mark.timeout(900)  # a minute of work, on a machine that may have other things to do
@pytest.mark.parametrize("first", [0, 80, 160])
def test_g01_twenty_pools_keep_every_invariant_under_faults_and_come_out_of_them(
    first: int,
) -> None:
    results = [run_seed(seed, MINUTES) for seed in range(first, first + 20)]

    failures = ["\n".join([r.replay, *r.violations[:3], *r.trace]) for r in results if r.violations]
    assert not failures, "\n\n".join(failures)
    assert set(uncovered(results)) <= RARE, "a fault never happened"
    assert any({"L1", "L3", "L4", "L5", "L7", "L8", "L9"} <= r.times.keys() for r in results)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_g02_every_planted_bug_is_caught(bug: Planted) -> None:
    seeds, violation = hunt(bug, seeds=10)

    assert seeds, f"nobody saw that {bug.name}"
    assert violation.split()[0] == bug.caught_by


def test_g02_there_are_bugs_for_every_invariant_that_is_checked() -> None:
    caught = {bug.caught_by for bug in PLANTED}

    assert len(PLANTED) >= 30
    assert caught >= {f"S{n}" for n in (*range(1, 19), 20)} | {f"L{n}" for n in range(1, 10)}


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_g05_twenty_seeds_give_the_same_traces_in_every_process(hash_seed: str) -> None:
    seeds = [seed for seed in range(30) if plan_of(seed, 0.5)[0].nodes <= 8][:20]
    code = (
        "from simulations.campaign import run_seed\n"
        f"print(*(run_seed(seed, 0.5).digest for seed in {seeds}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip

    here = [run_seed(seed, 0.5).digest for seed in seeds]
    assert answer.stdout.split() == here
    assert len(set(here)) == len(seeds) == 20


def test_one_fault_more_or_less_leaves_the_other_dice_alone() -> None:
    def arrivals(weather: Weather) -> list[tuple[float, ...]]:
        world = World(5, weather=weather)
        one, two = world.add("one"), world.add("two")
        return [tuple(world.network.arrivals(one, two)) for _ in range(200)]

    calm, lossy = arrivals(Weather()), arrivals(Weather(loss=0.3))

    assert 100 < sum(bool(times) for times in lossy) < 180
    assert all(after in {before, ()} for before, after in zip(calm, lossy, strict=True))


# The command


def test_a_campaign_reports_and_ends_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["campaign", "--replay", "3", "--minutes", "0.5"])

    output = capsys.readouterr().out
    assert status == 0
    assert "node hours" in output
    assert re.search(r"^L1 a dead member is failed everywhere +1 ", output, re.MULTILINE)
    assert "trace " in output


def test_a_campaign_that_exercised_too_little_fails(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["campaign", "--seeds", "1", "--minutes", "0.2", "--jobs", "1"])

    assert status == 1
    assert "never happened: packets_lost" in capsys.readouterr().out


def test_ctrl_c_ends_a_campaign_on_all_cores_without_the_seeds_that_wait() -> None:
    terminal, other_end = os.openpty()  # since progress is told to terminals sooner
    process = subprocess.Popen(
        [sys.executable, "-m", "simulations", "campaign", "--seeds", "400", "--jobs", "2"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=other_end, start_new_session=True,
    )  # fmt: skip
    os.close(other_end)
    with os.fdopen(terminal, "rb", buffering=0) as told, process:
        try:
            text = b""
            while b"/400 seeds, 0 failed" not in text:
                text += told.read(1000)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.wait(20) == 130
            assert told.read(1000).endswith(b"\r\nInterrupted.\r\n")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_failing_seed_tells_how_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Prober, "handle_ack", broken)

    status = main(["campaign", "--replay", "3", "--minutes", "0.5"])

    output = capsys.readouterr().out
    assert status == 1
    assert "S20" in output
    assert "KeyError: 'planted'" in output
    assert "ackResp" in output, "the trace before it says what the packets were"
    assert "replay: python -m simulations campaign --replay 3 --minutes 0.5" in output


def test_the_command_that_replays_a_plan_of_a_file_does_what_failed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(Prober, "handle_ack", broken)
    path = tmp_path / "my plan.json"
    path.write_text('{"nodes": 3, "seconds": 10}')
    assert main(["run", str(path), "--seed", "7"]) == 1
    output = capsys.readouterr().out
    (replay,) = (line for line in output.splitlines() if line.strip().startswith("replay: "))

    start, *arguments = shlex.split(replay.partition("python -m ")[2])

    assert start == "simulations"
    assert main(arguments) == 1
    assert capsys.readouterr().out == output


def test_one_long_run_tells_how_far_it_is() -> None:
    told: list[str] = []

    run_seed(3, 0.2, tell=told.append)

    assert told == [*(f"second {n} of 12" for n in range(12)), "waiting for calm"]


def test_a_seed_is_replayed_at_exactly_its_length() -> None:
    minutes = 0.2 + 1 / 30
    replay = run_seed(3, minutes).replay

    assert float(replay.rpartition(" ")[2]) == minutes


def test_a_campaign_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["campaign", "--seeds", "2", "--minutes", "0.2", "--jobs", "2", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert [result["seed"] for result in report["results"]] == [0, 1]
    assert set(report["missing"]) <= set(COVERAGE)


def test_the_plan_of_a_seed_runs_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "3", "--minutes", "0.5"]) == 0
    path = tmp_path / "plan.json"
    path.write_text(capsys.readouterr().out)

    status = main(["run", str(path), "--seed", "3", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert status == 0
    assert report["results"][0]["digest"] == run_seed(3, 0.5).digest


def test_a_plan_that_cannot_be_read_is_an_error_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["run", str(tmp_path / "none.toml")])

    assert status == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["campaign", "--seeds", "0"], "'0' is not a whole number of at least 1"),
        (["campaign", "--seeds", "1.5"], "'1.5' is not a whole number of at least 1"),
        (["campaign", "--minutes", "0"], "'0' is not a number between 0.2 and 1,440"),
        (["campaign", "--minutes", "x"], "'x' is not a number between 0.2 and 1,440"),
        (["scale", "--seconds", "nan"], "'nan' is not a number between 0.1 and 86,400"),
        (["scale", "--nodes", "2"], "'2' is not a whole number between 3 and 100,000"),
        (["scale", "x"], "unrecognized arguments: x"),
        ([], "required: COMMAND"),
    ],
)
def test_bad_usage_says_what_is_wrong_and_ends_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_scale_prints_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--nodes", "30", "--seconds", "0.5", "--idle"]) == 0

    assert "idle node-seconds per CPU second" in capsys.readouterr().out
