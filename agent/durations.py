"""Durations in the text form of Go's ``time.Duration``, as Consul writes them everywhere.

A duration is a sequence of decimal numbers with a unit each: ``300ms``, ``1h30m``, ``1.5m``. Only
``0`` may stand without a unit. The unit tells the reader what a bare number would leave open, so a
bare number is refused rather than guessed at.
"""

from __future__ import annotations

__all__ = ["format_duration", "is_duration", "parse_duration"]

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
_LIMIT_NS = 2**63  # Go keeps nanoseconds in an int64: about 292 years
_LIMIT = _LIMIT_NS / 1e9  # seconds; the last nanoseconds below it round up to it
_LIMIT_TEXT = 128  # characters; far above any sensible duration, and bounds the work


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``1h30m``.

    A leading sign is accepted as Go accepts it; whether a negative length makes sense is for the
    caller to say.

    Raises:
        ValueError: the text is not a duration or exceeds what Go can hold; the message is complete.
    """
    if len(text) > _LIMIT_TEXT:
        raise ValueError(f"invalid duration of {len(text)} characters")
    sign, rest = 1, text
    if rest[:1] in {"-", "+"}:
        sign, rest = (-1 if rest[0] == "-" else 1), rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f'invalid duration "{text}"')
    total = 0
    while rest:
        number, rest = _split(rest, "0123456789.")
        unit, rest = _split_unit(rest)
        whole, _, fraction = number.partition(".")
        if "." in fraction or not (whole or fraction):
            raise ValueError(f'invalid duration "{text}"')
        if not unit:
            raise ValueError(f'missing unit in duration "{text}", for example "{text}s"')
        if unit not in _UNIT_NS:
            raise ValueError(f'unknown unit "{unit}" in duration "{text}" (ns, us, ms, s, m, h)')
        scale = _UNIT_NS[unit]
        total += int(whole or "0") * scale
        total += int(fraction or "0") * scale // 10 ** len(fraction)
        if not is_duration(total / 1e9):
            raise ValueError(f'duration "{text}" exceeds the limit of about 292 years')
    return sign * total / 1e9


def is_duration(seconds: float) -> bool:
    """Whether Go can hold a duration of so many seconds."""
    return -_LIMIT < seconds < _LIMIT


def format_duration(seconds: float) -> str:
    """The text that Go's ``Duration.String`` gives: ``1h30m0s``, ``1.5s``, ``200ms``, ``0s``.

    Raises:
        ValueError: the value is not finite or exceeds what Go can hold.
    """
    if not is_duration(seconds):
        raise ValueError(f"duration of {seconds} seconds is out of range")
    ns = round(seconds * 1e9)
    sign, ns = ("-" if ns < 0 else ""), abs(ns)
    if ns == 0:
        return "0s"
    if ns < 1_000:
        return f"{sign}{ns}ns"
    if ns < 1_000_000:
        return f"{sign}{_decimal(ns, 1_000)}\u00b5s"
    if ns < 1_000_000_000:
        return f"{sign}{_decimal(ns, 1_000_000)}ms"
    minutes, ns = divmod(ns, _UNIT_NS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(ns, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _split(text: str, accepted: str) -> tuple[str, str]:
    end = len(text) - len(text.lstrip(accepted))
    return text[:end], text[end:]


def _split_unit(text: str) -> tuple[str, str]:
    end = 0
    while end < len(text) and text[end] not in "0123456789.":
        end += 1
    return text[:end], text[end:]


def _decimal(ns: int, unit: int) -> str:
    """`ns` in `unit` with as many decimals as it needs, and none when it needs none."""
    whole, rest = divmod(ns, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"
