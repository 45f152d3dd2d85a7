"""What stands behind the question mark: parameters, consistency modes and blocking queries.

Mistakes are reported in Consul's order (datacenter, token, consistency, wait and index), before
anything about the path, and in Consul's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from agent.durations import parse_duration
from agent.http.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_WAIT",
    "Blocking",
    "blocking",
    "consistency",
    "parse_all",
    "parse_parameters",
    "parse_truth",
    "refuse_filter",
    "token_of",
    "unquote",
]

MAX_WAIT = 600.0
"""Longest wait of a blocking query, seconds; longer ones are cut."""

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DIGITS = re.compile(r"[0-9]{1,20}")
_INDEX_LIMIT = 1 << 64


@dataclass(slots=True, frozen=True)
class Blocking:
    """When to answer: at once with index 0, else once the index differs or `wait` seconds are over."""

    index: int = 0
    wait: float = MAX_WAIT


def unquote(text: str) -> str:
    """Undo percent-encoding once; bytes that are no UTF-8 become surrogates.

    Raises:
        ValueError: a percent sign without two hexadecimal digits.
    """
    if _BROKEN_ESCAPE.search(text):
        raise ValueError(f"broken percent-encoding in {text[:60]!r}")
    if "%" not in text:
        return text
    # The request line was read as UTF-8 with surrogates for other bytes.
    data = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


def parse_parameters(query: str) -> dict[str, str]:
    """The parameters of a query string; of a repeated one the first counts, as in Consul.

    Raises:
        HttpError: it cannot be decoded (500 without a text, as Consul answers).
    """
    parameters: dict[str, str] = {}
    try:
        for pair in query.split("&"):
            if pair:
                key, _, value = pair.replace("+", " ").partition("=")
                parameters.setdefault(unquote(key), unquote(value))
    except ValueError:
        raise HttpError(500) from None
    return parameters


def consistency(parameters: Mapping[str, str]) -> str:
    """The mode that the parameters ask for: ``leader`` (the default), ``stale`` or ``consistent``.

    Raises:
        HttpError: 400 with Consul's text.
    """
    stale = "stale" in parameters
    if text := parameters.get("max_stale"):
        try:
            stale = parse_duration(text) > 0 or stale
        except ValueError:
            raise HttpError(400, f'Invalid max_stale value "{text[:60]}"') from None
    if "consistent" not in parameters:
        return "stale" if stale else "leader"
    if stale:
        raise HttpError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    return "consistent"


def blocking(parameters: Mapping[str, str], *, default: float = MAX_WAIT) -> Blocking:
    """The blocking query that the parameters ask for.

    Args:
        parameters: from `parse_parameters`.
        default: the wait in seconds when none, or one of zero or less, is given.

    Raises:
        HttpError: 400 with Consul's text.
    """
    consistency(parameters)
    wait = 0.0
    if text := parameters.get("wait"):
        try:
            wait = parse_duration(text)
        except ValueError:
            raise HttpError(400, "Invalid wait time") from None
    index = _index(parameters.get("index") or "0")
    return Blocking(index, min(wait, MAX_WAIT) if wait > 0 else default)


def parse_all(query: str, name: str) -> list[str]:
    """Every value of a parameter, from a query string that `parse_parameters` has accepted."""
    pairs = (pair.replace("+", " ").partition("=") for pair in query.split("&"))
    return [unquote(value) for key, _, value in pairs if unquote(key) == name]


def parse_truth(text: str, *, empty: bool) -> bool:
    """A boolean in any of Go's spellings.

    Args:
        text: to read.
        empty: what it means when it is empty.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return empty
    if text in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if text in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ValueError(f"{text[:20]!r} is not true or false")


def refuse_filter(parameters: Mapping[str, str]) -> None:
    """Refuse filter expressions rather than show what they would have left out.

    Raises:
        HttpError: 400.
    """
    if parameters.get("filter"):
        raise HttpError(400, "Filter expressions are not supported")


def token_of(parameters: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The token of a request, in Consul's order of precedence; empty when it has none."""
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    return (
        parameters.get("token")
        or headers.get("X-Consul-Token")
        or (bearer.strip() if scheme.lower() == "bearer" else "")
    )


def _index(text: str) -> int:
    index = int(text) if _DIGITS.fullmatch(text) else _INDEX_LIMIT
    if index >= _INDEX_LIMIT:
        raise HttpError(400, "Invalid index")
    return index
