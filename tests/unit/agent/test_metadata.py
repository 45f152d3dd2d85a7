"""Metadata of nodes and services."""

from __future__ import annotations

import pytest

from agent.metadata import meta_problem


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({}, ""),
        ({"A-b_9": "any text, even \n or ä", "k" * 128: "v" * 512}, ""),
        ({f"k{n}": "" for n in range(64)}, ""),
        ({"": "c"}, "Couldn't load metadata pair ('', 'c'): Key cannot be blank"),
        ({"a\n": "c"}, "Couldn't load metadata pair ('a\n', 'c'): Key contains invalid characters"),
        ({"ä": "c"}, "Couldn't load metadata pair ('ä', 'c'): Key contains invalid characters"),
        (
            {"consul-x": "c"},
            "Couldn't load metadata pair ('consul-x', 'c'): Key prefix 'consul-' is reserved for internal use",
        ),
    ],
)
def test_keys_and_values_are_those_that_consul_takes(meta: dict[str, str], problem: str) -> None:
    assert meta_problem(meta) == problem


@pytest.mark.parametrize(
    ("meta", "end"),
    [
        ({"k" * 129: "c"}, "Key is too long (limit: 128 characters)"),
        ({"k": "v" * 513}, "Value is too long (limit: 512 characters)"),
        ({f"k{n}": "" for n in range(65)}, "cannot contain more than 64 key/value pairs"),
    ],
)
def test_what_is_too_much_is_refused_without_being_quoted_in_full(
    meta: dict[str, str], end: str
) -> None:
    problem = meta_problem(meta)
    assert problem.endswith(end)
    assert len(problem) < 350
