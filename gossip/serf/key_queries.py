"""Key queries: a member asks everybody to change the keyring, or to tell what is in it.

    waiting --its turn--> judged --changes the ring--> being saved --saved--> applied, answered
                            |                              |
                            | refused, or nothing to do    | not saved
                            v                              v
                          answered                 answered, ring as before

Changes are made one after the other. Where the ring is kept in a file, it changes and the answer goes
out only when the file has been written: whoever says yes still has the key after a restart. Texts are
Serf's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.serf.queries import deadline_of
from gossip.wire.keyring import Keyring, KeyringError, encode_key, fingerprint
from gossip.wire.serf import KeyRequest, KeyResponse, Query, decode_serf

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.serf.node import Node

__all__ = ["KeyChange", "KeyQueries"]

MAX_WAITING = 64
"""Changes that wait while one is being saved; further ones are refused."""
MAX_KEYS = 64
"""Keys of a ring: each of them is tried on a packet that none opens."""

NOT_ENCRYPTED = "No keyring to modify (encryption not enabled)"
NOTHING_TO_LIST = "Keyring is empty (encryption not enabled)"

_CHANGES: dict[str, Callable[[Keyring, bytes], None]] = {
    "install-key": Keyring.install,
    "use-key": Keyring.use,
    "remove-key": Keyring.remove,
}


@dataclass(slots=True, frozen=True)
class KeyChange:
    """A change that is to be saved before it counts.

    Attributes:
        keys: the whole ring afterwards, primary first.
        saved: to be called once with None, or with the reason why it could not be saved, and the
            driver's time.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    saved: Callable[[str | None, float], None]


@dataclass(slots=True, frozen=True)
class _Request:
    query: Query
    operation: str
    key: bytes = field(repr=False)
    deadline: float


class KeyQueries:
    """Answers the key queries for a `Node`.

    Args:
        node: whose keyring it is.
        save: keeps a ring over a restart; None where it lives in memory only.
    """

    def __init__(self, node: Node, save: Callable[[KeyChange], None] | None) -> None:
        self._node = node
        self._save = save
        self._waiting: deque[_Request] = deque()
        self._saving = False

    def handlers(self) -> dict[str, Callable[[Query, float], None]]:
        """Who answers which query."""
        changes = {name: partial(self._handle_change, name) for name in _CHANGES}
        return {**changes, "list-keys": self._handle_list}

    def _handle_list(self, query: Query, now: float) -> None:
        ring = self._node.keyring
        if not ring:
            self._answer(query, now, refused=NOTHING_TO_LIST)
            return
        keys = [encode_key(key) for key in ring.keys]
        text = ""
        for count in range(len(keys), -1, -1):
            if count < len(keys):
                text = f"truncated key list response, showing first {count} of {len(keys)} keys"
            answer = KeyResponse(result=True, message=text, keys=keys[:count], primary_key=keys[0])
            encoded = answer.encode()
            if self._node.queries.response(query, encoded) is not None:
                break
        self._node.queries.answer(query, encoded, now)

    def _handle_change(self, operation: str, query: Query, now: float) -> None:
        try:
            request = decode_serf(query.payload)
        except WireError:
            request = None
        if not isinstance(request, KeyRequest):
            self._answer(query, now, refused="key request is malformed")
        elif not self._node.keyring:
            self._answer(query, now, refused=NOT_ENCRYPTED)
        elif len(self._waiting) >= MAX_WAITING:
            text = f"{MAX_WAITING} keyring changes are waiting already"
            self._answer(query, now, refused=text)
        else:
            self._waiting.append(_Request(query, operation, request.key, deadline_of(query, now)))
            self._next(now)

    def _next(self, now: float) -> None:
        while self._waiting and not self._saving:
            self._begin(self._waiting.popleft(), now)

    def _begin(self, request: _Request, now: float) -> None:
        ring = self._node.keyring
        assert ring  # noqa: S101 - it was when the request came, and the primary key always stays
        changed = Keyring(ring.keys)
        try:
            _CHANGES[request.operation](changed, request.key)
        except KeyringError as error:
            self._end(request, str(error), now)
            return
        if len(changed) > max(MAX_KEYS, len(ring)):
            self._end(request, f"keyring has {len(ring)} keys, the limit is {MAX_KEYS}", now)
        elif changed.keys == ring.keys:
            self._end(request, None, now)
        elif self._save is None:
            self._apply(request, now)
        else:
            self._saving = True
            self._save(KeyChange(changed.keys, partial(self._saved, request)))

    def _saved(self, request: _Request, error: str | None, now: float) -> None:
        now = self._node.enter(now)
        self._saving = False
        if error is None:
            self._apply(request, now)
        else:
            self._end(request, f"Failed to write keyring file: {error}", now)
        self._next(now)

    def _apply(self, request: _Request, now: float) -> None:
        ring = self._node.keyring
        assert ring is not None  # noqa: S101 - see above
        _CHANGES[request.operation](ring, request.key)
        self._end(request, None, now)

    def _end(self, request: _Request, error: str | None, now: float) -> None:
        query = request.query
        self._node.membership.notice(
            f"keyring: {request.operation} {fingerprint(request.key)}, asked by "
            f"{query.source_node!r}: {error or 'done'}"
        )
        if now > request.deadline:
            self._node.stats["query_responses_late"] += 1
        else:
            self._answer(query, now, refused=error)

    def _answer(self, query: Query, now: float, *, refused: str | None) -> None:
        if refused is not None:
            self._node.stats["key_queries_refused"] += 1
        answer = KeyResponse(result=refused is None, message=refused or "", keys=[], primary_key="")
        self._node.queries.answer(query, answer.encode(), now)
