"""Members that answer over TCP and not over UDP: alive, and yet somebody has to open a firewall.

memberlist says so at every probe, which is a line per second for as long as it lasts. Here each such
member is told once, all that come within `NOTICE_INTERVAL` in one line, and who asks sees the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.swim.members import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.swim.membership import Membership

__all__ = ["NOTICE_INTERVAL", "TcpOnly", "some_of"]

NOTICE_INTERVAL = 60.0
"""Seconds between lines about it, also when members go to and fro."""
NAMES_IN_NOTICE = 8
"""Names in such a line; the others are counted."""


class TcpOnly:
    """The members of one `Membership` that only TCP reaches, fed by its probes."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._names: set[str] = set()
        self._untold: set[str] = set()
        self._quiet = False

    def names(self) -> list[str]:
        """Those that are not known to be gone, in order."""
        table = self._membership.table
        records = ((name, table.get(name)) for name in self._names)
        return sorted(name for name, r in records if r is not None and r.status <= Status.SUSPECT)

    def add(self, name: str, now: float) -> None:
        """A member answered over TCP, after its direct and indirect pings over UDP failed."""
        if name in self._names:
            return
        self._names.add(name)
        self._untold.add(name)
        self._membership.stats["udp_unreachable"] += 1
        if not self._quiet:
            self._tell(now)

    def discard(self, name: str) -> None:
        """A member answered over UDP, or not at all."""
        self._names.discard(name)
        self._untold.discard(name)

    def forget_unknown(self) -> None:
        """Members were forgotten."""
        for name in [name for name in self._names if self._membership.table.get(name) is None]:
            self.discard(name)

    def _tell(self, now: float) -> None:
        names, self._untold = sorted(self._untold), set()
        shown = some_of(names, NAMES_IN_NOTICE)
        verb = "answers" if len(names) == 1 else "answer"
        self._membership.notice(f"{shown} {verb} over TCP but not over UDP")
        self._quiet = True
        self._membership.timers.call_at(now + NOTICE_INTERVAL, self._on_quiet_over)

    def _on_quiet_over(self, now: float) -> None:
        self._quiet = False
        if self._untold:
            self._tell(now)


def some_of(names: Sequence[str], most: int) -> str:
    """The first names, for people, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
