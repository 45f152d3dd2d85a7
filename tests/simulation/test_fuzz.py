"""G-3 at the size that every change can afford; ``python -m simulations fuzz`` does more."""

from __future__ import annotations

import json
import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from agent.http.errors import HttpError
from agent.http.query import blocking, parse_parameters
from gossip.errors import WireError
from simulations import fuzz as fuzzing
from simulations.__main__ import main
from simulations.entries import NAMES, targets
from simulations.fuzz import Target, damaged, fuzz
from simulations.workers import in_processes

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = 50_000
QUERIES = (
    b"index=5&wait=300ms", b"wait=1h30m&stale", b"consistent=&dc=east", b"index=18446744073709551615",
    b"name=a%2Fb%20c&node=w.*&tag=%ff", b"a=1&a=2&&=&pretty", b"index=007&wait=-1.5s", "é=ü".encode(),
)  # fmt: skip


def query(data: bytes) -> bool:
    try:
        blocking(parse_parameters(data.decode("utf-8", "surrogateescape")))
    except HttpError:
        return True
    return False


ENTRIES = [*targets(), Target("query", QUERIES, query)]


@pytest.mark.parametrize("target", ENTRIES, ids=lambda target: target.name)
def test_g03_no_bytes_make_an_entry_raise_stall_or_hoard(target: Target) -> None:
    report = fuzz(target, INPUTS)

    assert report.findings == []
    assert report.inputs == INPUTS
    assert INPUTS // 10 < report.refused < INPUTS, "all refused, or none: nothing was tried"


@pytest.mark.parametrize("target", ENTRIES, ids=lambda target: target.name)
def test_the_corpus_is_what_the_entry_is_for(target: Target) -> None:
    accepted = sum(not target.feed(data) for data in target.corpus)

    assert accepted >= 0.8 * len(target.corpus)


# The fuzzer itself


def planted(feed: Callable[[bytes], bool]) -> fuzzing.Report:
    return fuzz(Target("planted", [b"a well-formed message", b"another"], feed), 5_000)


def test_an_entry_that_raises_is_found_and_given_up() -> None:
    def fragile(data: bytes) -> bool:
        return data[3] == 0

    report = planted(fragile)

    assert len(report.findings) == fuzzing.MAX_FINDINGS
    assert report.findings[0].startswith("IndexError: ")
    assert report.inputs < 5_000


def test_a_refusal_is_no_finding() -> None:
    def strict(data: bytes) -> bool:
        raise WireError("no")

    report = planted(strict)

    assert (report.findings, report.refused) == ([], 5_000)


def test_an_entry_that_is_slow_again_and_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SLOWEST", 0.002)

    def slow_at_zero(data: bytes) -> bool:
        return 0 in data and sum(range(1_000_000)) < 0

    report = planted(slow_at_zero)

    assert len(report.findings) == fuzzing.MAX_FINDINGS
    assert "s of CPU, more than 0.002, at " in report.findings[0]
    assert report.slowest > fuzzing.SLOWEST, "the table says how slow"


def test_an_entry_that_hoards_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MAX_GROWTH", -1)

    assert "grew by" in planted(lambda _data: False).findings[0]


def hoard(megabytes: int) -> tuple[int, int]:
    """The process that did it, and by how much it grew."""
    kept: list[bytes] = []

    def keep(_data: bytes) -> bool:
        kept.append(b"x" * (megabytes << 20))
        return False

    return os.getpid(), fuzz(Target("hoard", [b"one"], keep), 1).growth


def test_an_entry_hoards_in_a_process_that_held_nothing_before() -> None:
    ballast = b"x" * (
        150 << 20
    )  # a process is said to have used what its parent did when it started

    found = [result for _, result in in_processes(hoard, [100, 70], 1, fresh=True)]

    assert len(ballast) > 100 << 20
    assert len({process for process, _ in found} | {os.getpid()}) == 3
    assert all(growth > fuzzing.MAX_GROWTH for _, growth in found), found


def test_damage_is_the_same_in_every_run_and_seldom_none() -> None:
    corpus = [b"a well-formed message", b"another"]

    first, second = (
        [damaged(corpus, rng) for rng in [Random(5)] for _ in range(500)] for _ in range(2)
    )

    assert first == second
    assert len(set(first)) > 400
    assert sum(data in corpus for data in first) < 25


def test_the_command_reports_every_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--inputs", "200", "--jobs", "2", "--json"]) == 0

    reports = json.loads(capsys.readouterr().out)
    assert [report["target"] for report in reports] == [target.name for target in targets()]
    assert [target.name for target in targets()] == list(NAMES)
    assert all(report["inputs"] == 200 for report in reports)


def test_the_command_knows_its_entries(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fuzz", "--entry", "kitchen"])

    assert caught.value.code == 2
    assert "packet" in capsys.readouterr().err
