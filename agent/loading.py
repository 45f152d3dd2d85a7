"""Importing large parts of the program at the moment they are needed, fast."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["load"]


def load(name: str) -> ModuleType:
    """Import a module and what it needs, without looking for garbage meanwhile or in it ever after.

    What modules define stays until the end, so there is little to find, and looking takes a tenth of
    the agent's start.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
