"""Flags as Go's flag package reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.flags import Flag, describe_flags, looks_secret, parse_flags, suggest, wrap

FLAGS = (
    Flag("server", "A switch."),
    Flag("node", "A name.", value="name"),
    Flag("count", "A number.", value="n", integer=True),
    Flag("join", "An address.", value="address", many=True),
    Flag("datacenter", "A place.", value="name", aliases=("dc",)),
    Flag("encrypt", "A key.", value="key", secret=True, integer=True),
    Flag("old", "Unused.", value="x", hidden=True),
)


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        ([], {}),
        (["-server"], {"server": True}),
        (["--server"], {"server": True}),
        (["-server=false"], {"server": False}),
        (["-server=T"], {"server": True}),
        (["-node", "a"], {"node": "a"}),
        (["-node=a"], {"node": "a"}),
        (["--node=a=b"], {"node": "a=b"}),
        (["-node="], {"node": ""}),
        (["-node", "-x"], {"node": "-x"}),
        (["-node=a", "-node=b"], {"node": "b"}),
        (["-count=-3"], {"count": -3}),
        (["-join=a", "-join", "b"], {"join": ["a", "b"]}),
        (["-dc", "x"], {"datacenter": "x"}),
    ],
)
def test_flags_are_read_in_gos_spellings(argv: list[str], values: dict[str, Any]) -> None:
    parsed = parse_flags(FLAGS, argv)
    assert parsed.values == values
    assert parsed.errors == []
    assert parsed.args == []


def test_a_boolean_does_not_take_the_next_argument() -> None:
    parsed = parse_flags(FLAGS, ["-server", "false"])
    assert parsed.on("server")
    assert parsed.args == ["false"]


def test_flags_may_follow_arguments_until_two_dashes() -> None:
    parsed = parse_flags(FLAGS, ["a", "-node=n", "-", "--", "-server", "--"])
    assert parsed.args == ["a", "-", "-server", "--"]
    assert parsed.values == {"node": "n"}


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["-nod", "a"], 'unknown flag -nod (value "a"); did you mean -node?'),
        (["--server=maybe"], 'flag -server: invalid boolean "maybe", use true or false'),
        (["-count=x"], 'flag -count: invalid number "x"'),
        (["-count=\u0663"], 'flag -count: invalid number "\u0663"'),
        (["-node"], "flag -node: needs a value: -node=<name>"),
        (["-zzzzz"], "unknown flag -zzzzz"),
    ],
)
def test_a_mistake_names_flag_value_and_nearest_match(argv: list[str], error: str) -> None:
    parsed = parse_flags(FLAGS, argv)
    assert parsed.errors == [error]
    assert parsed.args == []


def test_every_mistake_is_reported_and_the_rest_is_read() -> None:
    parsed = parse_flags(FLAGS, ["-bogus=1", "-count=x", "-server", "-node=a"])
    assert len(parsed.errors) == 2
    assert parsed.values == {"server": True, "node": "a"}


@pytest.mark.parametrize("argv", [["-encrypt=Zm9v"], ["-encrpyt=Zm9v"], ["-tokn", "Zm9v"]])
def test_a_secret_is_not_quoted_even_when_its_flag_is_misspelt(argv: list[str]) -> None:
    (error,) = parse_flags(FLAGS, argv).errors
    assert "Zm9v" not in error


@pytest.mark.parametrize(
    "name", ["encrypt", "encrpyt", "ecnrypt", "acl_token", "acltokn", "my_key"]
)
def test_names_near_a_secret_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["datacentre", "bind", "foo", "nod"])
def test_other_names_do_not_look_secret(name: str) -> None:
    assert not looks_secret(name)


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert suggest("xyzzy", ["node", "join"]) == ""


def test_the_help_lists_flags_sorted_and_without_hidden_ones() -> None:
    text = describe_flags(FLAGS)
    heads = [line for line in text.splitlines() if line.startswith("  -")]
    assert heads == [
        "  -count=<n>",
        "  -datacenter=<name>",
        "  -encrypt=<key>",
        "  -join=<address>",
        "  -node=<name>",
        "  -server",
    ]
    assert "several times" in text


@given(st.text(alphabet="ab \n", max_size=300))
def test_wrapped_text_keeps_its_words_within_the_width(text: str) -> None:
    lines = wrap(text, "  ").splitlines()
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= 78 or len(line.split()) == 1 for line in lines)


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_command_line_is_read_or_reported(argv: list[str]) -> None:
    parsed = parse_flags(FLAGS, argv)
    assert len(parsed.args) + len(parsed.errors) + len(parsed.given) <= len(argv)
