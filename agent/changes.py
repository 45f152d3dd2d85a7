"""What changed in this agent's services and checks and has not been told to the catalog yet.

    services, checks --note--> pending --> whoever tells the catalog --settle--> forgotten

A change names what it is about, not what it was: who tells the catalog looks up how things are then, and
what is not there any more is to be gone there as well. A change that is noted while it is being told stays
pending, as it has a later version.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass

__all__ = ["Change", "Changes", "Kind"]

MAX_PENDING = 32768
"""Changes that are remembered; more than there can be services and checks, and as many that are gone. The
oldest go first, and only a full comparison with the catalog still finds them."""


class Kind(enum.Enum):
    """What a change is about."""

    SERVICE = enum.auto()
    CHECK = enum.auto()


@dataclass(slots=True, frozen=True)
class Change:
    """One service or check that changed.

    Attributes:
        kind: which of both.
        id: its ID.
        version: of the change; later ones are higher.
        urgent: more than the output of a check changed.
    """

    kind: Kind
    id: str
    version: int
    urgent: bool


class Changes:
    """The pending changes of one agent.

    Attributes:
        version: of the last change, 0 before the first.
        dropped: changes that were forgotten because there were too many.
    """

    def __init__(self) -> None:
        self.version = 0
        self.dropped = 0
        self._pending: dict[tuple[Kind, str], Change] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, kind: Kind, item_id: str, *, urgent: bool = True) -> None:
        """Remember that something was added, changed or removed."""
        self.version += 1
        key = (kind, item_id)
        earlier = self._pending.pop(key, None)
        urgent = urgent or (earlier is not None and earlier.urgent)
        self._pending[key] = Change(kind, item_id, self.version, urgent)
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
            self.dropped += 1
        self._changed.set()

    def pending(self) -> list[Change]:
        """Everything that is still to be told, the oldest first."""
        return list(self._pending.values())

    def settle(self, change: Change) -> None:
        """Forget a change that was told, unless there was a later one meanwhile."""
        if self._pending.get((change.kind, change.id)) == change:
            del self._pending[change.kind, change.id]

    async def wait(self, version: int) -> int:
        """Wait until there is a change after this version, and give the version of the last one."""
        while self.version <= version:
            self._changed.clear()
            await self._changed.wait()
        return self.version
