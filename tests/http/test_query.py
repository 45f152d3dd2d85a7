"""Parameters and blocking queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http.errors import HttpError
from agent.http.query import Blocking, blocking, parse_parameters, unquote


def refused(query: str) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        blocking(parse_parameters(query))
    return caught.value.status, caught.value.text


@pytest.mark.parametrize(
    ("query", "index", "wait"),
    [
        ("", 0, 600),
        ("wait=10s", 0, 10),
        ("index=5&wait=300ms", 5, 0.3),
        ("index=5&wait=1h30m", 5, 600),
        ("index=5&wait=1.5m", 5, 90),
        ("index=5&wait=0", 5, 600),
        ("index=5&wait=0s", 5, 600),
        ("index=5&wait=-10s", 5, 600),
        ("index=5&wait=", 5, 600),
        ("index=&wait=1s", 0, 1),
        ("index=0", 0, 600),
        ("index=007", 7, 600),
        ("index=18446744073709551615", 2**64 - 1, 600),
    ],
)
def test_wait_and_index(query: str, index: int, wait: float) -> None:
    assert blocking(parse_parameters(query)) == Blocking(index, wait)


def test_the_default_wait_is_the_endpoints() -> None:
    assert blocking({"index": "1"}, default=300) == Blocking(1, 300)


@pytest.mark.parametrize("wait", ["abc", "10", "10x", "s", "1s1", "%31", "9999999h", "1 s", "٣s"])
def test_a_wait_that_is_no_duration_is_refused(wait: str) -> None:
    assert refused(f"wait={wait.replace('%', '%25')}") == (400, "Invalid wait time")


@pytest.mark.parametrize(
    "index",
    ["abc", "-1", "+1", "%2B1", "1.0", "0x10", "18446744073709551616", "9" * 5000, "٣", " 1"],
)
def test_an_index_that_is_no_unsigned_number_of_64_bits_is_refused(index: str) -> None:
    assert refused(f"index={index}") == (400, "Invalid index")


def test_stale_and_consistent_count_by_presence_and_exclude_each_other() -> None:
    text = "Cannot specify ?stale with ?consistent, conflicting semantics."
    assert refused("stale&consistent=") == (400, text)
    assert blocking(parse_parameters("stale&x=consistent")) == Blocking()


def test_mistakes_are_reported_in_consuls_order() -> None:
    assert refused("index=x&wait=y&stale&consistent")[1].startswith("Cannot specify")
    assert refused("index=x&wait=y")[1] == "Invalid wait time"


@pytest.mark.parametrize("query", ["wait=%zz", "%", "a=%4", "%g0=1", "a=1&b=%"])
def test_a_query_that_cannot_be_decoded_is_500_without_text(query: str) -> None:
    assert refused(query) == (500, "")


def test_the_first_of_repeated_parameters_counts() -> None:
    assert parse_parameters("a=1&a=2&&b&c=x+y%26%3D") == {"a": "1", "b": "", "c": "x y&="}


def test_percent_encoding_is_undone_once_and_keeps_any_byte() -> None:
    assert unquote("%252e%2e") == "%2e."
    assert unquote("%ff").encode("utf-8", "surrogateescape") == b"\xff"
    assert unquote("%C3%A4ä") == "ää"


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.from_regex(r"[a-z%=&+0-9;]{0,40}"))
def test_any_query_gives_a_blocking_query_or_a_documented_error(query: str) -> None:
    status = 200
    result = Blocking()
    try:
        result = blocking(parse_parameters(query))
    except HttpError as error:
        status = error.status
    assert status in {200, 400, 500}
    assert 0 <= result.index < 2**64
    assert 0 < result.wait <= 600
