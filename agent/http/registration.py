"""Nodes and checks from the bodies that register them in the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.durations import format_duration
from agent.http.errors import HttpError
from agent.store.entries import CheckEntry, NodeEntry, Status

if TYPE_CHECKING:
    from agent.decode import Body

__all__ = ["check_of", "node_of"]


def node_of(body: Body) -> NodeEntry:
    """The node of a registration."""
    return NodeEntry(
        node=body.text("Node"),
        address=body.text("Address"),
        id=body.text("ID"),
        tagged_addresses=body.mapping("TaggedAddresses"),
        meta=body.mapping("NodeMeta"),
    )


def check_of(body: Body, node: str) -> CheckEntry:
    """A check on a node; its ID is its name unless it has one, and it is critical unless it says more."""
    status = body.text("Status") or Status.CRITICAL
    if status not in set(Status):
        raise HttpError(400, f'Bad check status "{status[:60]}"')
    definition = body.object("Definition")
    defined = {} if definition is None else _definition(definition)
    return CheckEntry(
        node=node,
        check_id=body.text("CheckID") or body.text("Name"),
        name=body.text("Name"),
        status=Status(status),
        notes=body.text("Notes"),
        output=body.text("Output"),
        service_id=body.text("ServiceID"),
        type=body.text("Type") or _type_of(defined),
        definition=defined,
    )


def _definition(body: Body) -> dict[str, Any]:
    """How a check is made, as Consul shows it: only what is there."""
    durations = {
        key: format_duration(seconds)
        for key in ("Interval", "Timeout", "DeregisterCriticalServiceAfter")
        if (seconds := body.duration(key))
    }
    texts = {key: text for key in ("HTTP", "Method", "Body", "TCP") if (text := body.text(key))}
    flags = {"TLSSkipVerify": True} if body.truth("TLSSkipVerify") else {}
    headers = {"Header": headers} if (headers := body.lists("Header")) else {}
    return durations | texts | flags | headers


def _type_of(definition: dict[str, Any]) -> str:
    return next((kind for kind in ("http", "tcp") if kind.upper() in definition), "")
