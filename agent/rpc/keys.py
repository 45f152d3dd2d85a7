"""The keyring commands of Serf's RPC: every member of the LAN pool changes or lists its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.rpc.errors import RpcError
from gossip.errors import GossipError
from gossip.wire.codec import text
from gossip.wire.keyring import decode_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from agent.rpc.session import Session
    from gossip.keys import KeyResult
    from gossip.wire.rpc import Request

__all__ = ["COMMANDS"]


async def install(session: Session, request: Request) -> Mapping[str, Any]:
    """Everybody adds a key."""
    return _answer(await session.agent.cluster.keys.install(_key(request)))


async def use(session: Session, request: Request) -> Mapping[str, Any]:
    """Everybody encrypts with a key."""
    return _answer(await session.agent.cluster.keys.use(_key(request)))


async def remove(session: Session, request: Request) -> Mapping[str, Any]:
    """Everybody drops a key."""
    return _answer(await session.agent.cluster.keys.remove(_key(request)))


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
    if result.num_errors:
        raise RpcError(f"{result.num_errors}/{result.num_nodes} nodes reported failure", body)
    if result.missing:
        raise RpcError(f"{result.num_responses}/{result.num_nodes} nodes reported success", body)
    return body


def _body(result: KeyResult | None) -> dict[str, Any]:
    return {
        "Messages": result.messages if result else {},
        "NumErr": result.num_errors if result else 0,
        "NumNodes": result.num_nodes if result else 0,
        "NumResp": result.num_responses if result else 0,
    }


COMMANDS: Mapping[str, Callable[[Session, Request], Awaitable[Mapping[str, Any]]]] = {
    "install-key": install,
    "list-keys": list_keys,
    "remove-key": remove,
    "use-key": use,
}
