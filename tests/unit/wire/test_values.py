"""Tags, filters and coordinates."""

from __future__ import annotations

from math import inf, nan

import pytest

from gossip.errors import WireError
from gossip.wire.codec import pack
from gossip.wire.coordinate import Coordinate
from gossip.wire.limits import LIST_MAX
from gossip.wire.values import (
    NodeFilter,
    TagFilter,
    decode_coordinate,
    decode_filter,
    decode_tags,
    encode_coordinate,
    encode_tags,
)


def test_tags_follow_their_magic_byte() -> None:
    assert encode_tags({}) == b"\xff\x80"
    assert encode_tags({"role": "web"}) == b"\xff\x81\xa4role\xa3web"
    assert decode_tags(b"\xff\x81\xa4role\xa3web") == {"role": "web"}
    assert decode_tags(encode_tags({"ünï": "çødé"})) == {"ünï": "çødé"}


def test_meta_without_magic_byte_is_a_legacy_role() -> None:
    assert decode_tags(b"web") == {"role": "web"}
    assert decode_tags(b"") == {"role": ""}


@pytest.mark.parametrize("meta", [b"\xff", b"\xff\x81", b"\xff\x90", b"\xff\x81\xa1a\x01"])
def test_damaged_tags_are_refused(meta: bytes) -> None:
    with pytest.raises(WireError) as refusal:
        decode_tags(meta)
    assert refusal.value.layer == "tags"


def test_filters_are_a_type_and_a_body() -> None:
    tag, nodes = TagFilter("role", "^web"), NodeFilter(["a", "b"])
    assert tag.encode() == b"\x01" + pack({"Expr": "^web", "Tag": "role"})
    assert nodes.encode() == b"\x00" + pack(["a", "b"])
    assert decode_filter(tag.encode()) == tag
    assert decode_filter(nodes.encode()) == nodes
    many = NodeFilter([str(i) for i in range(3 * LIST_MAX)])
    assert decode_filter(many.encode()) == many


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\x80",
        b"\x00",
        b"\x00\x80",
        b"\x00\x91\x05",
        b"\x01",
        b"\x01\x81\xa3Tag\x05",
        b"\x00\xdd\xff\xff\xff\xff",
    ],
)
def test_damaged_filters_are_refused(data: bytes) -> None:
    with pytest.raises(WireError) as refusal:
        decode_filter(data)
    assert refusal.value.layer == "filter"


def test_coordinate_is_an_ack_payload() -> None:
    coordinate = Coordinate((0.0,) * 8, 1.5, 0.0, 1e-5)
    assert encode_coordinate(coordinate)[0] == 1
    assert decode_coordinate(encode_coordinate(coordinate)) == coordinate
    whole = b"\x01" + pack({"Vec": [0, 1], "Error": 1, "Adjustment": 0, "Height": None})
    assert decode_coordinate(whole) == Coordinate((0.0, 1.0), 1.0, 0.0, 0.0)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x02\x80"])
def test_absent_coordinate_and_other_versions_are_none(payload: bytes) -> None:
    assert decode_coordinate(payload) is None


@pytest.mark.parametrize("number", [nan, inf, -inf])
@pytest.mark.parametrize("key", ["Vec", "Error", "Adjustment", "Height"])
def test_r33_coordinate_with_a_number_that_spreads_is_refused(key: str, number: float) -> None:
    fields: dict[str, object] = {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5}
    fields[key] = [number] if key == "Vec" else number
    with pytest.raises(WireError, match="not finite"):
        decode_coordinate(b"\x01" + pack(fields))


@pytest.mark.parametrize("fields", [{"Vec": 5}, {"Vec": ["x"]}, {"Error": "x"}, {"Height": True}])
def test_r33_coordinate_of_other_types_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(WireError) as refusal:
        decode_coordinate(b"\x01" + pack(fields))
    assert refusal.value.layer == "coordinate"
