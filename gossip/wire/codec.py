"""msgpack as memberlist and Serf speak it, and nothing else of msgpack.

Written is the old specification ("raw" for text and bytes, no str8, no bin), but for `pack_current`. Read is anything: text
and bytes in old and new families, integers of any width and sign that fit, nil for a missing or empty
value, a list of small integers for bytes; unknown keys are skipped. What does not parse raises
`WireError`; no input raises anything else, and no input makes us reserve memory from a length that it
only declares.

The readers below take a decoded map and a key. They sit on the path of every packet, hence the exact
type checks (`bool` is not an integer here) and the single module-level `Packer`.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import msgpack

from gossip.errors import WireError
from gossip.wire.limits import (
    LIST_MAX,
    META_MAX,
    NAME_MAX,
    RECORD_MAX,
    U8_MAX,
    U16_MAX,
    U32_MAX,
    U64_MAX,
)

__all__ = [
    "FieldError",
    "Fields",
    "MapStream",
    "StateScanner",
    "boolean",
    "decode_fields",
    "decode_text",
    "floating",
    "int64",
    "locate",
    "meta",
    "name",
    "pack",
    "pack_current",
    "pack_large",
    "raw",
    "text",
    "text_map",
    "texts",
    "u8",
    "u16",
    "u32",
    "u64",
    "uint",
    "unpack",
]

Fields: TypeAlias = dict[bytes, Any]
"""A decoded map: keys are bytes, values what msgpack made of them."""

# What msgpack's C and Python readers raise on hostile input: FormatError, StackError and ExtraData
# are ValueErrors; lists as map keys give TypeError, timestamps OverflowError.
_UNPACK_ERRORS: Final = (ValueError, TypeError, OverflowError, RecursionError, MemoryError)
_SCAN_ERRORS: Final = (msgpack.OutOfData, *_UNPACK_ERRORS)
_NILS: Final = re.compile(rb"\xc0*")

_unpackb = msgpack.unpackb
_strict_pack = msgpack.Packer(use_bin_type=False).pack
_current_pack = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape").pack
_escaping_pack = msgpack.Packer(use_bin_type=False, unicode_errors="surrogateescape").pack


class FieldError(Exception):
    """A field has a value that its type does not allow; turned into `WireError` by the message."""

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason


# Writing


def pack(obj: object) -> bytes:
    """Encode a small value; text that came from undecodable bytes becomes those bytes again."""
    try:
        packed: bytes = _strict_pack(obj)
    except UnicodeEncodeError:
        packed = _escaping_pack(obj)
    return packed


def pack_large(obj: object) -> bytes:
    """Encode a value that may be megabytes, without keeping a buffer of that size afterwards."""
    packer = msgpack.Packer(use_bin_type=False, unicode_errors="surrogateescape")
    packed: bytes = packer.pack(obj)
    return packed


def pack_current(obj: object) -> bytes:
    """Encode a value as the current specification has it, with str8 and bin."""
    packed: bytes = _current_pack(obj)
    return packed


# Reading whole values


def unpack(data: bytes, layer: str) -> tuple[Any, bytes]:
    """Decode the first value in `data`; also give the bytes that follow it.

    Raises:
        WireError: it does not parse, or a list in it exceeds `LIST_MAX`.
    """
    try:
        return _unpackb(data, raw=True, max_array_len=LIST_MAX), b""
    except msgpack.ExtraData as extra:
        return extra.unpacked, extra.extra
    except _UNPACK_ERRORS as error:
        raise _malformed(data, error, layer) from None


def decode_fields(data: bytes, layer: str) -> Fields:
    """Decode a map; bytes after it are ignored, as Go's decoder does, and nil is an empty map.

    Raises:
        WireError: it does not parse or is no map.
    """
    try:
        value = _unpackb(data, raw=True, max_array_len=LIST_MAX)
    except msgpack.ExtraData as extra:
        value = extra.unpacked
    except _UNPACK_ERRORS as error:
        raise _malformed(data, error, layer) from None
    if type(value) is dict:
        return value
    if value is None:
        return {}
    raise WireError(f"{layer}: a map was expected, not {type(value).__name__}", layer=layer)


def _malformed(data: bytes, error: BaseException, layer: str) -> WireError:
    """Describe why `data` does not parse; parses it once more to find where."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=max(len(data), 1), max_array_len=LIST_MAX)
    unpacker.feed(data)
    try:
        unpacker.skip()
    except msgpack.OutOfData:
        return WireError(
            f"{layer}: ends inside a value after {len(data)} bytes", layer=layer, offset=len(data)
        )
    except _UNPACK_ERRORS:
        pass
    reason = str(error) or type(error).__name__
    return WireError(
        f"{layer}: malformed msgpack: {reason}", layer=layer, offset=min(unpacker.tell(), len(data))
    )


