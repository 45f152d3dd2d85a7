"""How much the property tests do (G-4): T1 at every change, more by ``EFFORT=T2 pytest --timeout=0 tests/properties``."""

from __future__ import annotations

import os

from hypothesis import settings

__all__ = ["MACHINES"]

_SIZES = {"T1": (200, 50), "T2": (5_000, 100), "T3": (50_000, 200)}
_examples, _steps = _SIZES[os.environ.get("EFFORT", "T1")]

MACHINES = settings(max_examples=_examples, stateful_step_count=_steps, deadline=None)
"""Of the stateful machines."""
