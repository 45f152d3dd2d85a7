"""Consul's user events: what travels inside a Serf user event, who it is for, and the recent ones.

A Consul event rides in a Serf user event named ``consul:event:`` and its own name. The payload is one
msgpack map of the current specification, its keys in this order and empty fields left out::

    ID  UUID, made by the agent that was asked to fire     sf  service filter
    n   name                                               tf  tag filter
    nf  node filter                                        v   version, 1
    p   payload

Every agent applies the filters itself and keeps the last 256 events that are for it. The index of a
list of events is made of the newest one's UUID, so it says "something else is newest now" and has no
order.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.patterns import PatternError, compile_pattern, searches
from gossip.errors import GossipError, LimitError, WireError
from gossip.wire import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.patterns import Pattern
    from agent.store.entries import ServiceEntry

__all__ = [
    "EVENT_PREFIX",
    "EventBuffer",
    "EventError",
    "UserEvent",
    "check_event",
    "check_size",
    "decode_event",
    "encode_event",
    "event_index",
    "is_for_us",
    "new_event",
]

EVENT_PREFIX = "consul:event:"
"""What Consul puts before an event's name on the gossip layer."""
VERSION = 1
RING_SIZE = 256
SIZE_LIMIT = 512
"""Bytes of prefixed name and encoded event together (Consul's limit, Serf's default)."""
REMOTE_EXEC = "_rexec"
"""Consul's remote execution: such events run commands there and nothing at all here."""

_LAYER = "consul event"
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class EventError(GossipError, ValueError):
    """An event cannot be fired as asked; the text is Consul's."""


@dataclass(slots=True, frozen=True)
class UserEvent:
    """One event as Consul's HTTP API shows it."""

    id: str
    name: str
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = VERSION
    ltime: int = 0


def new_event(
    name: str, payload: bytes = b"", *, node: str = "", service: str = "", tag: str = ""
) -> UserEvent:
    """An event with an id of its own, checked.

    Raises:
        EventError: see `check_event`.
    """
    event = UserEvent(str(uuid.uuid4()), name, payload, node, service, tag)
    check_event(event)
    return event


# Bytes


def encode_event(event: UserEvent) -> bytes:
    """The payload of the Serf event that carries `event`; its Lamport time travels outside."""
    fields = {
        "ID": event.id,
        "n": event.name,
        "nf": event.node_filter,
        "p": event.payload,
        "sf": event.service_filter,
        "tf": event.tag_filter,
    }
    kept = {key: value for key, value in fields.items() if value or key in {"ID", "n"}}
    return codec.pack_current(kept | {"v": event.version})


def decode_event(payload: bytes, ltime: int) -> UserEvent:
    """Read what `encode_event` or Consul wrote; unknown keys are skipped, any order will do.

    Raises:
        WireError: it is no such map, has no name, or its id is no UUID (clients cut it by position).
    """
    fields = codec.decode_fields(payload, _LAYER)
    try:
        event = UserEvent(
            id=_canonical(codec.text(fields, b"ID")),
            name=codec.text(fields, b"n"),
            payload=codec.raw(fields, b"p"),
            node_filter=codec.text(fields, b"nf"),
            service_filter=codec.text(fields, b"sf"),
            tag_filter=codec.text(fields, b"tf"),
            version=codec.int64(fields, b"v"),
            ltime=ltime,
        )
    except codec.FieldError as error:
        raise WireError(f"{_LAYER}: {error.key!r}: {error.reason}", layer=_LAYER) from None
    if not event.name:
        raise WireError(f"{_LAYER}: it has no name", layer=_LAYER)
    return event


def _canonical(text: str) -> str:
    """A UUID in the one form that clients expect."""
    if not _UUID.fullmatch(text):
        raise WireError(f"{_LAYER}: the id {text[:40]!r} is not a UUID", layer=_LAYER)
    return text.lower()


# Rules


