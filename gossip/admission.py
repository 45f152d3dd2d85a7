"""Admission: the application's rule about members, held so that a mistake in it refuses members and no more.

The rule is asked in the midst of a packet or an exchange. If it raised there, the rest of these would be
lost, whoever they are from.
"""

from __future__ import annotations

import logging
from inspect import iscoroutine
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossip.events import Admit, Member

__all__ = ["FAILED", "Admission"]

logger = logging.getLogger(__name__)

FAILED = "the rule about members failed"
"""What those are told whom a broken rule refuses; what is wrong with it is for our own log."""


class Admission:
    """A rule that never raises; see `gossip.events.Admit`.

    Args:
        admit: the application's.
    """

    def __init__(self, admit: Admit) -> None:
        self._admit: Callable[[Sequence[Member]], object] = admit
        self._reported = False

    def __call__(self, members: Sequence[Member]) -> str | None:
        """Why some of these members may not be in the pool, or None when they may."""
        try:
            answer = self._admit(members)
            if answer is None or isinstance(answer, str):
                return answer
            if iscoroutine(answer):
                answer.close()
            raise TypeError(f"admit returned {type(answer).__name__}, not str or None")
        except Exception:  # the application's
            if (
                not self._reported
            ):  # strangers could fill the log; a refusal is a notice there anyway
                self._reported = True
                logger.exception("admit failed, and members are refused; told once")
            return FAILED
