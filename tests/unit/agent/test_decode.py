"""Bodies of requests."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decode import Body, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
GETTERS: dict[str, Callable[[Body], Any]] = {
    "text": lambda body: body.text("Key"),
    "texts": lambda body: body.texts("Key"),
    "number": lambda body: body.number("Key"),
    "truth": lambda body: body.truth("Key"),
    "duration": lambda body: body.duration("Key"),
    "mapping": lambda body: body.mapping("Key"),
    "lists": lambda body: body.lists("Key"),
    "object": lambda body: body.object("Key"),
    "objects": lambda body: body.objects("Key"),
    "by_name": lambda body: body.by_name("Key"),
}


def body(value: Any) -> Body:
    return Body.parse(json.dumps(value).encode())


@pytest.mark.parametrize(
    "key", ["ServiceID", "serviceid", "service_id", "SERVICE_ID", "Service_Id"]
)
def test_keys_are_found_however_they_are_spelled(key: str) -> None:
    found = body({key: "x"})
    assert "ServiceID" in found
    assert found.text("ServiceID") == "x"


def test_of_two_spellings_the_last_counts_as_it_does_for_go() -> None:
    assert Body.parse(b'{"ServiceID":"1","service_id":"2"}').text("ServiceID") == "2"


def test_what_is_missing_or_null_is_the_default() -> None:
    for empty in (body({}), body({"Key": None}), Body.parse(b"null")):
        assert "Key" not in empty
        defaults = {name: get(empty) for name, get in GETTERS.items()}
        assert defaults == {
            "text": "",
            "texts": (),
            "number": 0,
            "truth": False,
            "duration": 0.0,
            "mapping": {},
            "lists": {},
            "object": None,
            "objects": [],
            "by_name": {},
        }


def test_values_come_in_their_types() -> None:
    assert body({"Key": ["a", "b"]}).texts("Key") == ("a", "b")
    assert body({"Key": {"a_B": "c"}}).mapping("Key") == {"a_B": "c"}
    assert list(body({"Key": {"b": "1", "B": "2", "a": "3"}}).mapping("Key")) == ["B", "a", "b"]
    assert body({"Key": {"Accept": ["a", "b"]}}).lists("Key") == {"Accept": ["a", "b"]}
    assert body({"Key": -(2**63)}).number("Key") == -(2**63)
    assert body({"Key": "1m30s"}).duration("Key") == 90
    assert body({"Key": 1_500_000_000}).duration("Key") == 1.5
    assert body({"Key": 1.5e10}).duration("Key") == 15
    assert body({"Key": ""}).duration("Key") == 0
    assert body({"Key": [{"x": "1"}, {"X": "2"}]}).objects("Key")[1].text("x") == "2"
    assert body({"Key": {"lan": {"Port": 1}}}).by_name("Key")["lan"].number("Port") == 1


@pytest.mark.parametrize(
    ("value", "getter", "text"),
    [
        (1, "text", "Key is not a string"),
        (["a", 1], "texts", "Key is not a list of strings"),
        ("1", "number", "Key is not a whole number"),
        (True, "number", "Key is not a whole number"),
        (2**63, "number", "Key is not a whole number"),
        (1, "truth", "Key is not true or false"),
        ("soon", "duration", 'Key is not a duration such as "10s"'),
        (1e300, "duration", 'Key is not a duration such as "10s"'),
        (float("nan"), "duration", 'Key is not a duration such as "10s"'),
        (2**63 - 1, "duration", 'Key is not a duration such as "10s"'),
        (-(2**63), "duration", 'Key is not a duration such as "10s"'),
        ("2562047h47m16.854775807s", "duration", 'Key is not a duration such as "10s"'),
        ({"a": 1}, "mapping", "Key is not an object of strings"),
        ({"a": "b"}, "lists", "Key is not an object of lists of strings"),
        ([], "object", "Key is not an object"),
        ([1], "objects", "Key is not a list of objects"),
        ({"a": 1}, "by_name", "Key is not an object of objects"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_was_expected(
    value: Any, getter: str, text: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        GETTERS[getter](body({"key": value}))
    assert str(caught.value) == text


def test_a_mistake_inside_is_named_with_its_place() -> None:
    inner = body({"outer": [{}, {"inner": {"port": "x"}}]}).objects("Outer")[1].object("Inner")
    assert inner is not None
    with pytest.raises(DecodeError, match=r"Outer\[1\]\.Inner\.Port is not a whole number"):
        inner.number("Port")


def read_or_refused(read: Callable[[], Any]) -> None:
    with suppress(DecodeError):
        read()


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_body_or_refused(data: bytes) -> None:
    read_or_refused(lambda: Body.parse(data))


@given(JSON, st.sampled_from(sorted(GETTERS)))
def test_any_value_is_read_or_refused_and_comes_out_as_text_that_can_be_stored(
    value: Any, getter: str
) -> None:
    found: list[Any] = []
    read_or_refused(lambda: found.append(GETTERS[getter](body({"Key": value}))))
    if getter in {"text", "texts", "mapping", "lists"}:
        json.dumps(found, ensure_ascii=False).encode()


def test_keys_that_nobody_asked_for_are_named_with_their_place() -> None:
    outer = body({"Name": "x", "intervall": 1, "inner": {"a": 1, "b_c": 2}, "list": [{"d": 1}]})
    outer.text("Name")
    inner, (one,) = outer.object("Inner"), outer.objects("List")
    assert inner is not None
    inner.number("a")
    one.number("d")
    assert outer.unknown() == ["intervall", "Inner.b_c"]
