"""What a cluster to look at prints: lines and tables for people, JSON for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from simulations.cluster.agent import STATUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["Screen", "clock", "table_of"]


class Screen:
    """Where progress goes: lines for people, or one JSON object each for scripts."""

    def __init__(self, style: str) -> None:
        self._json = style == "json"

    def say(self, step: str, text: str, **facts: object) -> None:
        """Report one step; `facts` are what scripts get."""
        line = json.dumps({"step": step, **facts}) if self._json else text
        print(line, flush=True)

    @contextlib.asynccontextmanager
    async def waiting(self, text: str) -> AsyncIterator[None]:
        """Say on standard error every two seconds that something still goes on."""

        async def remind() -> None:
            started = time.monotonic()
            while True:
                await asyncio.sleep(2)
                print(
                    f"... {text} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True
                )

        reminder = asyncio.create_task(remind())
        try:
            yield
        finally:
            reminder.cancel()


def clock() -> str:
    """The time of day, for people."""
    return time.strftime("%H:%M:%S")


def table_of(members: Sequence[dict[str, Any]], tag: str) -> str:
    """A table of members with one of their tags."""
    rows = [
        (m["Name"], f"{m['Addr']}:{m['Port']}", STATUS[m["Status"]], m["Tags"].get(tag, ""))
        for m in members
    ]
    return table(("Node", "Address", "Status", tag.upper() if tag == "dc" else tag.title()), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, two spaces apart."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
