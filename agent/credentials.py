"""Headers that are credentials: their values belong in no log and no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.flags import looks_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["credentials"]

_NAMES = frozenset({"authorization", "cookie", "proxy-authorization"})


def credentials(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values of those headers that are credentials, and what follows the scheme in ``Bearer x``."""
    for name, value in headers:
        if name.lower() in _NAMES or looks_secret(name):
            yield value
            if after := value.partition(" ")[2].strip():
                yield after
