"""What tests need of the machine, genuine programs above all: skipped with a reason where absent, required in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from simulations.peers import PeerMissingError, find_peer

__all__ = ["missing", "require"]


def require(peer: str) -> str:
    """The genuine peer's binary; without it the test is skipped, or fails with INTEROP=required."""
    try:
        return find_peer(peer)
    except PeerMissingError as error:
        missing(str(error))


def missing(reason: str) -> NoReturn:
    """Skip for want of something on this machine; with INTEROP=required its absence is a failure."""
    if os.environ.get("INTEROP") == "required":
        pytest.fail(f"INTEROP=required, but {reason}", pytrace=False)
    pytest.skip(reason)
