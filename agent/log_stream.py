"""Those who watch the log from outside: ``monitor`` of Serf's RPC and ``/v1/agent/monitor``.

The log's handler hands over entries that have no secrets in them any more. The last of them are kept
for whoever attaches; each watcher has a queue of its own, and one that lags behind finds a `Gap` where
entries were lost. A watcher may want more than the agent itself writes: our loggers then let that
through while it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossip.subscriptions import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossip.events import Gap

__all__ = ["TRACE", "LogEntry", "LogStream", "lost"]

TRACE = 5
"""Level of what is below DEBUG."""
KEPT = 512
"""Entries kept for who attaches, and for a watcher that lags behind (both as in Serf and Consul)."""
_OURS = ("agent", "gossip")  # the roots of our loggers
_NAMES = {
    TRACE: "TRACE",
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERROR",
    logging.CRITICAL: "ERROR",
}


@dataclass(slots=True, frozen=True)
class LogEntry:
    """One record of the log, formatted, in one line, without secrets.

    Attributes:
        created: seconds since 1970.
        level: as in `logging`, or `TRACE`.
        name: of the logger.
        message: what it says.
        trace: the traceback of an error, of several lines; mostly empty.
    """

    created: float
    level: int
    name: str
    message: str
    trace: str = ""

    @property
    def level_name(self) -> str:
        """Consul's word for the level."""
        return _NAMES.get(self.level, str(self.level))

    def line(self) -> str:
        """The entry as Consul writes it, in UTC."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.created))
        level = f"[{self.level_name}]"
        return self._with_trace(
            f"{moment}.{int(self.created * 1000) % 1000:03d}Z {level:<7} {self.name}: {self.message}"
        )

    def serf_line(self) -> str:
        """The entry as Serf writes it, in local time."""
        moment = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(self.created))
        level = "ERR" if self.level >= logging.ERROR else self.level_name
        return self._with_trace(f"{moment} [{level}] {self.name}: {self.message}")

    def json_line(self) -> str:
        """The entry as a JSON object, with Consul's keys."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.created))
        entry = {
            "@level": self.level_name.lower(),
            "@message": self.message,
            "@module": self.name,
            "@timestamp": f"{moment}.{int(self.created * 1e6) % 1_000_000:06d}Z",
        }
        return json.dumps(
            entry | ({"stacktrace": self.trace} if self.trace else {}), separators=(",", ":")
        )

    def _with_trace(self, line: str) -> str:
        return f"{line}\n{self.trace}" if self.trace else line


class LogStream:
    """The recent entries of the log, and the queues of those who watch it.

    `publish` may be called from any thread, everything else from loops.
    """

    def __init__(self) -> None:
        self._recent: deque[LogEntry] = deque(maxlen=KEPT)
        self._watchers: dict[
            Subscription[LogEntry], tuple[int, asyncio.AbstractEventLoop]
        ] = {}  # the least level wanted, and the loop it runs on

    def publish(self, entry: LogEntry) -> None:
        """Keep an entry, and queue it for every watcher that wants its level."""
        self._recent.append(entry)
        if not self._watchers:
            return
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for watcher, (level, loop) in list(self._watchers.items()):
            if entry.level < level:
                continue
            if loop is here:
                watcher.publish(entry)
            else:
                with contextlib.suppress(RuntimeError):  # that loop is closed
                    loop.call_soon_threadsafe(watcher.publish, entry)

    def recent(self, level: int) -> list[LogEntry]:
        """The entries kept that have at least this level, oldest first."""
        return [entry for entry in self._recent if entry.level >= level]

    @contextlib.contextmanager
    def watch(
        self, level: int, *, on_missed: Callable[[], None] | None = None
    ) -> Iterator[Subscription[LogEntry]]:
        """The entries to come that have at least this level, while the block lasts.

        `on_missed` is called for each that is lost because too many wait to be read.
        """
        watcher: Subscription[LogEntry] = Subscription(KEPT, self._forget, on_missed)
        self._watchers[watcher] = (level, asyncio.get_running_loop())
        self.adjust()
        try:
            yield watcher
        finally:
            watcher.close()

    def adjust(self) -> None:
        """Let our loggers pass what the most curious watcher wants; call it when the root's level changes."""
        wanted = min((level for level, _ in self._watchers.values()), default=logging.CRITICAL)
        level = wanted if wanted < logging.getLogger().level else logging.NOTSET
        for name in _OURS:
            logging.getLogger(name).setLevel(level)

    def _forget(self, watcher: Subscription[LogEntry]) -> None:
        del self._watchers[watcher]
        self.adjust()


def lost(gap: Gap, show: Callable[[LogEntry], str]) -> str:
    """The line that stands where a watcher lost some."""
    message = f"the watcher is too slow lines_lost={gap.missed}"
    return show(LogEntry(time.time(), logging.WARNING, __name__, message))
