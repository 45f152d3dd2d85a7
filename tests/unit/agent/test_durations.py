"""Durations in Go's text form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
        ("300ms", 0.3),
        ("10s", 10.0),
        ("1h30m", 5400.0),
        ("1.5m", 90.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("1h0m0.5s", 3600.5),
        ("72h", 259200.0),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("1\u03bcs", 1e-6),
        ("7ns", 7e-9),
        ("-1.5h", -5400.0),
        ("+2s", 2.0),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=0, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'invalid duration ""'),
        ("-", 'invalid duration "-"'),
        ("5", 'missing unit in duration "5", for example "5s"'),
        ("1h5", 'missing unit in duration "1h5"'),
        ("s", 'invalid duration "s"'),
        (".s", 'invalid duration ".s"'),
        ("1.2.3s", 'invalid duration "1.2.3s"'),
        ("3d", 'unknown unit "d" in duration "3d"'),
        ("3 s", 'unknown unit " s"'),
        ("1e3s", 'unknown unit "e"'),
        ("\u0663s", 'invalid duration "\u0663s"'),
        ("2562048h", "exceeds the limit of about 292 years"),
        ("9" * 200 + "s", "invalid duration of 201 characters"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (-0.0, "0s"),
        (5e-9, "5ns"),
        (1.5e-6, "1.5\u00b5s"),
        (0.2, "200ms"),
        (1.5, "1.5s"),
        (90.0, "1m30s"),
        (3600.0, "1h0m0s"),
        (259200.0, "72h0m0s"),
        (3600.000000001, "1h0m0.000000001s"),
        (-90.0, "-1m30s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 1e10])
def test_what_go_cannot_hold_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        format_duration(seconds)


@given(st.integers(-(2**53), 2**53))
def test_what_is_written_is_read_back_to_the_nanosecond(ns: int) -> None:
    assert round(parse_duration(format_duration(ns / 1e9)) * 1e9) == pytest.approx(ns, abs=1)


@given(st.text(max_size=40))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert isinstance(seconds, float)


@given(st.text(alphabet="0123456789.hmsnu-+", max_size=20))
def test_text_that_looks_like_a_duration_is_one_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert abs(seconds) < 2**63 / 1e9 + 1
