"""Errors that several parts of the agent raise, beside those of `gossip.errors`."""

from __future__ import annotations

from gossip.errors import GossipError

__all__ = ["BusyError"]


class BusyError(GossipError):
    """More is asked for than can be taken; nothing was done, try again in a moment."""
