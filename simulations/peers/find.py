"""Where the genuine binaries are: ``SERF_BIN`` and ``CONSUL_BIN``, else the search path."""

from __future__ import annotations

import os
import shutil

__all__ = ["PeerMissingError", "find_peer"]


class PeerMissingError(RuntimeError):
    """A genuine peer is not installed; the message says how to name one."""


def find_peer(name: str) -> str:
    """The executable of ``serf`` or ``consul``.

    Raises:
        PeerMissingError: when its variable names nothing that can be run, or the path has none.
    """
    variable = f"{name.upper()}_BIN"
    wanted = os.environ.get(variable, name)
    found = shutil.which(wanted)
    if found is None:
        raise PeerMissingError(
            f"no executable {wanted!r}: install {name}, or let {variable} name its binary"
        )
    return found
