"""Credibility: news that cannot be true, or that would do harm if it were passed on, is not believed.

`gossip.swim.members.supersedes` tells which of two believable statements is the newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.wire.address import is_usable
from gossip.wire.limits import META_MAX

if TYPE_CHECKING:
    from gossip.swim.members import Record
    from gossip.wire.messages import Alive, Dead, Suspect

__all__ = ["doubt_about_accusation", "doubt_about_alive"]

MAX_INCARNATION_JUMP = 2**24
"""News further ahead of what we hold is refused: one absurd accusation could never be refuted."""
MAX_INCARNATION = 2**32 - 2
"""Beyond it nobody could refute any more; such news is dropped and counted."""


def doubt_about_alive(alive: Alive, record: Record | None) -> str:
    """The counter of what is wrong with a claim to be alive; empty when it is credible.

    Args:
        alive: the claim.
        record: what is held about that name, if anything.
    """
    vsn = alive.vsn
    highest = MAX_INCARNATION if record is None else _highest_incarnation(record)
    if alive.incarnation > highest:
        return "incarnations_refused"
    if not alive.node or not is_usable(alive.addr, alive.port):
        return "addresses_refused"
    if len(alive.meta) > META_MAX:
        return "metas_refused"
    if len(vsn) != 6 or vsn[0] == 0 or vsn[1] == 0 or vsn[0] > vsn[1]:
        # One bad record, passed on, makes joins fail everywhere (consul issue 3217); more
        # bytes than six could make it too large to be passed on, and block the queue.
        return "versions_refused"
    return ""


def doubt_about_accusation(news: Suspect | Dead, record: Record) -> str:
    """The counter of what is wrong with an accusation of this member; empty when it is credible."""
    if not news.sender or news.incarnation > _highest_incarnation(record):
        return "accusations_refused"
    if news.incarnation <= record.former and (
        news.incarnation > record.incarnation or news.sender == news.node
    ):
        return "accusations_of_a_former_life"
    return ""


def _highest_incarnation(record: Record) -> int:
    """The highest incarnation of a member that is believed, from what is held about it."""
    return min(record.incarnation + MAX_INCARNATION_JUMP, MAX_INCARNATION)
