"""Nodes, services and checks from the bodies that register them in the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.durations import format_duration
from agent.http.errors import HttpError
from agent.store.entries import CheckEntry, NodeEntry, ServiceEntry, Status

if TYPE_CHECKING:
    from agent.http.decode import Body

__all__ = ["check_of", "node_of", "service_of"]


def node_of(body: Body) -> NodeEntry:
    """The node of a registration."""
    return NodeEntry(
        node=body.text("Node"),
        address=body.text("Address"),
        id=body.text("ID"),
        tagged_addresses=body.mapping("TaggedAddresses"),
        meta=body.mapping("NodeMeta"),
    )


def service_of(body: Body, node: str) -> ServiceEntry:
    """A service on a node; its ID is its name unless it has one."""
    weights = body.object("Weights")
    return ServiceEntry(
        node=node,
        id=body.text("ID") or body.text("Service"),
        service=body.text("Service"),
        tags=body.texts("Tags"),
        port=body.number("Port"),
        address=body.text("Address"),
        meta=body.mapping("Meta"),
        tagged_addresses={
            name: (tagged.text("Address"), tagged.number("Port"))
            for name, tagged in body.by_name("TaggedAddresses").items()
        },
        weights=(1, 1)
        if weights is None
        else (weights.number("Passing"), weights.number("Warning")),
        enable_tag_override=body.truth("EnableTagOverride"),
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
