"""Safety: what must never happen, checked at every transition (reliability.md section 6, S1 to S20).

S16 is about the HTTP API's index; its source, the registry's version, is checked here. S19 is about
snapshot files and is tested with them. S20, no input crashes a node, is reported by the world itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.checkers.clocks import LTimes
from simulations.checkers.limits import (
    BoundedAmplification,
    BoundedState,
    NoPlaintextLeak,
)
from simulations.checkers.membership import (
    IncarnationMonotonic,
    LegalTransitions,
    NoForeignMember,
    NoResurrection,
    OneMetaPerIncarnation,
    OnlyOwnerIncrements,
    SelfAlive,
    UniqueName,
)
from simulations.checkers.telling import (
    Events,
    EventsMatchTable,
    IndexMonotonic,
    LeaveIsFinal,
)

if TYPE_CHECKING:
    from simulations.watch import Checker

__all__ = ["CHECKERS"]

CHECKERS: tuple[type[Checker], ...] = (
    IncarnationMonotonic, OnlyOwnerIncrements, NoResurrection, LegalTransitions,
    OneMetaPerIncarnation, SelfAlive, UniqueName, LTimes, Events, NoForeignMember, BoundedState,
    BoundedAmplification, NoPlaintextLeak, IndexMonotonic, EventsMatchTable, LeaveIsFinal,
)  # fmt: skip
"""Every safety checker; S20 is the world's own."""
