"""``/v1/operator/keyring``: the gossip keys of all pools, changed and listed by all their members.

As in Consul that is the WAN pool and the LAN pool of every datacenter. A server that was asked by a
client asks one server of each other datacenter, at this same path; who is asked by a server tells of its
LAN pool alone, errors included. Listing counts as a change, so the same clients may do it: it shows the
keys themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.decode import Body
from agent.http.errors import HttpError
from agent.http.query import parse_truth
from agent.http.routing import Call, Forwards, Methods, Reply, Route
from agent.keyring import KEYRING_PATH, METHODS, error_text, operate
from gossip.wire.keyring import KeyringError, decode_key

if TYPE_CHECKING:
    from gossip.keys import KeyOperation

__all__ = ["routes"]

MAX_BODY = 4096
"""Bytes of a request; a key takes 44."""
MAX_RELAY_FACTOR = 5
_OPERATIONS: dict[str, KeyOperation] = {method: name for name, method in METHODS.items()}


def routes() -> tuple[Route, ...]:
    """The endpoint."""
    return (Route(KEYRING_PATH, Methods.KEYRING, keyring, forwards=Forwards.HANDLER, secret=True),)


async def keyring(call: Call) -> Reply:
    """List the keys, or have every member install, use or remove one."""
    operation = _OPERATIONS[call.method]
    text = ""
    if operation != "list":
        text = Body.parse(await call.read_body(MAX_BODY)).text("Key")
    relay_factor, local_only = relay_factor_of(call), _local_only(call)
    if local_only and operation != "list":
        raise HttpError(
            400, "Invalid use of local-only: local-only can only be set for list requests"
        )
    try:
        key = decode_key(text) if text or operation != "list" else b""
    except KeyringError as error:
        raise HttpError(500, str(error)) from None
    answers = await operate(
        call.agent,
        operation,
        key,
        relay_factor=relay_factor,
        local_only=local_only or call.hops > 0,
    )
    if call.hops:
        return Reply([answer.to_json() for answer in answers])
    if problem := error_text(answers):
        raise HttpError(500, problem)
    return Reply([answer.to_json() for answer in answers]) if operation == "list" else Reply()


def relay_factor_of(call: Call) -> int:
    """``?relay-factor=``.

    Raises:
        HttpError: 400 for what is no number from 0 to 5.
    """
    text = call.get("relay-factor")
    if not re.fullmatch(r"[+-]?[0-9]{0,9}", text) or text in {"+", "-"}:
        raise HttpError(400, f'Error parsing relay factor: "{text[:20]}" is not a whole number')
    factor = int(text or "0")
    if not 0 <= factor <= MAX_RELAY_FACTOR:
        raise HttpError(
            400, f"Invalid relay-factor: Relay factor must be in range: [0, {MAX_RELAY_FACTOR}]"
        )
    return factor


def _local_only(call: Call) -> bool:
    text = call.get("local-only")
    try:
        return parse_truth(text, empty=False)
    except ValueError:
        raise HttpError(
            400, f'Error parsing local-only: "{text[:20]}" is not true or false'
        ) from None
