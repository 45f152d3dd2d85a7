"""JSON objects whose keys come in any case, with underscores or without: bodies of requests, and files.

Consul's API says ``ServiceID``, its configuration files ``service_id``, and clients send either. What a
body has besides the keys that are asked for means nothing. Text is what Go makes of it: bytes that are no
UTF-8, and halves of surrogate pairs, become the replacement character, so whatever comes out of here can be
stored and shown.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from agent.durations import is_duration, parse_duration
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Body", "DecodeError"]

_SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_NUMBER = 1 << 63
_ZERO: tuple[Any, ...] = (None, False, 0, "", "0s", [], {})


class DecodeError(GossipError, ValueError):
    """What was sent has another form than it should; the text says where and what was expected."""


class Body:
    """One JSON object.

    Each getter takes a key in CamelCase and gives its default when the key is missing or null. All raise
    `DecodeError` when the value is of another kind.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._path = path
        self._names = {_folded(key): key for key in values}
        self._values = {_folded(key): value for key, value in values.items()}
        self._asked: set[str] = set()
        self._inside: list[Body] = []

    @classmethod
    def parse(cls, data: bytes) -> Body:
        """Read a body; null is an object without keys, as it is for Go."""
        try:
            value = json.loads(data.decode("utf-8", "replace"))
        except ValueError as error:
            where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            text = "the body is empty" if not data.strip() else f"the body is not JSON{where}"
            raise _failed(text) from None
        except RecursionError:
            raise _failed("the body is nested too deeply") from None
        if not isinstance(value, dict | None):
            raise _failed("the body is not an object")
        return cls(value or {})

    def __contains__(self, key: str) -> bool:
        return self._get(key, None) is not None

    @property
    def filled(self) -> bool:
        """Whether any key has a value besides those that Go gives to what is missing."""
        return any(value not in _ZERO for value in self._values.values())

    def unknown(self) -> list[str]:
        """The keys that nobody has asked for, here and in the objects that were given out."""
        own = [name for key, name in self._names.items() if key not in self._asked]
        inside = [name for body in self._inside for name in body.unknown()]
        return [f"{self._path}{name}" for name in own] + inside

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return _clean(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(key, "a list of strings")
        return tuple(map(_clean, value))

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of 64 bits."""
        value = self._get(key, default)
        if type(value) is not int or not -_MAX_NUMBER <= value < _MAX_NUMBER:
            raise self._wrong(key, "a whole number")
        return value

    def truth(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def duration(self, key: str) -> float:
        """Seconds, from a duration such as ``10s`` or a number of nanoseconds; 0 when there is none."""
        value = self._get(key, 0)
        wrong = self._wrong(key, 'a duration such as "10s"')
        if not isinstance(value, str):
            # Some clients know but one kind of number, and write ten seconds as 1e+10.
            seconds = (value if isinstance(value, float) else self.number(key)) / 1e9
            if not is_duration(seconds):
                raise wrong
            return seconds
        try:
            return parse_duration(value) if value else 0.0
        except ValueError:
            raise wrong from None

    def mapping(self, key: str) -> dict[str, str]:
        """An object whose values are strings, in order of its keys, as Go shows it."""
        value = self._get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._wrong(key, "an object of strings")
        return {_clean(name): _clean(text) for name, text in sorted(value.items())}

    def lists(self, key: str) -> dict[str, list[str]]:
        """An object whose values are lists of strings, as of HTTP headers; likewise."""
        value = self._get(key, {})
        if not isinstance(value, dict) or not all(
            isinstance(texts, list) and all(isinstance(text, str) for text in texts)
            for texts in value.values()
        ):
            raise self._wrong(key, "an object of lists of strings")
        return {_clean(name): list(map(_clean, texts)) for name, texts in sorted(value.items())}

    def object(self, key: str) -> Body | None:
        """An object; None when there is none."""
        value = self._get(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return self._open(value, f"{self._name(key)}.")

    def objects(self, key: str) -> list[Body]:
        """A list of objects."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._wrong(key, "a list of objects")
        return [self._open(one, f"{self._name(key)}[{at}].") for at, one in enumerate(value)]

    def by_name(self, key: str) -> dict[str, Body]:
        """An object whose values are objects; likewise."""
        value = self._get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
            raise self._wrong(key, "an object of objects")
        return {
            _clean(name): self._open(v, f"{self._name(key)}.") for name, v in sorted(value.items())
        }

    def _open(self, values: Mapping[str, Any], path: str) -> Body:
        body = Body(values, path)
        self._inside.append(body)
        return body

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(_folded(key))
        value = self._values.get(_folded(key))
        return default if value is None else value

    def _name(self, key: str) -> str:
        return f"{self._path}{key}"

    def _wrong(self, key: str, expected: str) -> DecodeError:
        return _failed(f"{self._name(key)} is not {expected}")


def _failed(detail: str) -> DecodeError:
    return DecodeError(detail)


def _folded(key: str) -> str:
    return key.replace("_", "").lower()


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)
