"""Join and leave intents that arrived before the member they are about."""

from __future__ import annotations

from typing import TypeAlias

from gossip.wire.serf import JoinIntent, LeaveIntent

__all__ = ["Intent", "RecentIntents"]

Intent: TypeAlias = JoinIntent | LeaveIntent

MAX_RECENT_INTENTS = 16384
"""Intents kept about unknown members; beyond, the oldest goes (Serf's is bounded by time only)."""


class RecentIntents:
    """The newest intent about each unknown member, for a while."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._held: dict[str, tuple[Intent, float]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def offer(self, intent: Intent, now: float) -> bool:
        """Keep an intent if it is newer than the one held; tells whether it was."""
        held = self._held.pop(intent.node, None)
        if held is not None and intent.ltime <= held[0].ltime:
            self._held[intent.node] = held
            return False
        if len(self._held) >= MAX_RECENT_INTENTS:
            del self._held[next(iter(self._held))]
        self._held[intent.node] = (intent, now)
        return True

    def get(self, node: str) -> Intent | None:
        """The intent held about a node."""
        held = self._held.get(node)
        return held[0] if held is not None else None

    def expire(self, now: float) -> None:
        """Forget what is older than the timeout."""
        for node in [n for n, (_, at) in self._held.items() if now - at > self._timeout]:
            del self._held[node]
