"""Which answers of a blocking query are news, and when to ask again.

    ask --> answer --news?--> handle --\
     ^        '------ nothing new ------+--pause--> ask, with the index of the answer
     '------ failed: wait 5 s, 20 s, 45 s … 3 min

An index that goes backwards is that of another agent, or of one that began anew, and is forgotten; so is the
index before a failure. An answer is news when it differs from the one before it, whatever its index.

Events are another matter: the index of a list of them is no number that grows but a mark of its last event.
News is what follows the last event that we have seen, or all of them when that is not there any more.
No event is told twice, unlike in Consul, where a failure in between brings the whole list again.

Nothing here has a clock or a connection: `agent.watches.watcher` and ``gossip watch`` drive it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from agent.asking import pause_after
from agent.watches.plan import EVENT
from gossip.errors import GossipError

if TYPE_CHECKING:
    from agent.watches.plan import Plan

__all__ = ["AnswerError", "News", "Progress"]

RETRY = 5.0
"""Seconds, times the square of the number of failures in a row."""
MAX_RETRY = 180.0


class AnswerError(GossipError):
    """An answer is not what the API says."""


@dataclass(slots=True, frozen=True)
class News:
    """What a handler gets.

    Attributes:
        index: of the answer; 0 when it had none.
        value: the answer, of events the new ones.
        data: the same as JSON in one line, with its end.
    """

    index: int
    value: Any
    data: bytes


class Progress:
    """How far one watch is.

    Args:
        plan: of the watch.
        wait: seconds of a blocking query.

    Attributes:
        pause: seconds before the next question, after an answer.
    """

    def __init__(self, plan: Plan, *, wait: float) -> None:
        self._plan = plan
        self._wait = wait
        self._index = 0
        self._failures = 0
        self._told = b""
        self._last_event = ""
        self.pause = 0.0

    def target(self) -> str:
        """The path and query to ask for."""
        query = list(self._plan.query)
        if self._index:
            query += [("index", str(self._index)), ("wait", f"{self._wait:g}s")]
        if not query:
            return self._plan.path
        return f"{self._plan.path}?{urlencode(query, errors='surrogateescape')}"

    def answered(self, index: int, body: bytes, elapsed: float) -> News | None:
        """Take an answer; the news in it, if there is any.

        Args:
            index: that came with it; 0 when none did.
            body: JSON.
            elapsed: seconds since the question.

        Raises:
            AnswerError: it is not JSON, or not what the plan is about; call `failed`.
        """
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise AnswerError("the answer is not JSON") from None
        first = not self._told
        if self._plan.kind == EVENT:
            value = self._new_events(value)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
        data = text.encode("utf-8", "replace")  # halves of surrogate pairs are no text
        told = blake2b(data, digest_size=16).digest()
        same = not value if self._plan.kind == EVENT else told == self._told
        self._told = told
        self._failures = 0
        self._follow(index, elapsed)
        return News(index, value, data) if first or not same else None

    def failed(self) -> float:
        """There is no usable answer; gives the seconds until the next attempt."""
        self._failures += 1
        if self._plan.kind != EVENT:
            self._index = 0
        return min(RETRY * self._failures**2, MAX_RETRY)

    def _follow(self, index: int, elapsed: float) -> None:
        self.pause = pause_after(index, self._index, elapsed)
        backwards = index < self._index and self._plan.kind != EVENT
        self._index = 0 if backwards else index

    def _new_events(self, events: Any) -> list[dict[str, Any]]:
        if not isinstance(events, list | None) or not all(
            isinstance(event, dict) and isinstance(event.get("ID"), str) for event in events or ()
        ):
            raise AnswerError("the answer is not a list of events")
        new = list(events or ())
        ids = [event["ID"] for event in new]
        if self._last_event in ids:
            del new[: ids.index(self._last_event) + 1]
        if ids:
            self._last_event = ids[-1]
        return new
