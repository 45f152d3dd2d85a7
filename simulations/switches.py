"""Lifeguard's components, and what we added to them, each of which an experiment can switch off.

Where a setting does it, it is set; the rest is replaced in the core for as long as the experiment runs,
as `simulations.planted` does. The core has no switches for this: nobody should run without them.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from gossip.swim import probe as probe_module
from gossip.swim.clock import LocalClock
from gossip.swim.members import Status
from gossip.swim.membership import Membership
from gossip.swim.suspicion import Suspicions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["ALL", "PAPER", "Component", "only"]


class Component(Enum):
    """What makes a failure detector doubt itself before it accuses others."""

    AWARENESS = "LHA-Probe"
    """A node that hears little probes more slowly, and asks for nacks to know it."""
    SUSPICION = "LHA-Suspicion"
    """A suspicion that nobody confirms waits longer; confirmations are passed on."""
    BUDDY = "Buddy System"
    """A ping to a suspect tells it of the suspicion in the same packet."""
    LAST_WORD = "last word"
    """Ours: whoever is about to declare a death tells the suspect itself first."""
    STALL_GUARD = "stall guard"
    """Ours: a process that was stopped accuses nobody when it wakes (`gossip.swim.clock`)."""


ALL = frozenset(Component)
PAPER = frozenset({Component.AWARENESS, Component.SUSPICION, Component.BUDDY})
"""What the paper calls Lifeguard."""


@contextmanager
def only(components: Collection[Component]) -> Iterator[dict[str, Any]]:
    """Inside, nodes have these components and no other; gives the settings to start them with."""
    settings: dict[str, Any] = {}
    with ExitStack() as stack:
        if Component.AWARENESS not in components:
            settings["awareness_max"] = 1
        if Component.SUSPICION not in components:
            settings["suspicion_max_timeout_mult"] = 1
            stack.enter_context(patch.object(Suspicions, "confirm", _no_news))
        if Component.BUDDY not in components:
            # The prober asks for SUSPECT only to decide whether a ping carries the accusation.
            blind = SimpleNamespace(ALIVE=Status.ALIVE, SUSPECT=None)
            stack.enter_context(patch.object(probe_module, "Status", blind))
        if Component.LAST_WORD not in components:
            stack.enter_context(patch.object(Membership, "_warn", _nothing))
        if Component.STALL_GUARD not in components:
            stack.enter_context(patch.object(LocalClock, "enter", _as_it_comes))
        yield settings


def _no_news(*_arguments: object) -> bool:
    return False


def _nothing(*_arguments: object) -> None:
    """In place of something that should happen."""


def _as_it_comes(_self: LocalClock, now: float, _due: float | None) -> tuple[float, float]:
    return now, 0.0
