"""What the benchmarks' command lines have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

__all__ = ["chosen"]


def chosen(
    parser: argparse.ArgumentParser, what: str, text: str, known: Mapping[str, object]
) -> list[str]:
    """The names of a list separated by commas; one that is not known ends the command."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"-{what} {unknown[0]!r} is none of {', '.join(known)}")
    return names
