"""LZW as memberlist compresses with it: least significant bit first, codes of 9 to 12 bits.

This is the code of GIF with 8-bit literals, not TIFF's with its early change of width. Output of
`compress` is what Go's ``compress/lzw`` writes. In pure Python it costs about 0.25 us per code, the
dearest step of all on the path of a packet: we decompress always and compress only on request.
"""

from __future__ import annotations

from typing import Final

from gossip.errors import WireError

__all__ = ["Decompressor", "compress", "decompress"]

_CLEAR: Final = 256
_END: Final = 257
_FULL: Final = 4096  # table entries at the largest width
_LITERALS: Final = [bytes((value,)) for value in range(256)]
_CHUNK: Final = 64  # input bytes between two looks at the output; each can expand to 4 KiB


class Decompressor:
    """Decompresses in steps of bounded work, so that a large state does not hold up the caller.

    Args:
        data: the complete compressed bytes.
        limit: largest output in bytes; beyond it `WireError` is raised.
    """

    def __init__(self, data: bytes, limit: int) -> None:
        self.finished = False
        self.produced = 0
        self._data = data
        self._limit = limit
        self._position = 0
        self._bits = 0
        self._bit_count = 0
        self._width = 9
        self._table = [*_LITERALS, b"", b""]
        self._previous: bytes | None = None

    def step(self, max_output: int, max_input: int = 8192) -> bytes:
        """Decompress until about `max_output` bytes came out or `max_input` were read.

        Sets `finished` at the end marker; what follows it is ignored.

        Raises:
            WireError: the input ends early, has an impossible code or expands beyond the limit.
        """
        data, position = self._data, self._position
        last = min(position + max_input, len(data))
        out = bytearray()
        while position < last and not self.finished and len(out) < max_output:
            chunk = data[position : min(position + _CHUNK, last)]
            self._expand(chunk, position, out)
            position += len(chunk)
            if self.produced + len(out) > self._limit:
                raise WireError(
                    f"compressed data expands to more than the limit of {self._limit} bytes",
                    layer="compress",
                    offset=position,
                )
        self._position = position
        self.produced += len(out)
        if not self.finished and position >= len(data):
            raise WireError(
                "compressed data ends before its end marker", layer="compress", offset=position
            )
        return bytes(out)

    def _expand(self, chunk: bytes, position: int, out: bytearray) -> None:  # noqa: C901 - one loop
        """Append to `out` what the codes that end in `chunk` stand for."""
        table, previous = self._table, self._previous
        bits, bit_count, width = self._bits, self._bit_count, self._width
        mask, size = (1 << width) - 1, len(self._table)
        for index, byte in enumerate(chunk):
            bits |= byte << bit_count
            bit_count += 8
            if bit_count < width:
                continue  # a code has more than 8 bits: a byte completes one at the most
            code = bits & mask
            bits >>= width
            bit_count -= width
            if code == _CLEAR:
                width, mask, size, previous = 9, 511, 258, None
                del table[258:]
                continue
            if code == _END:
                self.finished = True
                break
            if code < size:
                entry = table[code]
            elif code == size and previous is not None:
                entry = previous + previous[:1]
            else:
                raise WireError(
                    f"compressed data has the code {code} where {size} is the next free one",
                    layer="compress",
                    offset=position + index,
                )
            out += entry
            if previous is not None:
                table.append(previous + entry[:1])
                size += 1
                if size > mask:
                    if size == _FULL:
                        previous = None
                        continue
                    width += 1
                    mask = (1 << width) - 1
            elif size == _FULL:
                continue
            previous = entry
        self._previous = previous
        self._bits, self._bit_count, self._width = bits, bit_count, width


def decompress(data: bytes, limit: int) -> bytes:
    """Decompress at once what is known to be small.

    Raises:
        WireError: the data is damaged or expands beyond `limit` bytes.
    """
    decompressor = Decompressor(data, limit)
    out = decompressor.step(limit + 1, len(data))
    assert decompressor.finished  # noqa: S101 - anything else has raised
    return out


def compress(data: bytes) -> bytes:
    """Compress as Go does, byte for byte."""
    out = bytearray()
    bits, bit_count, width = _CLEAR, 9, 9
    table: dict[tuple[int, int], int] = {}
    last_code, overflow = 257, 512
    code = -1
    for byte in data:
        if code < 0:
            code = byte
            continue
        longer = table.get((code, byte))
        if longer is not None:
            code = longer
            continue
        bits |= code << bit_count
        bit_count += width
        last_code += 1
        if last_code == overflow:
            width += 1
            overflow *= 2
        if last_code == _FULL - 1:
            bits |= _CLEAR << bit_count
            bit_count += width
            width, last_code, overflow = 9, 257, 512
            table.clear()
        else:
            table[code, byte] = last_code
        code = byte
        if bit_count >= 256:
            whole = bit_count // 8
            out += (bits & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
            bits >>= 8 * whole
            bit_count -= 8 * whole
    if code >= 0:
        bits |= code << bit_count
        bit_count += width
        last_code += 1
        if last_code == overflow:
            width += 1
        if last_code == _FULL - 1:
            bits |= _CLEAR << bit_count
            bit_count += width
            width = 9
    bits |= _END << bit_count
    bit_count += width
    out += bits.to_bytes((bit_count + 7) // 8, "little")
    return bytes(out)
