"""The JSON of catalog entries, as Consul 1.8 writes it; what it has and we do not shows its empty value.

Each entry is made into text once and remembers it, so a list of ten thousand is put together from parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.http.answers import json_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store.catalog import Instance
    from agent.store.entries import CheckEntry, Entry, NodeEntry, ServiceEntry

__all__ = [
    "check_data",
    "check_json",
    "check_shown",
    "instance_json",
    "node_data",
    "node_json",
    "row_json",
    "service_data",
    "service_shown",
]


def node_json(node: NodeEntry, datacenter: str) -> str:
    """A node."""
    return _remembered(node, "entry", lambda: json_text(node_data(node, datacenter)))


def check_json(check: CheckEntry) -> str:
    """A check."""
    return _remembered(check, "entry", lambda: json_text(check_data(check)))


def instance_json(instance: Instance, datacenter: str) -> str:
    """An instance of a service with its node and the checks of both."""
    service = instance.service
    service_json = _remembered(service, "entry", lambda: json_text(service_data(service)))
    checks = ",".join(map(check_json, instance.checks))
    node = node_json(instance.node, datacenter)
    return f'{{"Node":{node},"Service":{service_json},"Checks":[{checks}]}}'


def row_json(instance: Instance, datacenter: str) -> str:
    """An instance of a service in one row with its node, as the catalog lists them."""
    node, service = instance.node, instance.service
    # Without the braces, which go around both.
    left = _remembered(node, "row", lambda: json_text(_node_columns(node, datacenter))[1:-1])
    right = _remembered(service, "row", lambda: json_text(_service_columns(service))[1:-1])
    return f"{{{left},{right}}}"


def _remembered(entry: Entry, key: str, make: Callable[[], str]) -> str:
    text = entry.memo.get(key)
    if text is None:
        text = entry.memo[key] = make()
    return text


def node_data(node: NodeEntry, datacenter: str) -> dict[str, Any]:
    """The keys of a node."""
    return {
        "ID": node.id,
        "Node": node.node,
        "Address": node.address,
        "Datacenter": datacenter,
        "TaggedAddresses": node.tagged_addresses or None,
        "Meta": node.meta or None,
        "CreateIndex": node.create_index,
        "ModifyIndex": node.modify_index,
    }


def service_data(service: ServiceEntry) -> dict[str, Any]:
    """The keys of a service."""
    tagged = {"TaggedAddresses": _tagged(service)} if service.tagged_addresses else {}
    return {
        "ID": service.id,
        "Service": service.service,
        "Tags": service.tags,
        "Address": service.address,
        **tagged,
        "Meta": service.meta or None,
        "Port": service.port,
        "Weights": _weights(service),
        "EnableTagOverride": service.enable_tag_override,
        "Proxy": _PROXY,
        "Connect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }


_PROXY: dict[str, Any] = {"MeshGateway": {}, "Expose": {}}


def check_data(check: CheckEntry) -> dict[str, Any]:
    """The keys of a check."""
    return {
        "Node": check.node,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": check.status,
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": check.service_tags,
        "Type": check.type,
        "Definition": check.definition,
        "CreateIndex": check.create_index,
        "ModifyIndex": check.modify_index,
    }


def service_shown(service: ServiceEntry) -> dict[str, Any]:
    """A service as it is shown to the clients of its own agent, which have it without indexes."""
    tagged = {"TaggedAddresses": _tagged(service)} if service.tagged_addresses else {}
    return {
        "ID": service.id,
        "Service": service.service,
        "Tags": service.tags,
        "Meta": service.meta,
        "Port": service.port,
        "Address": service.address,
        **tagged,
        "Weights": _weights(service),
        "EnableTagOverride": service.enable_tag_override,
    }


def check_shown(check: CheckEntry) -> dict[str, Any]:
    """A check likewise; how it is made is not shown, as it may hold secrets."""
    return check_data(check) | {"Definition": {}}


def _node_columns(node: NodeEntry, datacenter: str) -> dict[str, Any]:
    return {
        "ID": node.id,
        "Node": node.node,
        "Address": node.address,
        "Datacenter": datacenter,
        "TaggedAddresses": node.tagged_addresses or None,
        "NodeMeta": node.meta or None,
    }


def _service_columns(service: ServiceEntry) -> dict[str, Any]:
    tagged = {"ServiceTaggedAddresses": _tagged(service)} if service.tagged_addresses else {}
    return {
        "ServiceKind": "",
        "ServiceID": service.id,
        "ServiceName": service.service,
        "ServiceTags": service.tags,
        "ServiceAddress": service.address,
        **tagged,
        "ServiceWeights": _weights(service),
        "ServiceMeta": service.meta,
        "ServicePort": service.port,
        "ServiceEnableTagOverride": service.enable_tag_override,
        "ServiceProxy": _PROXY,
        "ServiceConnect": {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }


def _weights(service: ServiceEntry) -> dict[str, int]:
    passing, warning = service.weights
    return {"Passing": passing, "Warning": warning}


def _tagged(service: ServiceEntry) -> dict[str, dict[str, Any]]:
    return {
        name: {"Address": address, "Port": port}
        for name, (address, port) in service.tagged_addresses.items()
    }
