"""The bodies that change the catalog, read by its leader and written by those who tell it of their node.

A service is read by `agent.definitions.service_entry`, which knows both of its spellings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.definitions import DefinitionError
from agent.durations import format_duration
from agent.store.entries import CheckEntry, NodeEntry, Status

if TYPE_CHECKING:
    from agent.decode import Body
    from agent.store.entries import Deregistration, Registration, ServiceEntry

__all__ = ["check_of", "deregistration_data", "node_of", "registration_data", "service_fields"]


# Reading


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
    """A check on a node; its ID is its name unless it has one, and it is critical unless it says more.

    Raises:
        DecodeError: a value is of another kind.
        DefinitionError: there is no such status.
    """
    status = body.text("Status") or Status.CRITICAL
    if status not in set(Status):
        raise DefinitionError(f'Bad check status "{status[:60]}"')
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


# Writing


def registration_data(write: Registration) -> dict[str, Any]:
    """What ``/v1/catalog/register`` has to be told."""
    node, service = write.node, write.service
    return {
        "ID": node.id,
        "Node": node.node,
        "Address": node.address,
        "TaggedAddresses": dict(node.tagged_addresses),
        "NodeMeta": dict(node.meta),
        "SkipNodeUpdate": write.keep_node,
        **({} if service is None else {"Service": service_fields(service, "Service")}),
        **({"Checks": list(map(_check_data, write.checks))} if write.checks else {}),
    }


def deregistration_data(write: Deregistration) -> dict[str, Any]:
    """What ``/v1/catalog/deregister`` has to be told."""
    return {"Node": write.node, "ServiceID": write.service_id, "CheckID": write.check_id}


def service_fields(service: ServiceEntry, name: str) -> dict[str, Any]:
    """A service in the words that `agent.definitions` reads; `name` is the key of its name."""
    passing, warning = service.weights
    return {
        "ID": service.id,
        name: service.service,
        "Tags": list(service.tags),
        "Port": service.port,
        "Address": service.address,
        "Meta": dict(service.meta),
        "TaggedAddresses": {
            kind: {"Address": address, "Port": port}
            for kind, (address, port) in service.tagged_addresses.items()
        },
        "Weights": {"Passing": passing, "Warning": warning},
        "EnableTagOverride": service.enable_tag_override,
    }


def _check_data(check: CheckEntry) -> dict[str, Any]:
    return {
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": str(check.status),
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "Type": check.type,
        "Definition": dict(check.definition),
    }