def locate(data: bytes, key: bytes) -> int:
    """Find where the value of a key begins in an encoded map, for error messages; 0 if unknown."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=max(len(data), 1), max_array_len=LIST_MAX)
    unpacker.feed(data)
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == key:
                return int(unpacker.tell())
            unpacker.skip()
    except _SCAN_ERRORS:
        pass
    return 0


# Reading fields


def u32(fields: Fields, key: bytes) -> int:
    """Read an integer of 0 to 2**32 - 1; missing and nil are 0."""
    value = fields.get(key)
    if type(value) is int and 0 <= value <= U32_MAX:
        return value
    return _no_uint(key, value, U32_MAX)


def u16(fields: Fields, key: bytes) -> int:
    """Read an integer of 0 to 65535; missing and nil are 0."""
    value = fields.get(key)
    if type(value) is int and 0 <= value <= U16_MAX:
        return value
    return _no_uint(key, value, U16_MAX)


def u64(fields: Fields, key: bytes) -> int:
    """Read an integer of 0 to 2**64 - 1; missing and nil are 0."""
    value = fields.get(key)
    if type(value) is int and 0 <= value <= U64_MAX:
        return value
    return _no_uint(key, value, U64_MAX)


def u8(fields: Fields, key: bytes) -> int:
    """Read an integer of 0 to 255; missing and nil are 0."""
    return uint(fields, key, U8_MAX)


def uint(fields: Fields, key: bytes, limit: int) -> int:
    """Read an integer of 0 to `limit`; missing and nil are 0."""
    value = fields.get(key)
    if type(value) is int and 0 <= value <= limit:
        return value
    return _no_uint(key, value, limit)


def _no_uint(key: bytes, value: object, limit: int) -> int:
    if value is None:
        return 0
    raise _refusal(key, value, f"an integer of 0 to {limit}")


def int64(fields: Fields, key: bytes) -> int:
    """Read a signed integer of 64 bits; missing and nil are 0."""
    value = fields.get(key)
    if value is None:
        return 0
    if type(value) is int and value < 2**63:  # msgpack has nothing below -2**63
        return value
    raise _refusal(key, value, "a signed integer of 64 bits")


def boolean(fields: Fields, key: bytes) -> bool:
    """Read a boolean; missing and nil are false."""
    value = fields.get(key)
    if value is None:
        return False
    if type(value) is bool:
        return value
    raise _refusal(key, value, "a boolean")


def floating(fields: Fields, key: bytes) -> float:
    """Read a number as a float; missing and nil are 0.0."""
    value = fields.get(key)
    if value is None:
        return 0.0
    if type(value) is float or type(value) is int:
        return float(value)
    raise _refusal(key, value, "a number")


def raw(fields: Fields, key: bytes) -> bytes:
    """Read bytes; missing and nil are empty, a list of small integers counts as bytes."""
    value = fields.get(key)
    if type(value) is bytes:
        return value
    if value is None:
        return b""
    if type(value) is list and all(type(item) is int and 0 <= item <= U8_MAX for item in value):
        return bytes(value)
    raise _refusal(key, value, "bytes")


def text(fields: Fields, key: bytes) -> str:
    """Read text; missing and nil are empty. Bytes that are not UTF-8 survive as surrogates."""
    value = fields.get(key)
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise _refusal(key, value, "text")


def name(fields: Fields, key: bytes) -> str:
    """Read a node's name: text of at most `NAME_MAX` bytes."""
    value = fields.get(key)
    if type(value) is bytes and len(value) <= NAME_MAX:
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise _refusal(key, value, f"a name of at most {NAME_MAX} bytes")


def meta(fields: Fields, key: bytes) -> bytes:
    """Read a member's meta: bytes, at most `META_MAX`."""
    value = raw(fields, key)
    if len(value) > META_MAX:
        raise FieldError(key, f"{len(value)} bytes exceed the limit of {META_MAX}")
    return value


def decode_text(value: object, key: bytes) -> str:
    """Read text that stands in a list or is a key; nil is empty."""
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if value is None:
        return ""
    raise _refusal(key, value, "text")


def texts(fields: Fields, key: bytes) -> list[str]:
    """Read a list of texts; missing and nil are empty."""
    value = fields.get(key)
    if value is None:
        return []
    if type(value) is list:
        return [decode_text(item, key) for item in value]
    raise _refusal(key, value, "a list of texts")


def text_map(fields: Fields, key: bytes) -> dict[str, str]:
    """Read a map of texts to texts; missing and nil are empty."""
    value = fields.get(key)
    if value is None:
        return {}
    if type(value) is dict:
        return {decode_text(name, key): decode_text(item, key) for name, item in value.items()}
    raise _refusal(key, value, "a map of texts")


def _refusal(key: bytes, value: object, expected: str) -> FieldError:
    shown = f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)
    return FieldError(key, f"{shown[:40]} is not {expected}")


