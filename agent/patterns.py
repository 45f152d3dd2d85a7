"""Regular expressions that come from others, with RE2, whose matching takes linear time."""

from __future__ import annotations

from typing import Protocol

from gossip.errors import GossipError

__all__ = ["Pattern", "PatternError", "compile_pattern", "searches"]

MAX_PATTERN = 512
"""Bytes of an expression: matching costs what it is long."""
_MEMORY = 1 << 20  # bytes that RE2 may spend on one expression


class PatternError(GossipError, ValueError):
    """An expression cannot be used; the text is Go's where RE2 gives it."""


class Pattern(Protocol):
    """A compiled expression."""

    def search(self, text: bytes) -> object | None:
        """The first match anywhere in the text, or None."""


def compile_pattern(pattern: str) -> Pattern:
    """Compile an expression.

    Raises:
        PatternError: it does not compile, or is too long.
    """
    import re2  # noqa: PLC0415 - 3 MiB that most agents never need

    data = pattern.encode("utf-8", "surrogateescape")
    if len(data) > MAX_PATTERN:
        raise PatternError(f"{len(data)} bytes exceed the limit of {MAX_PATTERN} bytes")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False  # RE2 would write to stderr
    try:
        compiled: Pattern = re2.compile(data, options=options)
        re2.purge()  # its cache would keep 128 of them, with all the memory they may take
    except re2.error as error:
        reason = error.args[0] if error.args else b"unusable"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(f"error parsing regexp: {text}") from None
    return compiled


def searches(pattern: Pattern, text: str) -> bool:
    """Whether the expression matches anywhere in the text."""
    return pattern.search(text.encode("utf-8", "surrogateescape")) is not None
