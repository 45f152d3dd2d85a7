"""/v1/catalog and /v1/health at the server that keeps the catalog."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from agent.http.catalog import MAX_BODY
from gossip.wire.coordinate import Coordinate
from tests.helpers_agent import eventually

if TYPE_CHECKING:
    from tests.helpers_agent import Answer, TestAgent

pytestmark = pytest.mark.usefixtures("no_sync")

WEB = {"ID": "web-1", "Service": "web", "Tags": ["v1", "Blue"], "Port": 80}


async def register(agent: TestAgent, body: Any) -> Answer:
    return await agent.put("/v1/catalog/register", json.dumps(body).encode())


async def add(agent: TestAgent, node: str, **more: Any) -> int:
    """Register a node; returns the index of that."""
    answer = await register(agent, {"Node": node, "Address": "10.0.0.1", **more})
    assert (answer.status, answer.text) == (200, "true")
    return agent.store.index


async def deregister(agent: TestAgent, **body: str) -> None:
    answer = await agent.put("/v1/catalog/deregister", json.dumps(body).encode())
    assert (answer.status, answer.text) == (200, "true")


# What is shown


async def test_a_registration_in_full_is_shown_everywhere_it_belongs(leader: TestAgent) -> None:
    index = await add(
        leader,
        "n1",
        ID="aaaaaaaa-0000-0000-0000-000000000001",
        TaggedAddresses={"wan": "1.2.3.4"},
        NodeMeta={"rack": "7"},
        Service=WEB
        | {
            "Address": "10.9.9.9",
            "Meta": {"a": "b"},
            "TaggedAddresses": {"lan": {"Address": "10.9.9.9", "Port": 81}},
            "Weights": {"Passing": 3, "Warning": 2},
            "EnableTagOverride": True,
        },
        Check={"Name": "node check", "Status": "passing", "Notes": "n", "Output": "o"},
        Checks=[
            {
                "CheckID": "service:web-1",
                "Name": "web check",
                "ServiceID": "web-1",
                "Definition": {
                    "HTTP": "http://x/",
                    "Interval": "10s",
                    "Header": {"a": ["b"]},
                    "TLSSkipVerify": True,
                },
            }
        ],
    )
    indexes = {"CreateIndex": index, "ModifyIndex": index}
    about = {
        "ID": "aaaaaaaa-0000-0000-0000-000000000001",
        "Node": "n1",
        "Address": "10.0.0.1",
        "Datacenter": "dc1",
        "TaggedAddresses": {"wan": "1.2.3.4"},
    }
    node = {**about, "Meta": {"rack": "7"}, **indexes}
    service = {
        "ID": "web-1",
        "Service": "web",
        "Tags": ["v1", "Blue"],
        "Address": "10.9.9.9",
        "TaggedAddresses": {"lan": {"Address": "10.9.9.9", "Port": 81}},
        "Meta": {"a": "b"},
        "Port": 80,
        "Weights": {"Passing": 3, "Warning": 2},
        "EnableTagOverride": True,
        "Proxy": {"MeshGateway": {}, "Expose": {}},
        "Connect": {},
        **indexes,
    }
    of_node = {
        "Node": "n1",
        "CheckID": "node check",
        "Name": "node check",
        "Status": "passing",
        "Notes": "n",
        "Output": "o",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "",
        "Definition": {},
        **indexes,
    }
    of_service = {
        **of_node,
        "CheckID": "service:web-1",
        "Name": "web check",
        "Status": "critical",
        "Notes": "",
        "Output": "",
        "ServiceID": "web-1",
        "ServiceName": "web",
        "ServiceTags": ["v1", "Blue"],
        "Type": "http",
        "Definition": {
            "HTTP": "http://x/",
            "Interval": "10s",
            "Header": {"a": ["b"]},
            "TLSSkipVerify": True,
        },
    }

    async def get(path: str) -> Any:
        answer = await leader.get(f"/v1/{path}")
        assert answer.status == 200
        assert answer.index == index
        assert answer.headers["x-consul-knownleader"] == "true"
        assert answer.headers["x-consul-lastcontact"] == "0"
        return answer.json

    assert node in await get("catalog/nodes")
    assert (await get("catalog/services"))["web"] == ["v1", "Blue"]
    assert await get("catalog/node/n1") == {"Node": node, "Services": {"web-1": service}}
    assert await get("catalog/service/web") == [
        {
            **about,
            "NodeMeta": {"rack": "7"},
            "ServiceKind": "",
            "ServiceID": "web-1",
            "ServiceName": "web",
            "ServiceTags": ["v1", "Blue"],
            "ServiceAddress": "10.9.9.9",
            "ServiceTaggedAddresses": {"lan": {"Address": "10.9.9.9", "Port": 81}},
            "ServiceWeights": {"Passing": 3, "Warning": 2},
            "ServiceMeta": {"a": "b"},
            "ServicePort": 80,
            "ServiceEnableTagOverride": True,
            "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
            "ServiceConnect": {},
            **indexes,
        }
    ]
    assert await get("health/node/n1") == [of_node, of_service]
    assert await get("health/checks/web") == [of_service]
    assert await get("health/service/web") == [
        {"Node": node, "Service": service, "Checks": [of_node, of_service]}
    ]
    assert await get("health/state/critical") == [of_service]
    assert of_node in (await leader.get("/v1/health/state/passing")).json


async def test_what_was_left_out_is_null_or_empty_as_in_consul(leader: TestAgent) -> None:
    await add(leader, "n1", Service={"Service": "web"}, Check={"Name": "c"})
    (row,) = (await leader.get("/v1/catalog/service/web")).json
    assert (row["TaggedAddresses"], row["NodeMeta"], row["ServiceMeta"]) == (None, None, {})
    assert (row["ServiceID"], row["ServiceTags"], row["ServicePort"]) == ("web", [], 0)
    assert "ServiceTaggedAddresses" not in row
    (one,) = (await leader.get("/v1/health/service/web")).json
    assert (one["Service"]["Meta"], one["Service"]["Tags"]) == (None, [])
    assert one["Service"]["Weights"] == {"Passing": 1, "Warning": 1}
    assert (one["Checks"][0]["CheckID"], one["Checks"][0]["Status"]) == ("c", "critical")


async def test_what_is_not_there_is_empty_and_still_has_an_index(leader: TestAgent) -> None:
    absent: dict[str, Any] = {
        "catalog/node/none": None,
        "catalog/service/none": [],
        "health/node/none": [],
        "health/checks/none": [],
        "health/checks/consul": [],
        "health/service/none": [],
        "health/state/unknown": [],
        "health/state/bogus": [],
    }
    for path, expected in absent.items():
        answer = await leader.get(f"/v1/{path}")
        assert (answer.status, answer.json) == (200, expected)
        assert answer.index >= 1


async def test_an_answer_is_never_taken_for_that_of_another_spelling(leader: TestAgent) -> None:
    leader.store.watch.start_at(1000)  # as after a restart: all indexes are the same
    for first, second in (("passing", "PASSING"), ("PASSING", "passing")):
        for state in (first, second):
            checks = (await leader.get(f"/v1/health/state/{state}")).json
            assert len(checks) == (state == "passing")


async def test_the_leader_is_in_its_own_catalog(leader: TestAgent) -> None:
    assert (await leader.get("/v1/catalog/services")).json == {"consul": []}
    (one,) = (await leader.get("/v1/health/service/consul?passing")).json
    assert one["Service"]["Port"] == leader.server_port
    assert set(one["Service"]["Meta"]) == {
        "non_voter",
        "raft_version",
        "serf_protocol_current",
        "serf_protocol_max",
        "serf_protocol_min",
        "version",
    }
    (check,) = one["Checks"]
    assert (check["CheckID"], check["Name"]) == ("serfHealth", "Serf Health Status")
    assert (check["Status"], check["Output"]) == ("passing", "Agent alive and reachable")


async def test_lists_are_sorted_by_node_then_by_id(leader: TestAgent) -> None:
    for node in ("b", "C", "a"):
        for id_ in ("2", "1"):
            await add(
                leader, node, Service={"ID": id_, "Service": "web"}, Check={"Name": f"c{id_}"}
            )
    order = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("C", "1"), ("C", "2")]
    rows = (await leader.get("/v1/catalog/service/web")).json
    assert [(row["Node"], row["ServiceID"]) for row in rows] == order
    rows = (await leader.get("/v1/health/service/web")).json
    assert [(row["Node"]["Node"], row["Service"]["ID"]) for row in rows] == order
    checks = (await leader.get("/v1/health/state/critical")).json
    assert [(check["Node"], check["Name"][1]) for check in checks] == order
    nodes = (await leader.get("/v1/catalog/nodes")).json
    assert [node["Node"] for node in nodes] == ["a", "b", "C", "lead"]


# Filters


async def fill(agent: TestAgent) -> None:
    for number, tags, status in (
        (1, ["v1"], "passing"),
        (2, ["V1", "blue"], "warning"),
        (3, ["v2"], "passing"),
    ):
        await add(
            agent,
            f"n{number}",
            NodeMeta={"rack": str(number % 2), "all": "x:y"},
            Service={"Service": "web", "Tags": tags},
            Check={"Name": "c", "ServiceID": "web", "Status": status},
            Checks=[{"Name": "node", "Status": "passing" if number < 3 else "critical"}],
        )


async def test_instances_are_filtered_by_tags_and_by_metadata_of_their_node(
    leader: TestAgent,
) -> None:
    await fill(leader)
    for query, nodes in {
        "": ["n1", "n2", "n3"],
        "tag=v1": ["n1", "n2"],
        "tag=V1": ["n1", "n2"],
        "tag=v1&tag=BLUE": ["n2"],
        "tag=none": [],
        "tag=": [],
        "node-meta=rack:1": ["n1", "n3"],
        "node-meta=rack:1&node-meta=all:x:y": ["n1", "n3"],
        "node-meta=rack:1&tag=v2": ["n3"],
        "node-meta=rack": [],
    }.items():
        rows = (await leader.get(f"/v1/catalog/service/web?{query}")).json
        assert [row["Node"] for row in rows] == nodes
        rows = (await leader.get(f"/v1/health/service/web?{query}")).json
        assert [row["Node"]["Node"] for row in rows] == nodes


async def test_passing_asks_for_every_check_of_the_instance_and_of_its_node(
    leader: TestAgent,
) -> None:
    await fill(leader)
    for query, nodes in {
        "passing": ["n1"],
        "passing=": ["n1"],
        "passing=true": ["n1"],
        "passing=1&tag=v2": [],
        "passing=false": ["n1", "n2", "n3"],
        "passing=0": ["n1", "n2", "n3"],
    }.items():
        rows = (await leader.get(f"/v1/health/service/web?{query}")).json
        assert [row["Node"]["Node"] for row in rows] == nodes
    answer = await leader.get("/v1/health/service/web?passing=maybe")
    assert (answer.status, answer.text) == (400, "Invalid value for ?passing")


async def test_lists_are_filtered_by_metadata_of_nodes(leader: TestAgent) -> None:
    await fill(leader)
    get = leader.get
    nodes = (await get("/v1/catalog/nodes?node-meta=rack:0")).json
    assert [node["Node"] for node in nodes] == ["n2"]
    assert (await get("/v1/catalog/services?node-meta=rack:0")).json == {"web": ["V1", "blue"]}
    assert (await get("/v1/catalog/services?node-meta=rack:9")).json == {}
    checks = (await get("/v1/health/state/any?node-meta=rack:0")).json
    assert {check["Node"] for check in checks} == {"n2"}
    # Who names a node has chosen it already.
    assert (await get("/v1/health/node/n2?node-meta=rack:9")).json == checks


async def test_near_sorts_by_round_trip_and_puts_the_unknown_last(
    leader: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(leader)

    def at(x: float) -> Coordinate:
        return Coordinate((x,) + (0.0,) * 7, 1.0, 0.0, 1e-5)

    places = {"lead": at(0), "n3": at(0.001), "n2": at(0.005)}
    monkeypatch.setattr(leader.agent.cluster, "coordinates", lambda: places)
    for near, order in (
        ("lead", ["n3", "n2", "n1"]),
        ("_agent", ["n3", "n2", "n1"]),
        ("N2", ["n2", "n3", "n1"]),
        ("n1", ["n1", "n2", "n3"]),
        ("nobody", ["n1", "n2", "n3"]),
    ):
        rows = (await leader.get(f"/v1/health/service/web?near={near}")).json
        assert [row["Node"]["Node"] for row in rows] == order
        rows = (await leader.get(f"/v1/catalog/service/web?near={near}")).json
        assert [row["Node"] for row in rows] == order
        rows = (await leader.get(f"/v1/health/checks/web?near={near}")).json
        assert [row["Node"] for row in rows] == order
        rows = (await leader.get(f"/v1/catalog/nodes?near={near}")).json
        assert [row["Node"] for row in rows if row["Node"] != "lead"] == order


# Blocking


@pytest.mark.parametrize(
    "path",
    [
        "catalog/nodes",
        "catalog/services",
        "catalog/service/web",
        "catalog/node/n9",
        "health/node/n9",
        "health/checks/web",
        "health/service/web",
        "health/state/any",
        "health/state/passing",
    ],
)
async def test_a_blocking_query_waits_for_its_own_change(leader: TestAgent, path: str) -> None:
    await add(leader, "other", Service={"Service": "db"}, Check={"Name": "d", "ServiceID": "db"})
    before = (await leader.get(f"/v1/{path}")).index
    waiting = asyncio.ensure_future(leader.get(f"/v1/{path}?index={before}&wait=60s"))
    await eventually(lambda: leader.store.watch.waiting == 1)

    await add(leader, "other", Service={"Service": "db", "Port": 1})  # nobody's list has it
    await add(leader, "other", Service={"Service": "db", "Port": 1})  # nothing new
    assert leader.store.watch.waiting == 1

    index = await add(
        leader,
        "n9",
        Service={"Service": "web"},
        Check={"Name": "c", "ServiceID": "web", "Status": "passing"},
    )
    answer = await waiting
    assert answer.index == index
    assert "n9" in answer.text or path == "catalog/services"


async def test_a_blocking_query_ends_unchanged_when_its_wait_is_over(leader: TestAgent) -> None:
    first = await leader.get("/v1/catalog/nodes")
    again = await leader.get(f"/v1/catalog/nodes?index={first.index}&wait=10ms")
    assert (again.index, again.json) == (first.index, first.json)


async def test_an_index_below_or_none_answers_at_once(leader: TestAgent) -> None:
    index = (await leader.get("/v1/catalog/nodes")).index
    for query in (f"index={index - 1}&wait=60s", "index=0&wait=60s", "wait=60s"):
        assert (await leader.get(f"/v1/catalog/nodes?{query}")).index == index


async def test_what_was_removed_wakes_and_its_index_never_goes_back(leader: TestAgent) -> None:
    index = await add(leader, "n1", Service={"Service": "web"})
    waiting = asyncio.ensure_future(leader.get(f"/v1/catalog/service/web?index={index}&wait=60s"))
    await eventually(lambda: leader.store.watch.waiting == 1)
    await deregister(leader, Node="n1")
    answer = await waiting
    assert (answer.json, answer.index) == ([], index + 1)
    assert (await leader.get("/v1/catalog/service/web")).index == index + 1


# What is refused


CONFLICT = "Cannot specify ?stale with ?consistent, conflicting semantics."


async def test_wrong_parameters_are_400_at_every_read_before_missing_names(
    leader: TestAgent,
) -> None:
    for path, missing in {
        "catalog/nodes": "",
        "catalog/services": "",
        "catalog/service/": "Missing service name",
        "catalog/node/": "Missing node name",
        "health/node/": "Missing node name",
        "health/checks/": "Missing service name",
        "health/service/": "Missing service name",
        "health/state/": "Missing check state",
    }.items():
        for query, text in {
            "stale&consistent": CONFLICT,
            "max_stale=1s&consistent": CONFLICT,
            "max_stale=1": 'Invalid max_stale value "1"',
            "wait=soon": "Invalid wait time",
            "index=-1": "Invalid index",
            "filter=Node==x": "Filter expressions are not supported",
        }.items():
            answer = await leader.get(f"/v1/{path}?{query}")
            assert (answer.status, answer.text) == (400, text)
        answer = await leader.get(f"/v1/{path}")
        assert (answer.status, answer.text if missing else "") == (400 if missing else 200, missing)


async def test_datacenters_are_listed_in_any_mode_but_two(leader: TestAgent) -> None:
    for query in ("stale", "consistent", "wait=soon"):
        assert (await leader.get(f"/v1/catalog/datacenters?{query}")).json == ["dc1"]
    answer = await leader.get("/v1/catalog/datacenters?stale&consistent")
    assert (answer.status, answer.text) == (400, CONFLICT)


async def test_each_mode_of_consistency_is_answered_and_named(leader: TestAgent) -> None:
    for query, mode in (
        ("", "leader"),
        ("stale", "stale"),
        ("consistent", "consistent"),
        ("max_stale=10s", "stale"),
        ("max_stale=0s", "leader"),
        ("max_stale=", "leader"),
    ):
        answer = await leader.get(f"/v1/catalog/nodes?{query}")
        assert answer.headers["x-consul-effective-consistency"] == mode
        assert answer.headers["x-consul-lastcontact"] == "0"


GOOD = {"Node": "bad", "Address": "10.0.0.1"}


WRONG: list[tuple[Any, int, str]] = [
    (b"", 400, "Request decode failed: the body is empty"),
    (b"{", 400, "Request decode failed: the body is not JSON at byte 1"),
    (b"[]", 400, "Request decode failed: the body is not an object"),
    (b"[" * 100_000, 400, "Request decode failed: the body is nested too deeply"),
    (b"null", 500, "Must provide node and address"),
    ({}, 500, "Must provide node and address"),
    ({"Node": "bad"}, 500, "Must provide node and address"),
    ({"Address": "x"}, 500, "Must provide node and address"),
    ({"Node": 1}, 400, "Request decode failed: Node is not a string"),
    (GOOD | {"ID": "1"}, 500, "Bad node ID: '1' is not a UUID"),
    (GOOD | {"NodeMeta": {"a": 1}}, 400, "NodeMeta is not an object of strings"),
    (GOOD | {"Service": {"Service": "s", "Meta": {"": "x"}}}, 400, "Key cannot be blank"),
    (GOOD | {"Service": {"Service": "s", "Address": "::"}}, 400, "Invalid service address"),
    (GOOD | {"Service": {"ID": "x"}}, 500, "Must provide service name with ID"),
    (GOOD | {"Service": "web"}, 400, "Service is not an object"),
    (GOOD | {"Service": {"Service": "s", "Port": "80"}}, 400, "Service.Port is not a whole"),
    (GOOD | {"Service": {"Service": "s", "Port": 8.5}}, 400, "Service.Port is not a whole"),
    (GOOD | {"Service": {"Service": "s", "Port": 2**63}}, 400, "Service.Port is not a whole"),
    (GOOD | {"Service": {"Service": "s", "Port": True}}, 400, "Service.Port is not a whole"),
    (GOOD | {"Service": {"Service": "s", "Tags": "x"}}, 400, "Service.Tags is not a list of"),
    (GOOD | {"Check": {"Name": "c", "Status": "fine"}}, 400, 'Bad check status "fine"'),
    (GOOD | {"Check": {}}, 500, "Must provide check ID or name"),
    (GOOD | {"Check": {"Name": "c", "ServiceID": "x"}}, 500, 'service registration on node "bad"'),
    (GOOD | {"Check": {"Node": "b", "Name": "c"}}, 400, 'check node "b" does not match'),
    (GOOD | {"Checks": [{"Name": "c"}, {"Name": 1}]}, 400, "Checks[1].Name is not a string"),
    (GOOD | {"Datacenter": "mars"}, 500, "No path to datacenter"),
    (b" " * MAX_BODY + b"{}", 413, f"exceeds the limit of {MAX_BODY} bytes"),
    (b"x" * 1024 * 1024, 413, f"exceeds the limit of {MAX_BODY} bytes"),
]


async def test_a_registration_that_is_wrong_says_so_and_stores_nothing(leader: TestAgent) -> None:
    index = leader.store.index
    for body, status, text in WRONG:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await leader.put("/v1/catalog/register", data)
        assert (answer.status, text in answer.text) == (status, True), (data[:100], answer.text)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert leader.store.index == index
    assert [node.node for node in leader.store.catalog.nodes()] == ["lead"]


async def test_a_deregistration_that_is_wrong_says_so_and_removes_nothing(
    leader: TestAgent,
) -> None:
    index = leader.store.index
    for body, status, text in (
        (b"", 400, "Request decode failed: the body is empty"),
        (b"{}", 500, "Must provide node"),
        (b'{"ServiceID": "x"}', 500, "Must provide node"),
        (b'{"Node": "lead", "ServiceID": 1}', 400, "ServiceID is not a string"),
    ):
        answer = await leader.put("/v1/catalog/deregister", body)
        assert (answer.status, text in answer.text) == (status, True)
    assert leader.store.index == index


async def test_what_is_deregistered_is_gone_and_the_unknown_is_true(leader: TestAgent) -> None:
    await add(leader, "n1", Service=WEB, Check={"Name": "c", "ServiceID": "web-1"})
    await add(leader, "n1", Check={"Name": "own"})
    await deregister(leader, Node="n1", ServiceID="web-1", CheckID="own")
    (own,) = (await leader.get("/v1/health/node/n1")).json
    assert own["Name"] == "own"
    await deregister(leader, Node="n1", CheckID="own")
    assert (await leader.get("/v1/health/node/n1")).json == []
    await deregister(leader, Node="N1")
    assert (await leader.get("/v1/catalog/node/n1")).json is None
    index = leader.store.index
    for body in ({"Node": "n1"}, {"Node": "x", "ServiceID": "y"}, {"Node": "x", "CheckID": "y"}):
        await deregister(leader, **body)
    assert leader.store.index == index


# Spelling


async def test_keys_come_in_any_case_and_with_underscores(leader: TestAgent) -> None:
    body = {
        "node": "n1",
        "ADDRESS": "10.0.0.1",
        "node_meta": {"Kept_As": "It Is"},
        "tagged_addresses": {"lan_ipv4": "10.0.0.1"},
        "skip_node_update": None,
        "service": {"service": "web", "enable_tag_override": True, "Unknown": [1]},
        "check": {"check_id": "c", "name": "n", "service_id": "web"},
        "what is this": {"a": [None]},
    }
    assert (await register(leader, body)).text == "true"
    node = (await leader.get("/v1/catalog/node/n1")).json
    assert node["Node"]["Meta"] == {"Kept_As": "It Is"}
    assert node["Node"]["TaggedAddresses"] == {"lan_ipv4": "10.0.0.1"}
    assert node["Services"]["web"]["EnableTagOverride"] is True
    (check,) = (await leader.get("/v1/health/checks/web")).json
    assert check["CheckID"] == "c"


HOSTILE = [
    "a/b c",
    "../../etc/passwd",
    "'; DROP TABLE nodes; --",
    "<script>alert(1)</script>",
    "ünïcödé ☃ 🐍",
    'quote"back\\slash',
    "x" * 3000,
    "%2e%2e",
    "İ",
]


async def test_hostile_names_are_stored_and_shown_as_they_are(leader: TestAgent) -> None:
    for name in HOSTILE:
        await add(
            leader,
            name,
            Service={"ID": name, "Service": name, "Tags": [name], "Meta": {"key": name[:512]}},
            Check={"CheckID": name, "Name": name, "ServiceID": name, "Output": name},
        )
        assert name in (await leader.get("/v1/catalog/services")).json
        assert name in {node["Node"] for node in (await leader.get("/v1/catalog/nodes")).json}
        path = quote(name, safe="")
        answer = await leader.get(f"/v1/health/service/{path}")
        if "../" in name:
            assert answer.status == 301  # as Go's router does with any path that has dots
        else:
            (one,) = answer.json
            assert one["Node"]["Node"] == one["Service"]["Service"] == name
            assert one["Service"]["Meta"] == {"key": name[:512]}
            assert one["Checks"][0]["Output"] == name
            node = (await leader.get(f"/v1/catalog/node/{path}")).json
            assert node["Services"][name]["Tags"] == [name]
        await deregister(leader, Node=name)
    assert (await leader.get("/v1/catalog/services")).json == {"consul": []}


async def test_what_is_no_text_becomes_the_replacement_character(leader: TestAgent) -> None:
    body = b'{"Node":"half\\ud800","Address":"bytes\xff","NodeMeta":{"\\udfff":"nul\\u0000"}}'
    assert (await leader.put("/v1/catalog/register", body)).text == "true"
    node = (await leader.get("/v1/catalog/nodes")).json[0]
    assert (node["Node"], node["Address"]) == ("half\ufffd", "bytes\ufffd")
    assert node["Meta"] == {"\ufffd": "nul\0"}


async def test_weights_that_make_no_sense_are_those_of_a_service_without_any(
    leader: TestAgent,
) -> None:
    for weights in ({}, {"Passing": 0, "Warning": 1}, {"Passing": 1, "Warning": 65536}):
        await add(leader, "n", Service={"Service": "web", "Weights": weights})
        (row,) = (await leader.get("/v1/catalog/service/web")).json
        assert row["ServiceWeights"] == {"Passing": 1, "Warning": 1}


async def test_a_post_is_taken_for_a_put(leader: TestAgent) -> None:
    body = json.dumps(GOOD).encode()
    assert (await leader.ask("POST", "/v1/catalog/register", body=body)).text == "true"


async def test_the_agent_shows_what_its_catalog_holds(leader: TestAgent) -> None:
    await add(leader, "n1", Service={"Service": "web"})
    shown = (await leader.get("/v1/agent/self")).json["Stats"]["catalog"]
    assert shown == {
        "nodes": "2",
        "services": "2",
        "checks": "1",
        "index": str(leader.store.index),
        "waiting_queries": "0",
        "waiting_writes": "0",
        "refused_writes": "0",
        "failed_writes": "0",
        "forgotten_topics": "0",
    }


async def test_too_many_writes_are_429_and_stored_by_none(
    leader: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.store.MAX_WAITING", 0)
    answer = await register(leader, GOOD)
    assert (answer.status, answer.text) == (429, "too many writes wait for the disk")
    assert answer.headers["retry-after"] == "1"
