"""The msgpack dialect: strict when writing, lenient and total when reading."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from gossip.errors import WireError
from gossip.wire import codec
from gossip.wire.codec import FieldError, MapStream, StateScanner
from gossip.wire.limits import LIST_MAX, NAME_MAX


def test_text_and_bytes_are_written_in_the_old_raw_family() -> None:
    assert codec.pack("a" * 31)[0] == 0xBF
    assert codec.pack("a" * 32)[:3] == b"\xda\x00\x20"
    assert codec.pack(b"a" * 32)[:3] == b"\xda\x00\x20"
    assert codec.pack(b"a" * 70_000)[:5] == b"\xdb\x00\x01\x11\x70"
    assert codec.pack_large(b"a")[:1] == b"\xa1"


def test_text_of_undecodable_bytes_is_written_as_those_bytes() -> None:
    fields = codec.decode_fields(b"\x81\xa1n\xa3\xff\x80a", "test")
    text = codec.text(fields, b"n")
    assert codec.pack({"n": text}) == b"\x81\xa1n\xa3\xff\x80a"
    assert codec.pack_large({"n": text}) == b"\x81\xa1n\xa3\xff\x80a"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x81\xa1v\xa2hi", b"hi"),  # fixraw
        (b"\x81\xa1v\xd9\x02hi", b"hi"),  # str8
        (b"\x81\xa1v\xda\x00\x02hi", b"hi"),  # raw16
        (b"\x81\xa1v\xdb\x00\x00\x00\x02hi", b"hi"),  # raw32
        (b"\x81\xa1v\xc4\x02hi", b"hi"),  # bin8
        (b"\x81\xa1v\xc5\x00\x02hi", b"hi"),  # bin16
        (b"\x81\xa1v\xc6\x00\x00\x00\x02hi", b"hi"),  # bin32
        (b"\x81\xa1v\x92\x68\x69", b"hi"),  # list of integers
        (b"\x81\xc4\x01v\xa2hi", b"hi"),  # key as bin
        (b"\x81\xa1v\xc0", b""),  # nil
        (b"\x80", b""),  # missing
        (b"\xc0", b""),  # nil for the map
        (b"\x82\xa5other\x93\x01\x80\xa0\xa1v\xa2hi", b"hi"),  # unknown key
        (b"\x81\xa1v\xa2hi\xc1\xc1", b"hi"),  # bytes behind the map
    ],
)
def test_bytes_are_read_from_every_form(data: bytes, value: bytes) -> None:
    assert codec.raw(codec.decode_fields(data, "test"), b"v") == value


@pytest.mark.parametrize(
    "form",
    [
        b"\x07",
        b"\xcc\x07",
        b"\xcd\x00\x07",
        b"\xce\x00\x00\x00\x07",
        b"\xcf" + bytes(7) + b"\x07",
        b"\xd0\x07",
        b"\xd1\x00\x07",
        b"\xd2\x00\x00\x00\x07",
        b"\xd3" + bytes(7) + b"\x07",
    ],
)
def test_integers_are_read_from_every_width_and_sign(form: bytes) -> None:
    fields = codec.decode_fields(b"\x81\xa1v" + form, "test")
    for read in (codec.u8, codec.u16, codec.u32, codec.u64, codec.int64):
        assert read(fields, b"v") == 7


@pytest.mark.parametrize(
    ("read", "limit"),
    [(codec.u8, 2**8), (codec.u16, 2**16), (codec.u32, 2**32), (codec.u64, 2**64)],
)
def test_unsigned_integers_keep_to_their_range(read: Any, limit: int) -> None:
    assert read({b"v": 0}, b"v") == 0
    assert read({b"v": limit - 1}, b"v") == limit - 1
    assert read({}, b"v") == 0
    wrong: Any
    for wrong in (-1, limit, True, 1.0, b"1", [], {}):
        with pytest.raises(FieldError):
            read({b"v": wrong}, b"v")


def test_signed_integers_keep_to_their_range() -> None:
    assert codec.int64({b"v": -(2**63)}, b"v") == -(2**63)
    assert codec.int64({b"v": 2**63 - 1}, b"v") == 2**63 - 1
    assert codec.int64({}, b"v") == 0
    for wrong in (2**63, True, 1.5, b""):
        with pytest.raises(FieldError):
            codec.int64({b"v": wrong}, b"v")


@pytest.mark.parametrize(
    ("read", "good", "wrong"),
    [
        (codec.boolean, [(True, True), (False, False), (None, False)], [0, 1, b"", []]),
        (codec.floating, [(1.5, 1.5), (2, 2.0), (None, 0.0)], [True, b"1", []]),
        (codec.text, [(b"a", "a"), (None, "")], [1, [97], {}]),
        (codec.raw, [([0, 255], b"\x00\xff"), ([], b"")], [[256], [-1], [b"a"], [True], 5, {}]),
        (
            codec.name,
            [(b"a" * NAME_MAX, "a" * NAME_MAX), (None, "")],
            [b"a" * (NAME_MAX + 1), 1, []],
        ),
    ],
)
def test_fields_of_another_type_are_refused(
    read: Any, good: list[tuple[Any, Any]], wrong: list[Any]
) -> None:
    for value, expected in good:
        assert read({b"v": value}, b"v") == expected
    for value in wrong:
        with pytest.raises(FieldError):
            read({b"v": value}, b"v")


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b"\x81", 1),
        (b"\x81\xa1v\xa5hi", 6),
        (b"\x81\xa1v\xc1", 3),
        (b"\xdf\xff\xff\xff\xff", 5),
        (b"\xc7\x0c\xff" + b"\xff" * 12, None),
        (b"\x81\xd6\xff\x00\x00\x00\x00\x01", None),
        (b"\x81\x80\x01", None),
        (b"\x91" * 3000, None),
        (b"\x82\xa1a\x01\xa1b", 6),
    ],
)
def test_malformed_data_is_refused_with_its_place(data: bytes, offset: int | None) -> None:
    with pytest.raises(WireError) as refusal:
        codec.decode_fields(data, "test")
    assert refusal.value.layer == "test"
    assert 0 <= refusal.value.offset <= len(data)
    if offset is not None:
        assert refusal.value.offset == offset


def test_lists_are_bounded_before_they_are_allocated() -> None:
    at_limit = b"\xdc" + LIST_MAX.to_bytes(2) + b"\x01" * LIST_MAX
    above = b"\xdc" + (LIST_MAX + 1).to_bytes(2) + b"\x01" * (LIST_MAX + 1)

    assert codec.unpack(at_limit + b"rest", "test") == ([1] * LIST_MAX, b"rest")
    with pytest.raises(WireError):
        codec.unpack(above, "test")


def test_place_of_a_field_is_found() -> None:
    data = codec.pack({"a": [1, 2], "bb": "x", "c": 3})
    assert data[codec.locate(data, b"bb")] == 0xA1
    assert data[codec.locate(data, b"c")] == 3
    assert codec.locate(data, b"d") == 0
    assert codec.locate(b"\x82\xc1", b"a") == 0
    assert codec.locate(b"\x82\xa1b", b"a") == 0


def test_map_stream_reads_maps_from_single_bytes() -> None:
    maps = [{b"a": 1}, {}, {b"b": b"x" * 300}]
    data = b"".join(msgpack.packb(item) for item in maps) + b"tail"
    stream = MapStream("test")
    found: list[Any] = []
    for index in range(len(data)):
        stream.feed(data[index : index + 1])
        if len(found) < len(maps) and (item := stream.next()) is not None:
            found.append(item)
    assert found == maps
    assert stream.rest() == b"tail"


def test_map_stream_bounds_one_map_not_their_sum() -> None:
    stream = MapStream("test", limit=100)
    record = codec.pack({"v": b"x" * 94})
    assert len(record) == 100
    for _ in range(10):
        stream.feed(record)
        assert stream.next() == {b"v": b"x" * 94}
    stream.feed(codec.pack({"v": b"x" * 95}))
    with pytest.raises(WireError, match="longer than 100"):
        stream.next()


def test_map_stream_refuses_an_endless_map_before_it_ends() -> None:
    stream = MapStream("test", limit=100)
    stream.feed(b"\x81\xa1v\xdb\x7f\xff\xff\xff" + bytes(92))
    assert stream.next() is None
    stream.feed(b"x")
    with pytest.raises(WireError, match="longer than 100"):
        stream.next()


def test_map_stream_names_the_offset_of_the_map_at_fault() -> None:
    stream = MapStream("test")
    stream.feed(b"\x80\x81\xa1a\x01\x93\x01\x02\x03")
    assert stream.next() == {}
    assert stream.next() == {b"a": 1}
    with pytest.raises(WireError) as refusal:
        stream.next()
    assert refusal.value.offset == 5


def test_state_scanner_walks_lists_longer_than_the_limit_of_one_value() -> None:
    size = 10 * LIST_MAX
    scanner = StateScanner(codec.pack_large([7] * size), "test")
    assert scanner.array_header(size) == size
    assert [scanner.value() for _ in range(size)] == [7] * size


def test_state_scanner_passes_over_what_is_not_wanted() -> None:
    scanner = StateScanner(codec.pack([[1, [2]], None, None, {"a": 1}, None]), "test")
    assert scanner.array_header(5) == 5
    scanner.skip()
    assert scanner.skip_nils(4) == 2
    assert scanner.map_header() == 1
    assert (scanner.value(), scanner.value()) == (b"a", 1)
    assert scanner.array_header(5) == 0  # nil


def test_state_scanner_refuses_another_shape() -> None:
    for data, call, limits in (
        (b"\x01", "map_header", ()),
        (b"\x80", "array_header", (5,)),
        (b"\x93\x01\x02\x03", "array_header", (2,)),
        (b"", "value", ()),
        (b"\xc1", "value", ()),
        (b"\x92\x01", "skip", ()),
    ):
        with pytest.raises(WireError, match="test"):
            getattr(StateScanner(data, "test"), call)(*limits)
