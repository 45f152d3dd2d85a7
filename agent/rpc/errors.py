"""What a command of Serf's RPC ends with when it cannot do what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RpcError"]


class RpcError(GossipError):
    """A command failed; the text goes to the client.

    Attributes:
        body: of the answer, for commands that have one: clients read it behind an error too.
    """

    def __init__(self, text: str, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.body = body or {}
