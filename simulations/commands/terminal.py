"""What the subcommands share: common options, lines for people, JSON for scripts, progress."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ["Progress", "jobs_option", "json_option", "positive", "say", "say_json"]


class Progress:
    """A line on standard error that says how far a long run is; nothing for what is over quickly."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def advance(self, done: int, failed: int) -> None:
        """So many are done."""
        now = time.monotonic()
        last = done == self._total
        if now - self._started < 2 or (
            now - self._shown < (0.5 if self._live else 10) and not last
        ):
            return
        self._shown = now
        took = now - self._started
        left = took / done * (self._total - done)
        bar = "#" * (30 * done // self._total)
        text = f"[{bar:30}] {done}/{self._total} {self._what}, {failed} failed, {left:.0f} s left"
        end = "\n" if last or not self._live else ""
        sys.stderr.write(("\r" if self._live else "") + text + end)
        sys.stderr.flush()


def say(text: str = "") -> None:
    """One line for people."""
    sys.stdout.write(text + "\n")


def say_json(value: object) -> None:
    """One document for scripts."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


def json_option() -> argparse.ArgumentParser:
    """A parent for parsers of commands that can answer scripts."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", action="store_true", help="print one JSON document")
    return parent


def jobs_option() -> argparse.ArgumentParser:
    """A parent for parsers of commands that use all cores."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--jobs", type=positive, help="processes; the number of cores by default")
    return parent


def positive(text: str) -> int:
    """The type of options that count something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
