"""The exceptions that this package raises; the type tells whose fault it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "GossipError",
    "JoinError",
    "LimitError",
    "QueryError",
    "WireError",
    "listed",
]


class GossipError(Exception):
    """Root of every exception that this package raises on purpose."""


class WireError(GossipError):
    """Bytes from the network do not parse, authenticate or keep within the limits.

    Attributes:
        layer: which layer refused them, for example ``label``, ``encrypt``, ``crc32``,
            ``compress``, ``compound`` or the name of a message.
        offset: where in that layer's input the problem was found, in bytes.
    """

    def __init__(self, message: str, *, layer: str = "message", offset: int = 0) -> None:
        super().__init__(message)
        self.layer = layer
        self.offset = offset


class ConfigError(GossipError, ValueError):
    """A setting is out of range or contradicts another one."""


class JoinError(GossipError):
    """No address could be joined; the text has one line per address with its reason."""


class LimitError(GossipError, ValueError):
    """A value given by the application exceeds a limit; nothing was changed by the call."""


class QueryError(GossipError):
    """A query cannot be answered: its deadline has passed, or it has been answered."""


def listed(errors: Sequence[str]) -> str:
    """Several errors in one text, as HashiCorp's tools write them: their number, then a line each."""
    count = f"{len(errors)} error{'s' if len(errors) != 1 else ''} occurred:"
    return "\n".join([count, *(f"\t* {error}" for error in errors)])
