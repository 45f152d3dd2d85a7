"""What happened in a world, as one hash and as the last lines before something went wrong."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from struct import pack
from typing import TYPE_CHECKING, Any

from gossip.errors import GossipError
from gossip.wire.describe import describe_packet

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Trace"]

KEPT = 4000
"""Entries that can still be shown; the hash is over all."""


class Trace:
    """Every packet, event and fault in order.

    Two runs are the same run if and only if their digests are equal, in whatever process.
    """

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._last: deque[tuple[float, str, str, str, bytes]] = deque(maxlen=KEPT)
        self.length = 0

    def add(self, at: float, kind: str, source: str, target: str, data: bytes) -> None:
        """Note one thing that happened; `data` is hashed whole and shown in short."""
        self._hash.update(pack("<dI", at, len(data)))
        self._hash.update(f"{kind} {source} {target}\n".encode("utf-8", "surrogateescape"))
        self._hash.update(data)
        self._last.append((at, kind, source, target, data))
        self.length += 1

    def digest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()

    def around(
        self, at: float, names: frozenset[str], lines: int = 40, *, keys: Iterable[bytes] = ()
    ) -> list[str]:
        """The last entries up to a time that concern some of these names, oldest first.

        Args:
            at: virtual time.
            names: nodes; none for all.
            lines: how many at most.
            keys: of the pool, to show what packets say.
        """
        shown: deque[tuple[float, str, str, str, bytes]] = deque(maxlen=lines)
        for entry in self._last:
            if entry[0] > at:
                break
            if not names or names & {entry[2], entry[3]}:
                shown.append(entry)
        return [_line(entry, tuple(keys)) for entry in shown]


def _line(entry: tuple[float, str, str, str, bytes], keys: tuple[bytes, ...]) -> str:
    at, kind, source, target, data = entry
    where = f"{source} > {target}" if target else source
    if kind == "packet":
        text = _packet(data, keys)
    elif kind == "stream":
        text = f"{len(data)} bytes"
    else:
        text = data[:300].decode("utf-8", "backslashreplace")
    return f"{at:12.6f}  {kind:8} {where}: {text}"


def _packet(data: bytes, keys: tuple[bytes, ...]) -> str:
    """What a packet says, in short."""
    label = data[2 : 2 + data[1]].decode(errors="replace") if data[:1] == b"\xf4" else ""
    try:
        messages = describe_packet(data, keys=keys, label=label)["messages"]
    except GossipError as error:
        return f"{len(data)} bytes, {error}"
    return "; ".join(_message(message) for message in messages)


def _message(message: dict[str, Any]) -> str:
    shown = [str(message.get("name"))]
    fields = message.get("body") or message.get("serf") or {}
    keys = ("Node", "Incarnation", "From", "SeqNo", "Name", "LTime")
    shown += [f"{key}={fields[key]}" for key in keys if key in fields]
    return " ".join(shown)
