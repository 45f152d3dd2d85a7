"""The keyring commands of Serf's RPC: every member of the LAN pool changes or lists its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from agent.rpc.errors import RpcError
from gossip.errors import GossipError
from gossip.wire.codec import text
from gossip.wire.keyring import decode_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent.rpc.session import Session
    from gossip.keys import KeyOperation, KeyResult
    from gossip.wire.rpc import Request

    _Command: TypeAlias = Callable[[Session, Request], Awaitable[Mapping[str, Any]]]

__all__ = ["COMMANDS"]


def _change(operation: KeyOperation) -> _Command:
    """The command that has everybody add, use or drop a key."""

    async def run(session: Session, request: Request) -> Mapping[str, Any]:
        return _answer(await session.agent.cluster.keys.operate(operation, _key(request)))

    return run


async def list_keys(session: Session, _request: Request) -> Mapping[str, Any]:
    """Who has which keys."""
    result = await session.agent.cluster.keys.list()
    return _answer(result, {"Keys": result.keys, "PrimaryKeys": result.primary_keys})


def _key(request: Request) -> bytes:
    try:
        return decode_key(text(request.body, b"Key"))
    except GossipError as error:
        raise RpcError(str(error), _body(None)) from None


def _answer(result: KeyResult, keys: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """The body of an answer, which comes with an error too.

    Raises:
        RpcError: a member refused, or did not answer, in Serf's words.
    """
    body = _body(result) | dict(keys or {})
    if result.summary:
        raise RpcError(result.summary, body)
    return body


def _body(result: KeyResult | None) -> dict[str, Any]:
    return {
        "Messages": result.messages if result else {},
        "NumErr": result.num_errors if result else 0,
        "NumNodes": result.num_nodes if result else 0,
        "NumResp": result.num_responses if result else 0,
    }


COMMANDS: Mapping[str, _Command] = {
    "install-key": _change("install"),
    "list-keys": list_keys,
    "remove-key": _change("remove"),
    "use-key": _change("use"),
}
