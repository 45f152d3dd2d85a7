"""The measuring helper and the benchmark of the wire run and report; times are never judged."""

from __future__ import annotations

import json
from itertools import count

import pytest

from simulations.bench import timing, wire
from simulations.bench.timing import Case


def test_operation_is_called_in_every_round() -> None:
    calls = count()
    assert timing.measure(lambda: next(calls), seconds=0.001, rounds=3) > 0
    assert next(calls) > 3


def test_speed_is_told_for_operations_with_a_size() -> None:
    sized, unsized = timing.run(
        [Case("a", lambda: sum(range(100)), 1000), Case("b", lambda: sum(range(100)))],
        seconds=0.001,
    )
    assert sized.mb_per_second == pytest.approx(1000 * 1e3 / sized.ns)
    assert unsized.mb_per_second is None


def test_benchmark_of_the_wire_reports_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-format", "json", "-seconds", "0.0001", "-filter", "ping"]
    assert timing.main("wire", wire.cases, options) == 0
    report = json.loads(capsys.readouterr().out)
    names = [result["name"] for result in report["results"]]
    assert {"encode ping", "decode ping", "unwrap one ping, encrypted"} <= set(names)


def test_table_has_a_line_per_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert timing.main("wire", wire.message_cases, ["-seconds", "0.0001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["operation", "ns", "bytes", "MB/s"]
    assert len(lines) == 1 + len(list(wire.message_cases()))


def test_help_describes_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        timing.main("Measures something.", wire.cases, ["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "Measures something." in shown
    assert "-format" in shown
