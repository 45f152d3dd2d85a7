"""User events of one agent: fired into the pool, and kept when they come out of it and are for us."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.errors import BusyError
from agent.events import (
    EVENT_PREFIX,
    REMOTE_EXEC,
    VERSION,
    EventError,
    check_size,
    decode_event,
    encode_event,
    is_for_us,
)
from agent.logs import Value
from gossip.errors import LimitError, WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.events import EventBuffer, UserEvent
    from agent.local_state import LocalService
    from gossip.aio import Cluster
    from gossip.events import UserEvent as SerfEvent

__all__ = ["NEW_LEADER", "UserEvents"]

log = logging.getLogger(__name__)

INTERNAL_PREFIX = "consul:"
NEW_LEADER = "consul:new-leader"
"""What a server tells the pool when it begins to lead; the payload is its name."""
MAX_FIRING = 256
"""Events that may wait for their turn; clients beyond are told to come back later."""


class UserEvents:
    """Between the gossip layer and the buffer of recent events.

    Args:
        cluster: the LAN pool.
        kept: takes the events that are for this agent.
        node_name: of this agent, for the filters of events.
        services: likewise, as they are whenever they are looked at.
    """

    def __init__(
        self,
        cluster: Cluster,
        kept: EventBuffer,
        node_name: str,
        services: Iterable[LocalService],
    ) -> None:
        self._cluster = cluster
        self._kept = kept
        self._node_name = node_name
        self._services = services
        self._firing = 0

    async def fire(self, event: UserEvent) -> None:
        """Fire an event in our datacenter.

        Raises:
            EventError: a filter or the name is not usable.
            LimitError: it is too large; nothing was sent.
            BusyError: too many events wait for their turn.
        """
        body = encode_event(event)
        limit = self._cluster.config.user_event_size_limit
        check_size(event, body, limit)
        if self._firing >= MAX_FIRING:
            raise BusyError("too many events wait to be sent")
        self._firing += 1
        try:
            await self._cluster.fire(EVENT_PREFIX + event.name, body, coalesce=False)
        except LimitError:
            raise LimitError(
                f"user event exceeds configured limit of {limit} bytes after encoding"
            ) from None
        finally:
            self._firing -= 1

    def receive(self, received: SerfEvent) -> None:
        """Keep an event of the gossip layer if it is Consul's and meant for us."""
        name = received.name
        if not name.startswith(INTERNAL_PREFIX):
            return  # Serf's own; Consul's API has no place for it
        if not name.startswith(EVENT_PREFIX):
            if name != NEW_LEADER:
                log.warning("unknown internal event name=%s", Value(name))
            return
        try:
            event = decode_event(received.payload, received.ltime)
            if event.version > VERSION:
                log.warning(
                    "event of a newer version, which may mean more version=%d", event.version
                )
            wanted = event.name != REMOTE_EXEC and is_for_us(
                event, self._node_name, (service.entry for service in self._services)
            )
        except (WireError, EventError) as error:
            log.warning("event dropped name=%s error=%s", Value(name), Value(error))
            return
        if wanted:
            log.debug("event name=%s id=%s", Value(event.name), event.id)
            self._kept.append(event)
