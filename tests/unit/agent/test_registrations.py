"""What is written for the catalog is read there as it was meant."""

from __future__ import annotations

import json

from agent.decode import Body
from agent.definitions import service_entry
from agent.registrations import check_of, deregistration_data, node_of, registration_data
from agent.store.entries import (
    CheckEntry,
    Deregistration,
    NodeEntry,
    Registration,
    ServiceEntry,
    Status,
)

NODE = NodeEntry(
    node="web-1 ☃",
    address="10.0.0.1",
    id="aaaaaaaa-0000-0000-0000-000000000001",
    tagged_addresses={"wan": "1.1.1.1"},
    meta={"k_K": "v"},
)
SERVICE = ServiceEntry(
    node=NODE.node,
    id="web/1",
    service="web",
    tags=("b", "a", ""),
    port=80,
    address="10.9.9.9",
    meta={"snake_case": "Kept As It Is"},
    tagged_addresses={"lan_ipv4": ("10.9.9.9", 81)},
    weights=(5, 0),
    enable_tag_override=True,
)
CHECK = CheckEntry(
    node=NODE.node,
    check_id="c",
    name="a check",
    status=Status.WARNING,
    notes="n",
    output="\x00 two\nlines",
    service_id="web/1",
    type="ttl",
    definition={"TCP": "x:1", "Interval": "10s"},
)


def sent(data: object) -> Body:
    return Body.parse(json.dumps(data).encode())


def test_a_registration_arrives_whole() -> None:
    write = Registration(node=NODE, service=SERVICE, checks=(CHECK,), keep_node=True)
    body = sent(registration_data(write))
    service = body.object("Service")
    assert node_of(body) == NODE
    assert body.truth("SkipNodeUpdate")
    assert service is not None
    assert service_entry(service, NODE.node, "Service") == SERVICE
    assert [check_of(check, NODE.node) for check in body.objects("Checks")] == [CHECK]


def test_a_node_alone_has_neither_service_nor_checks() -> None:
    body = sent(registration_data(Registration(node=NODE)))
    assert body.object("Service") is None
    assert body.objects("Checks") == []
    assert not body.truth("SkipNodeUpdate")


def test_a_deregistration_arrives_whole() -> None:
    body = sent(deregistration_data(Deregistration(node="n", service_id="s", check_id="c")))
    assert [body.text(key) for key in ("Node", "ServiceID", "CheckID")] == ["n", "s", "c"]
