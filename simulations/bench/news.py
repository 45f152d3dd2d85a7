"""What an observed agent reported and when: read from what it writes, decoded when asked for.

Both sides are observed in the cheapest way they offer. Serf and Consul log member news and user
events as they happen (Serf's event stream withholds member events for 1 to 3 s); we read that log
through a pipe and take the time of reading. Our bare node stamps its own lines. Nothing is polled.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Kind", "News", "NewsFeed", "json_news", "log_news"]


class Kind(Enum):
    """What happened, from the view of the observed agent."""

    JOINED = "join"
    LEFT = "leave"
    FAILED = "failed"
    SUSPECTED = "suspect"
    EVENT = "event"


@dataclass(slots=True)
class News:
    """One thing that happened: monotonic seconds, what, and the member's or event's name."""

    at: float
    kind: Kind
    subject: str


_LOG = re.compile(
    rb"(?:(?<!wan: )serf: EventMember|(?<!agent\.wan): Member)(?P<change>Join|Leave|Left|Failed)(?:ed)?(?::| member=) ?(?P<member>[^\s/=]+)"
    rb"|(?:Received event: user-event: |new event: event_name=|agent: event name=)(?P<event>\S+)"
    rb"|memberlist: Suspect (?P<suspect>\S+) has failed"
)
_VIEW = {Kind.JOINED, Kind.LEFT, Kind.FAILED}
_MEMBER = {
    b"Join": Kind.JOINED,
    b"Leave": Kind.LEFT,
    b"Left": Kind.LEFT,
    b"Failed": Kind.FAILED,
}


def log_news(at: float, lines: bytes) -> Iterable[News]:
    """News in complete lines of a log: Serf's, Consul's (at level debug) or our agent's (likewise)."""
    for match in _LOG.finditer(lines):
        change, member, event, suspect = match.group("change", "member", "event", "suspect")
        if change:
            yield News(at, _MEMBER[change], member.decode())
        elif event:
            yield News(at, Kind.EVENT, event.decode())
        else:
            yield News(at, Kind.SUSPECTED, suspect.decode())


def json_news(_at: float, lines: bytes) -> Iterable[News]:
    """News in lines of ``simulations.bench.node``, which carry their own times."""
    for line in lines.splitlines():
        if line.startswith(b"["):
            at, kind, subject = json.loads(line)
            yield News(at, Kind(kind), subject)


class NewsFeed:
    """The news of one agent; `watch` is given to its process."""

    def __init__(self, decode: Callable[[float, bytes], Iterable[News]]) -> None:
        self._decode = decode
        self._pending: list[tuple[float, bytes]] = []
        self._rest = b""
        self._news: list[News] = []
        self._first: dict[Kind, dict[str, float]] = {kind: {} for kind in Kind}
        self._view: dict[str, Kind] = {}

    def add(self, news: News) -> None:
        """Take in one thing that the agent does not report itself."""
        self._catch_up()
        self._keep(news)

    def watch(self, at: float, output: bytes) -> None:
        """Keep what was just written; decoding waits until someone asks."""
        self._pending.append((at, output))

    def all(self) -> list[News]:
        """Everything so far, in the order it was written."""
        self._catch_up()
        return self._news

    def first(self, kind: Kind) -> dict[str, float]:
        """When each subject was first reported with this kind."""
        self._catch_up()
        return self._first[kind]

    def view(self) -> dict[str, Kind]:
        """The last word on each member."""
        self._catch_up()
        return self._view

    def alive(self) -> int:
        """Number of members it says are there."""
        return sum(kind is Kind.JOINED for kind in self.view().values())

    def _catch_up(self) -> None:
        pending, self._pending = self._pending, []
        for at, output in pending:
            lines, newline, self._rest = (self._rest + output).rpartition(b"\n")
            if newline:
                for news in self._decode(at, lines):
                    self._keep(news)

    def _keep(self, news: News) -> None:
        self._news.append(news)
        self._first[news.kind].setdefault(news.subject, news.at)
        if news.kind in _VIEW:
            self._view[news.subject] = news.kind
