"""The agent's log: one line per record, ``key=value`` pairs in it, no secrets, no floods.

A line looks like Consul's::

    2026-05-04T10:31:35.239Z [WARN]  agent.agent: join failed address=10.0.0.9 error="timed out"

What comes from the network cannot break out of its line. A message that repeats is written a few times
and then counted; the next one that is written tells how many were not.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from agent.log_stream import TRACE, LogEntry, LogStream

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TRACE", "LogHandler", "RepeatFilter", "Value", "level_of", "quiet_loop", "set_up"]

LEVELS = {
    "TRACE": TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERR": logging.ERROR,
    "ERROR": logging.ERROR,
}
HIDDEN = "<hidden>"
MIN_SECRET = 4  # characters; anything shorter would blank out half of the log
HELD_MAX = 512


def level_of(name: str) -> int:
    """The level of a name such as ``info``.

    Raises:
        ValueError: Consul has no such level.
    """
    try:
        return LEVELS[name.upper()]
    except KeyError:
        raise ValueError(f"Unknown log level: {name}") from None


class Value:
    """Text for the right side of ``key=%s``: quoted where it is more than a word."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        text = " ".join(str(self._value).split()) if self._value is not None else ""
        if text and all(c.isprintable() and c not in ' "=' for c in text):
            return text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


class RepeatFilter(logging.Filter):
    """Lets a warning through `burst` times in `period` seconds, then counts it.

    Warnings are told apart by the text before their values are filled in; at most `TEXTS` of them
    are remembered.
    """

    TEXTS = 256

    def __init__(self, *, burst: int = 5, period: float = 30.0) -> None:
        super().__init__()
        self._burst = burst
        self._period = period
        self._clock = time.monotonic
        self._seen: dict[tuple[str, str], list[float]] = {}  # [window's start, written, suppressed]

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide, and add what was suppressed to the record that is let through again."""
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        key = (record.name, str(record.msg)[:200])
        entry = self._seen.get(key)
        if entry is None:
            if len(self._seen) >= self.TEXTS:
                del self._seen[next(iter(self._seen))]
            entry = self._seen[key] = [now, 0, 0]
        if now - entry[0] >= self._period:
            if entry[2]:
                record.msg = f"{record.msg} suppressed={int(entry[2])}"
            entry[:] = [now, 0, 0]
        if entry[1] >= self._burst:
            entry[2] += 1
            return False
        entry[1] += 1
        return True


class LogHandler(logging.Handler):
    """Writes records to a stream; holds them back until `open`, so that the banner comes first.

    Attributes:
        watched: gets every record too, also those below the level that is written.
    """

    def __init__(self, stream: IO[str] | None = None, *, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._stream = stream if stream is not None else sys.stdout
        self.hide(secrets)
        self._held: list[str] | None = []
        self.watched = LogStream()

    def hide(self, secrets: Iterable[str]) -> None:
        """Show these values nowhere from now on; what was hidden before is not."""
        self._secrets = tuple(secret for secret in secrets if len(secret) >= MIN_SECRET)

    def set_level(self, level: str) -> None:
        """Write this level and above from now on.

        Raises:
            ValueError: Consul has no such level.
        """
        logging.getLogger().setLevel(level_of(level))
        self.watched.adjust()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. A reader that has gone away is no reason to stop working."""
        entry = self._entry(record)
        self.watched.publish(entry)
        if record.levelno < logging.getLogger().level:
            return  # only a watcher wants it
        line = entry.line()
        if self._held is None:
            self._write(line)
        elif len(self._held) < HELD_MAX:
            self._held.append(line)

    def open(self, banner: Iterable[str] = ()) -> None:
        """Write the banner, what was held back, and from now on everything at once."""
        held, self._held = self._held or [], None
        for line in (*banner, *held):
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    def _entry(self, record: logging.LogRecord) -> LogEntry:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a wrong format string must not take the agent down
            message = f"{record.msg} {record.args}"
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        return LogEntry(
            record.created,
            record.levelno,
            record.name,
            self._without_secrets(_one_line(message)),
            self._without_secrets(trace),
        )

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text.encode("utf-8", "replace").decode()


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def set_up(level: str, *, secrets: Iterable[str] = (), stream: IO[str] | None = None) -> LogHandler:
    """Send the log of the whole process to `stream`, standard output by default.

    Returns:
        The handler, which holds everything back until it is opened.
    """
    handler = LogHandler(stream, secrets=secrets)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    handler.set_level(level)
    # asyncio tells at DEBUG which selector it uses, and aiohttp repeats what we log ourselves.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    return handler


def quiet_loop(loop: Any, context: dict[str, Any]) -> None:  # noqa: ARG001 - asyncio's signature
    """Report what asyncio found unhandled as a line of the log instead of a page on stderr."""
    error = context.get("exception")
    logging.getLogger("agent").error(
        "unhandled: %s error=%s", context.get("message", ""), Value(repr(error)), exc_info=error
    )
