"""Values that travel as bytes inside a field: tags in a meta, filters of a query, coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, TypeAlias

from gossip.errors import WireError
from gossip.wire.codec import (
    FieldError,
    Fields,
    StateScanner,
    decode_fields,
    decode_text,
    floating,
    locate,
    pack,
    text,
)
from gossip.wire.coordinate import Coordinate
from gossip.wire.limits import FILTER_NODES_MAX

__all__ = [
    "Filter",
    "NodeFilter",
    "TagFilter",
    "decode_coordinate",
    "decode_filter",
    "decode_tags",
    "encode_coordinate",
    "encode_tags",
]

_TAGS_MAGIC: Final = 0xFF
_COORDINATE_VERSION: Final = 1
_NODE_FILTER: Final = 0
_TAG_FILTER: Final = 1


def encode_tags(tags: dict[str, str]) -> bytes:
    """Write tags as a member's meta; the caller minds the limit of 512 bytes."""
    return b"\xff" + pack(tags)


def decode_tags(meta: bytes) -> dict[str, str]:
    """Read a member's meta; one without the tags' magic byte is a legacy role.

    Raises:
        WireError: the map is malformed.
    """
    if not meta or meta[0] != _TAGS_MAGIC:
        return {"role": meta.decode("utf-8", "surrogateescape")}
    return text_map(decode_fields(meta[1:], "tags"), "tags")


def text_map(fields: dict[Any, Any], layer: str) -> dict[str, str]:
    """Read a map of text to text.

    Raises:
        WireError: a value is something else.
    """
    try:
        return {decode_text(key, key): decode_text(value, key) for key, value in fields.items()}
    except FieldError as error:
        shown = error.key.decode("utf-8", "replace")
        raise WireError(f"{layer}: {shown!r}: {error.reason}", layer=layer) from None


@dataclass(slots=True)
class NodeFilter:
    """Only the named nodes are asked."""

    names: list[str]

    def encode(self) -> bytes:
        """Write the filter as an element of `Query.filters`."""
        return b"\x00" + pack(self.names)


@dataclass(slots=True)
class TagFilter:
    """Only nodes whose tag matches are asked; the expression is RE2, searched unanchored."""

    tag: str
    expr: str

    def encode(self) -> bytes:
        """Write the filter as an element of `Query.filters`."""
        return b"\x01" + pack({"Expr": self.expr, "Tag": self.tag})


Filter: TypeAlias = NodeFilter | TagFilter


def decode_filter(data: bytes) -> Filter:
    """Read one element of `Query.filters`; a query with one that fails is not for us.

    Raises:
        WireError: the type is unknown or the body malformed.
    """
    kind = data[0] if data else -1
    if kind == _TAG_FILTER:
        fields = decode_fields(data[1:], "filter")
        try:
            return TagFilter(text(fields, b"Tag"), text(fields, b"Expr"))
        except FieldError as error:
            raise WireError(f"filter: {error.reason}", layer="filter", offset=1) from None
    if kind != _NODE_FILTER:
        raise WireError(f"filter: type {kind} is unknown", layer="filter")
    scanner = StateScanner(data[1:], "filter")
    count = scanner.array_header(FILTER_NODES_MAX)
    try:
        return NodeFilter([decode_text(scanner.value(), b"name") for _ in range(count)])
    except FieldError as error:
        raise WireError(
            f"filter: {error.reason}", layer="filter", offset=1 + scanner.offset
        ) from None


def encode_coordinate(coordinate: Coordinate) -> bytes:
    """Write a coordinate as an ack's payload."""
    return b"\x01" + pack(
        {
            "Adjustment": coordinate.adjustment,
            "Error": coordinate.error,
            "Height": coordinate.height,
            "Vec": coordinate.vec,
        }
    )


def decode_coordinate(payload: bytes) -> Coordinate | None:
    """Read an ack's payload; None when the peer has coordinates off or another version of them.

    The number of dimensions is for the caller to judge.

    Raises:
        WireError: the map is malformed or has a NaN or infinity, which would spread.
    """
    if not payload or payload[0] != _COORDINATE_VERSION:
        return None
    fields = decode_fields(payload[1:], "coordinate")
    try:
        coordinate = Coordinate(
            _numbers(fields, b"Vec"),
            floating(fields, b"Error"),
            floating(fields, b"Adjustment"),
            floating(fields, b"Height"),
        )
    except FieldError as error:
        offset = 1 + locate(payload[1:], error.key)
        shown = error.key.decode()
        raise WireError(
            f"coordinate: {shown}: {error.reason}", layer="coordinate", offset=offset
        ) from None
    vec, *others = coordinate
    if not (isfinite(sum(vec, sum(others))) or all(map(isfinite, (*vec, *others)))):
        raise WireError("coordinate: a number is not finite", layer="coordinate", offset=1)
    return coordinate


def _numbers(fields: Fields, key: bytes) -> tuple[float, ...]:
    value = fields.get(key)
    if value is None:
        return ()
    if type(value) is not list:
        raise FieldError(key, f"{type(value).__name__} is not a list of numbers")
    if set(map(type, value)) == {float}:
        return tuple(value)
    return tuple(floating({key: item}, key) for item in value)
