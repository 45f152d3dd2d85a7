"""What the subcommands share: options and their types, lines for people, JSON for scripts, progress."""

from __future__ import annotations

import argparse
import json
import sys
import time
from math import inf, nan
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeAlias

from simulations import plots
from simulations.document import plain
from simulations.plan import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = [
    "PLAN_FORMAT", "Progress", "Steps", "add_command", "between", "jobs_option", "json_option", "positive",
    "say", "say_json", "writable",
]  # fmt: skip


def _fields(needed: Sequence[str], others: Sequence[str]) -> str:
    return " ".join([*needed, *(f"[{name}]" for name in others)])


PLAN_FORMAT = """a plan is a TOML file, or the same as JSON:
  name = "some die"
  nodes = 5                  # node-000 to node-004, joined before the first step
  seconds = 60
  [[steps]]
  at = 10
  do = "kill"
  nodes = "random:2"         # or names, all, first:N, last:N; dead:N is among those that do not run

what can be done, with the fields that it needs, and in brackets those that it may have
(slow, jump and poison: in virtual time only):
""" + "".join(
    f"  {action:12} {_fields(*known)}".rstrip() + "\n" for action, known in ACTIONS.items()
)
"""For the help of commands that take a plan."""


class Progress:
    """A line on standard error that says how far a long run is; nothing for what is over quickly."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def begin(self) -> None:
        """It begins only now."""
        self._started = self._shown = time.monotonic()

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


class Steps:
    """Says on standard error what is going on, every two seconds, where steps have no number."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def tell(self, step: str) -> None:
        """This is what is going on now."""
        now = time.monotonic()
        if now - self._shown >= 2:
            self._shown = now
            sys.stderr.write(f"... {step}\n")
            sys.stderr.flush()


def say(text: str = "") -> None:
    """One line for people."""
    sys.stdout.write(text + "\n")


def say_json(value: object) -> None:
    """One document for scripts."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False)
    sys.stdout.write(text + "\n")


def writable(folder: Path) -> bool:
    """Make the folder of a report, before hours of work and not after; False when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        sys.stderr.write(f"no report can be written to {folder}: {error.strerror}\n")
        return False
    if not plots.available():
        sys.stderr.write("matplotlib is not installed (the extra sim), so there will be no plots\n")
    return True


def between(low: float, high: float, kind: type[int | float] = float) -> Callable[[str], float]:
    """The type of options whose value has limits, which are allowed themselves."""
    what = "a whole number" if kind is int else "a number"
    limits = f"of at least {low:g}" if high == inf else f"between {low:,} and {high:,}"

    def parse(text: str) -> float:
        try:
            value = kind(text.replace(",", "") if kind is int else text)
        except ValueError:
            value = nan
        if not low <= value <= high:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {limits}")
        return value

    return parse


def add_command(
    commands: Subparsers,
    name: str,
    summary: str,
    description: str,
    epilog: str,
    *,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> argparse.ArgumentParser:
    """Add the parser of a subcommand, whose help ends with examples as they are written."""
    return commands.add_parser(
        name, help=summary, description=description, epilog=epilog, parents=list(parents),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


positive = between(1, inf, int)
"""The type of options that count something."""


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