# Reading values as they arrive


class MapStream:
    """Reads one map after another from data that arrives in pieces, then the bytes that follow.

    A piece is parsed once however small the pieces are. The bytes of one map are bounded by `limit`.
    """

    def __init__(self, layer: str, limit: int = RECORD_MAX) -> None:
        self.layer = layer
        self._limit = limit
        self._fed = 0
        self._start = 0
        self.offset = 0
        """Where the map that was read last begins, or the one being read when reading failed."""
        # Without a read size each would reserve a megabyte from the start.
        self._unpacker = msgpack.Unpacker(
            raw=True, read_size=4096, max_buffer_size=0, max_array_len=LIST_MAX
        )

    def feed(self, data: bytes | memoryview) -> None:
        """Add data; call `next` until it gives None before adding more, or memory piles up."""
        self._unpacker.feed(data)
        self._fed += len(data)

    def next(self) -> Fields | None:
        """Give the next map, or None while it is incomplete.

        Raises:
            WireError: it does not parse, is no map or is longer than the limit.
        """
        self.offset = self._start
        try:
            value = self._unpacker.unpack()
        except msgpack.OutOfData:
            if self._fed - self._start > self._limit:
                raise self._error(f"a record is longer than {self._limit} bytes") from None
            return None
        except _UNPACK_ERRORS as error:
            reason = str(error) or type(error).__name__
            raise self._error(f"malformed msgpack: {reason}") from None
        end = self._unpacker.tell()
        if end - self._start > self._limit:
            raise self._error(f"a record is longer than {self._limit} bytes")
        self._start = end
        if type(value) is dict:
            return value
        if value is None:
            return {}
        raise self._error(f"a map was expected, not {type(value).__name__}")

    @property
    def pending(self) -> int:
        """Bytes that were fed and belong to no map that was given."""
        return self._fed - self._start

    def rest(self) -> bytes:
        """Take the bytes that were fed and belong to no map."""
        left: bytes = self._unpacker.read_bytes(self._fed - self._start)
        self._start = self._fed
        return left

    def _error(self, reason: str) -> WireError:
        return WireError(f"{self.layer}: {reason}", layer=self.layer, offset=self.offset)


class StateScanner:
    """Walks an encoded state of up to megabytes by its expected shape.

    Decoding such a state in one go would let a few hundred bytes of nested list headers reserve
    gigabytes; here a list of any length is walked element by element, while an element keeps to
    `LIST_MAX`. Every method raises `WireError` when the bytes are not what was asked for.
    """

    def __init__(self, data: bytes, layer: str) -> None:
        self._data = data
        self._layer = layer
        self._unpacker = msgpack.Unpacker(
            raw=True, max_buffer_size=max(len(data), 1), max_array_len=LIST_MAX
        )
        self._unpacker.feed(data)

    @property
    def offset(self) -> int:
        """Bytes walked so far."""
        return int(self._unpacker.tell())

    def map_header(self) -> int:
        """Enter a map and give its number of entries; nil counts as an empty map."""
        if self.skip_nils(1):
            return 0
        try:
            return int(self._unpacker.read_map_header())
        except _SCAN_ERRORS as error:
            raise self._error("a map", error) from None

    def array_header(self, limit: int) -> int:
        """Enter a list and give its number of elements, at most `limit`; nil counts as empty."""
        if self.skip_nils(1):
            return 0
        try:
            count = int(self._unpacker.read_array_header())
        except _SCAN_ERRORS as error:
            raise self._error("a list", error) from None
        if count > limit:
            raise WireError(
                f"{self._layer}: a list of {count} elements exceeds the limit of {limit}",
                layer=self._layer,
                offset=self.offset,
            )
        return count

    def value(self) -> Any:
        """Decode the next value whole."""
        try:
            return self._unpacker.unpack()
        except _SCAN_ERRORS as error:
            raise self._error("a value", error) from None

    def skip(self) -> None:
        """Pass over the next value without decoding it."""
        try:
            self._unpacker.skip()
        except _SCAN_ERRORS as error:
            raise self._error("a value", error) from None

    def skip_nils(self, limit: int) -> int:
        """Pass over at most `limit` nils that stand next to each other; give their number."""
        start = self._unpacker.tell()
        if not self._data.startswith(b"\xc0", start):
            return 0
        run = _NILS.match(self._data, start, start + limit)
        nils = run.end() - start if run else 0
        self._unpacker.read_bytes(nils)
        return nils

    def _error(self, expected: str, error: Exception) -> WireError:
        if isinstance(error, msgpack.OutOfData):
            reason = "ends inside a value"
        else:
            reason = f"{expected} was expected: {str(error) or type(error).__name__}"
        return WireError(f"{self._layer}: {reason}", layer=self._layer, offset=self.offset)