def check_event(event: UserEvent) -> None:
    """Check what a client asks for, in Consul's order.

    Raises:
        EventError: with Consul's text.
    """
    if not event.name:
        raise EventError("User event missing name")
    if event.tag_filter and not event.service_filter:
        raise EventError("Cannot provide tag filter without service filter")
    for kind, text in (
        ("node", event.node_filter),
        ("service", event.service_filter),
        ("tag", event.tag_filter),
    ):
        if text:
            try:
                compile_pattern(text)
            except PatternError as error:
                raise EventError(f"Invalid {kind} filter: {error}") from None


def check_size(event: UserEvent, body: bytes, limit: int = SIZE_LIMIT) -> None:
    """Check the size of an encoded event the way Consul does before it is sent.

    Raises:
        LimitError: prefixed name and body exceed the limit.
    """
    if len(EVENT_PREFIX.encode() + event.name.encode("utf-8", "replace")) + len(body) > limit:
        raise LimitError(f"user event exceeds configured limit of {limit} bytes before encoding")


def is_for_us(event: UserEvent, node: str, services: Iterable[ServiceEntry] = ()) -> bool:
    """Tell whether an event's filters select this agent.

    A service filter is searched in the id and the name of each service; a tag filter has to match a
    tag of the same one.

    Raises:
        EventError: a filter does not compile here.
    """
    if event.node_filter and not searches(_compile(event.node_filter), node):
        return False
    if not event.service_filter:
        return True
    by_service = _compile(event.service_filter)
    by_tag = _compile(event.tag_filter) if event.tag_filter else None
    return any(
        (searches(by_service, service.id) or searches(by_service, service.service))
        and (by_tag is None or any(searches(by_tag, tag) for tag in service.tags))
        for service in services
    )


def _compile(pattern: str) -> Pattern:
    try:
        return compile_pattern(pattern)
    except PatternError as error:
        raise EventError(str(error)) from None


# The recent ones


def event_index(events: Sequence[UserEvent]) -> int:
    """The index of a list of events, oldest first: the halves of the newest one's UUID, XORed.

    It is never 0, which clients take for "no index": an empty list has index 1.
    """
    return _index_of(events[-1] if events else None)


def _index_of(event: UserEvent | None) -> int:
    if event is None:
        return 1
    value = int(event.id.replace("-", ""), 16)
    return (value >> 64) ^ (value & 0xFFFF_FFFF_FFFF_FFFF) or 1


class EventBuffer:
    """The last `size` events, oldest first, and the tasks that wait for more.

    `append` may be called from any callback of the loop; `query` is what the list endpoint awaits.
    """

    def __init__(self, size: int = RING_SIZE) -> None:
        self._ring: deque[UserEvent] = deque(maxlen=size)
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def waiting(self) -> int:
        """Queries that are blocked."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def append(self, event: UserEvent) -> None:
        """Add the newest event; the oldest goes when the ring is full."""
        changed = {event.name, ""}
        if len(self._ring) == self._ring.maxlen:
            changed.add(self._ring[0].name)  # its list may be empty now
        self._ring.append(event)
        for name in changed:
            for waiter in self._waiters.get(name, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def recent(self, name: str = "") -> list[UserEvent]:
        """The events called exactly `name`, or all of them."""
        return [event for event in self._ring if not name or event.name == name]

    def index(self, name: str = "") -> int:
        """The index of `recent(name)`."""
        newest = (event for event in reversed(self._ring) if not name or event.name == name)
        return _index_of(next(newest, None))

    async def query(
        self, name: str = "", *, index: int = 0, wait: float = 0.0
    ) -> tuple[list[UserEvent], int]:
        """The events called `name` and their index, once it differs from `index`.

        Index 0 never waits. Otherwise it waits `wait` seconds at most, and gives the unchanged list
        then. Events of other names neither end nor extend the wait.
        """
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            waiter = self._register(name)  # before reading, or an event in between is slept on
            try:
                current = self.index(name)
                if not index or current != index:
                    break
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                break
            finally:
                self._forget(name, waiter)
        events = self.recent(name)
        return events, event_index(events)

    def _register(self, name: str) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(name, set()).add(waiter)
        return waiter

    def _forget(self, name: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters[name]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[name]
