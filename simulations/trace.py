"""What happened in a world, as one hash and as the last lines before something went wrong."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from struct import pack

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

    def around(self, at: float, names: frozenset[str], lines: int = 40) -> list[str]:
        """The last entries up to a time that concern some of these names, oldest first."""
        shown: deque[str] = deque(maxlen=lines)
        for when, kind, source, target, data in self._last:
            if when > at:
                break
            if names and not names & {source, target}:
                continue
            where = f"{source} > {target}" if target else source
            text = (
                data[:80].decode("utf-8", "backslashreplace")
                if kind != "packet"
                else f"{len(data)} bytes"
            )
            shown.append(f"{when:12.6f}  {kind:9} {where}: {text}")
        return list(shown)
