"""Credentials: the headers that are some, whose values belong in no log and no answer, and tokens to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.flags import looks_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_TOKEN", "can_be_sent", "credentials"]

MAX_TOKEN = 8 * 1024
"""Largest token, bytes; the HTTP interface takes no longer header either."""
_NAMES = frozenset({"authorization", "cookie", "proxy-authorization"})


def credentials(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values of those headers that are credentials, and what follows the scheme in ``Bearer x``."""
    for name, value in headers:
        if name.lower() in _NAMES or looks_secret(name):
            yield value
            if after := value.partition(" ")[2].strip():
                yield after


def can_be_sent(token: str) -> bool:
    """Whether a token may stand in a request; with any other the server would not read it."""
    return token.isprintable() and len(token.encode("utf-8", "surrogateescape")) <= MAX_TOKEN
