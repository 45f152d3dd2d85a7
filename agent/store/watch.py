"""Who is woken by what: one index for each thing that a query can be about.

A write has one index, and gives it to every topic whose answer it may have changed; whoever waits for one
of these is woken, nobody else. Topics are remembered in the order of their last change, `MAX_TOPICS` of
them. Of one that is not among them it is only known that it has not changed since the last one that was
forgotten, so that one's index stands in: indexes never go backwards, and the worst is a query that is
answered once without need.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ANY_STATE", "MAX_TOPICS", "NODES", "SERVICES", "Topic", "Watch"]

MAX_TOPICS = 65536
"""Topics whose own index is remembered, about 200 bytes each."""


class Topic(NamedTuple):
    """What a query is about.

    Attributes:
        kind: such as ``service``.
        name: of the node or service, folded; a status; empty for lists of everything.
    """

    kind: str
    name: str = ""


NODES = Topic("nodes")
SERVICES = Topic("services")
ANY_STATE = Topic("state", "any")


class Watch:
    """The indexes of all topics, and the tasks that wait for them to grow.

    Attributes:
        forgotten: topics whose index was given up for newer ones.
    """

    def __init__(self) -> None:
        self.forgotten = 0
        self._floor = 1
        self._topics: dict[Topic, int] = {}
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """Queries that are blocked."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def start_at(self, index: int) -> None:
        """Let no index be below one from before a restart; what changed before is not known."""
        self._floor = max(self._floor, index)

    def index(self, topic: Topic) -> int:
        """When a topic changed last; at least 1."""
        return max(self._topics.get(topic, 0), self._floor)

    def changed(self, topics: Iterable[Topic], index: int) -> None:
        """Note that these changed with a write, and wake who waits for them."""
        for topic in topics:
            self._topics.pop(topic, None)  # to the end of the order
            self._topics[topic] = index
            for waiter in self._waiters.get(topic, ()):
                if not waiter.done():
                    waiter.set_result(None)
        while len(self._topics) > MAX_TOPICS:
            self._floor = max(self._floor, self._topics.pop(next(iter(self._topics))))
            self.forgotten += 1

    async def outlast(self, topic: Topic, index: int, wait: float) -> None:
        """Wait until the index of a topic exceeds `index`, at most `wait` seconds; 0 never waits."""
        if not index:
            return
        deadline = asyncio.get_running_loop().time() + wait
        while self.index(topic) <= index:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(topic, set()).add(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return
            finally:
                self._forget(topic, waiter)

    def _forget(self, topic: Topic, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters[topic]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[topic]
