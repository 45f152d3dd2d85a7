"""LZW: Go's variant, in slices, within limits (R-26, H6)."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest

from gossip.errors import WireError
from gossip.wire.limits import STREAM_DECOMPRESSED_MAX
from gossip.wire.lzw import Decompressor, compress, decompress
from tests.wire_helpers import lzw_zeros


def drain(decompressor: Decompressor) -> None:
    while not decompressor.finished:
        decompressor.step(65_536)


def data_of_sizes() -> list[bytes]:
    random = Random(1)
    sizes = (0, 1, 2, 253, 254, 255, 256, 257, 765, 766, 767, 1790, 1791, 3837, 3838, 3839, 20_000)
    return [random.randbytes(size) for size in sizes] + [b"ab" * size for size in sizes]


@pytest.mark.parametrize("plain", data_of_sizes(), ids=len)
def test_round_trip_over_every_change_of_width(plain: bytes) -> None:
    assert decompress(compress(plain), len(plain)) == plain


def test_data_without_leading_clear_code_is_read() -> None:
    # Old encoders did not start with a clear code: literal 65, end; 9 bits each.
    packed = (65 | 257 << 9).to_bytes(3, "little")
    assert decompress(packed, 10) == b"A"


def test_table_that_is_full_is_used_until_it_is_cleared() -> None:
    # Codes for literals only, 12 bits wide once the table is full, and no clear code at all.
    count = 6000
    bits = bit_count = 0
    for index in range(count + 1):
        hi = min(257 + index, 4095)
        width = max(9, min(12, hi.bit_length()))
        bits |= (index % 256 if index < count else 257) << bit_count
        bit_count += width
    packed = bits.to_bytes((bit_count + 7) // 8, "little")

    assert decompress(packed, count) == bytes(index % 256 for index in range(count))


@pytest.mark.parametrize("size", range(0, 40, 7))
def test_data_cut_anywhere_is_refused(size: int) -> None:
    packed = compress(b"some text, some more text, some other text")
    with pytest.raises(WireError, match="ends before its end marker"):
        decompress(packed[:size], 1000)


@pytest.mark.parametrize("codes", [[258], [256, 258], [65, 259], [65, 66, 260], [257 + 254]])
def test_code_beyond_the_table_is_refused(codes: list[int]) -> None:
    bits = sum(code << 9 * index for index, code in enumerate(codes))
    with pytest.raises(WireError) as refusal:
        decompress(bits.to_bytes(8, "little"), 1000)
    assert refusal.value.layer == "compress"
    assert "the code" in str(refusal.value)


def test_bytes_behind_the_end_marker_are_ignored() -> None:
    assert decompress(compress(b"hello") + b"\xff" * 100, 10) == b"hello"


@pytest.mark.parametrize(("limit", "fits"), [(9_999, False), (10_000, True), (10_001, True)])
def test_limit_of_the_output_is_exact(limit: int, fits: bool) -> None:
    packed = compress(b"abc" * 3333 + b"a")
    if fits:
        assert len(decompress(packed, limit)) == 10_000
    else:
        with pytest.raises(WireError, match="limit of 9999 bytes"):
            decompress(packed, limit)


def test_h6_steps_give_the_same_bytes_with_bounded_work() -> None:
    plain = bytes(Random(2).choices(b"abcdef", k=300_000))
    packed = compress(plain)
    decompressor = Decompressor(packed, len(plain))
    pieces = []
    while not decompressor.finished:
        pieces.append(decompressor.step(4096, 1024))
        assert len(pieces[-1]) < 4096 + 64 * 4096
    assert b"".join(pieces) == plain
    assert decompressor.produced == len(plain)
    assert len(pieces) >= len(packed) // 1024


def test_h6_incompressible_data_is_sliced_by_its_input() -> None:
    packed = compress(Random(3).randbytes(50_000))
    decompressor = Decompressor(packed, 50_000)
    first = decompressor.step(2**30, 1000)
    assert 0 < len(first) <= 1000
    assert not decompressor.finished


def test_r26_bomb_stops_at_the_stream_limit_within_its_memory() -> None:
    bomb = lzw_zeros(b"", STREAM_DECOMPRESSED_MAX + 1)
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        decompressor = Decompressor(bomb, STREAM_DECOMPRESSED_MAX)
        with pytest.raises(WireError, match="more than the limit of 41943040 bytes"):
            drain(decompressor)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decompressor.produced <= STREAM_DECOMPRESSED_MAX
    assert peak < 16 * 2**20  # the table and one slice, not what came out
