"""What an application passes, judged before anything changes, so that a mistake is told where it was made.

Python would find most wrong types too, but later: in another member, which cannot read what it was sent,
or in the turn of the driver that comes upon them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr  # noqa: A004 - cut where it is long: a megabyte helps nobody

from gossip.errors import LimitError

__all__ = ["checked_names", "checked_payload", "checked_tags", "checked_text"]


def checked_text(what: str, value: object) -> str:
    """A text that the wire can carry.

    Raises:
        TypeError: it is no text.
        LimitError: UTF-8 has no bytes for it (bytes that were no UTF-8 may be in it as Python reads
            them from the system, with ``surrogateescape``).
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} {repr(value)} is {_kind(value)}, not str")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LimitError(f"{what} {repr(value)} cannot be encoded as UTF-8") from None
    return value


def checked_payload(what: str, value: object) -> bytes:
    """Bytes; other objects that hold bytes are copied. Its errors never show it: keys come here too.

    Raises:
        TypeError: it is anything else.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"{what} is {_kind(value)}, not bytes")


def checked_names(what: str, values: object) -> list[str]:
    """Several texts; one alone would be taken for its letters.

    Raises:
        TypeError: it is no such thing.
        LimitError: UTF-8 has no bytes for one of them.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{what} {repr(values)} are {_kind(values)}, not a list of str")
    return [checked_text(f"one of {what},", value) for value in values]


def checked_tags(what: str, values: object) -> dict[str, str]:
    """Texts by name.

    Raises:
        TypeError: it is no mapping, or a name or value of it is no text.
        LimitError: UTF-8 has no bytes for one of them.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} {repr(values)} are {_kind(values)}, not a mapping")
    return {
        checked_text(f"a name of {what},", name): checked_text(f"{name!r} of {what},", value)
        for name, value in values.items()
    }


def _kind(value: object) -> str:
    return type(value).__name__
