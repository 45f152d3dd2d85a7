"""``/v1/operator/keyring`` over several datacenters, and that keys never travel in the clear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.forward.envelope import is_sealed, open_clear, seal
from agent.forward.messages import Answer as Forwarded
from agent.forward.messages import Request, decode_answer, encode_request
from agent.forward.post import Poster
from agent.http.routing import Call, Methods, Reply
from agent.keyring import NOT_OURS, PoolKeys
from gossip.errors import WireError
from gossip.events import MemberStatus
from gossip.wire.keyring import encode_key
from tests.helpers_agent import Answer, TestAgent, eventually
from tests.helpers_forward import (
    KEY,
    NEW_KEY,
    join_wan,
    know,
    serve,
    server,
    servers_at,
    stats,
    two_datacenters,
)
from tests.http.test_forward_listener import post

PATH = "/v1/operator/keyring"
OLD, NEW = encode_key(KEY), encode_key(NEW_KEY)


async def change(agent: TestAgent, method: str, key: str) -> Answer:
    return await agent.ask(method, PATH, body=json.dumps({"Key": key}).encode())


def ring(agent: TestAgent, *, wan: bool = False) -> list[str]:
    pool = agent.agent.wan if wan else agent.agent.lan
    assert pool is not None
    keyring = pool.cluster.node.keyring
    assert keyring is not None
    return [encode_key(key) for key in keyring.keys]


def element(datacenter: str, nodes: int = 2, *, wan: bool = False) -> dict[str, Any]:
    return {
        "WAN": wan,
        "Datacenter": datacenter,
        "Segment": "",
        "Keys": {OLD: nodes},
        "PrimaryKeys": {OLD: nodes},
        "NumNodes": nodes,
    }


@pytest.fixture
def envelopes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every envelope that is sent and that comes back."""
    seen: list[bytes] = []
    send = Poster.post

    async def watched(self: Poster, address: Any, data: bytes) -> bytes:
        seen.append(data)
        answer = await send(self, address, data)
        seen.append(answer)
        return answer

    monkeypatch.setattr(Poster, "post", watched)
    return seen


async def test_the_wan_comes_first_then_our_datacenter_then_the_others() -> None:
    async with two_datacenters(KEY) as (_, one, two, _):
        for asked, here, there in ((one, "dc1", "dc2"), (two, "dc2", "dc1")):
            listed = (await asked.get(f"{PATH}?relay-factor=1")).json
            assert listed == [element(here, wan=True), element(here), element(there)]
            local = (await asked.get(f"{PATH}?local-only=true")).json
            assert local == [element(here)]


async def test_a_change_reaches_every_member_of_every_datacenter(envelopes: list[bytes]) -> None:
    async with two_datacenters(KEY) as (web1, one, two, web2):
        for method, key, rings in (
            ("POST", NEW, [OLD, NEW]),
            ("PUT", NEW, [NEW, OLD]),
            ("DELETE", OLD, [NEW]),
        ):
            answer = await change(two, method, key)
            assert (answer.status, answer.body) == (200, b"")
            assert [ring(agent) for agent in (web1, one, two, web2)] == [rings] * 4
            assert [ring(agent, wan=True) for agent in (one, two)] == [rings] * 2
    assert envelopes
    assert all(map(is_sealed, envelopes))


async def test_while_encryption_is_rolled_out_keys_travel_sealed_nevertheless(
    envelopes: list[bytes],
) -> None:
    unverified = {"encrypt_verify_incoming": False, "encrypt_verify_outgoing": False}
    async with (
        server("one", "dc1", KEY, **unverified) as one,
        server("two", "dc2", KEY, **unverified) as two,
    ):
        await join_wan(one, two)
        fired = await one.put("/v1/event/fire/x?dc=dc2")
        assert (fired.status, is_sealed(envelopes[0])) == (200, False)
        envelopes.clear()

        assert [pool["Datacenter"] for pool in (await one.get(PATH)).json] == ["dc1", "dc1", "dc2"]
        assert (await change(one, "POST", NEW)).status == 200
        assert ring(two) == [OLD, NEW]
    assert envelopes
    assert all(map(is_sealed, envelopes))


async def test_without_a_key_between_them_nothing_is_sent(envelopes: list[bytes]) -> None:
    async with two_datacenters(None) as (_, one, two, _):
        for answer in (await change(one, "POST", NEW), await one.get(PATH)):
            assert answer.status == 500
            assert "\t* dc2 (LAN) error: keys travel sealed with the gossip key" in answer.text
            assert NEW not in answer.text
        assert stats(two).get("served", 0) == 0
    assert envelopes == []


async def test_a_request_in_the_clear_gets_no_keys_even_where_the_clear_is_believed() -> None:
    async with two_datacenters(None) as (_, one, _, _):
        for method, body in (("GET", b""), ("POST", json.dumps({"Key": NEW}).encode())):
            request = encode_request(Request(method, PATH, {}, body, 1))
            answer = await post(one, seal(request, None, b""))
            received = decode_answer(open_clear(answer.body))
            assert isinstance(received, Forwarded)
            assert received.status == 403
            assert received.body.startswith(b"Permission denied: this is answered only")


async def test_a_datacenter_that_cannot_be_reached_is_named_and_the_others_are_done() -> None:
    async with two_datacenters(KEY) as (web1, one, two, web2):
        await two.listener.close()
        answer = await change(one, "POST", NEW)
        assert answer.status == 500
        assert answer.text.startswith(
            "1 error occurred:\n\t* dc2 (LAN) error: rpc error getting client: "
        )
        assert ring(one) == ring(web1) == ring(two, wan=True) == [OLD, NEW]
        assert ring(web2) == [OLD]
        assert (await one.get(f"{PATH}?local-only=1")).status == 200


async def test_refusals_in_another_datacenter_name_its_members() -> None:
    async with two_datacenters(KEY) as (_, one, _, _):
        answer = await change(one, "PUT", NEW)
    assert answer.status == 500
    lines = answer.text.splitlines()
    assert lines[0] == "9 errors occurred:"
    assert [line for line in lines if "error:" in line] == [
        "\t* WAN error: 2/2 nodes reported failure",
        "\t* dc1 (LAN) error: 2/2 nodes reported failure",
        "\t* dc2 (LAN) error: 2/2 nodes reported failure",
    ]
    for node in ("one.dc1", "two.dc2", "one", "two", "web-1", "web-2"):
        assert f"\t* {node}: Requested key is not in the keyring" in lines


async def test_genuine_servers_are_not_asked_and_the_error_says_whom_to_ask() -> None:
    async with two_datacenters(KEY) as (_, one, two, _):
        (known,) = servers_at(two.server_port, dc="dc2")
        know(one, type(known)(known.name, "dc2", known.address, ours=False, bootstrap=False))
        answer = await one.get(PATH)
        assert (answer.status, answer.text) == (
            500,
            f"1 error occurred:\n\t* dc2 (LAN) error: {NOT_OURS}\n\n",
        )
        assert stats(two).get("served", 0) == 0


async def test_members_that_failed_in_another_datacenter_are_listed() -> None:
    async with two_datacenters(KEY) as (_, one, two, web2):
        await web2.agent.stop()

        def failed() -> bool:
            member = two.agent.cluster.member("web-2")
            return member is not None and member.status is MemberStatus.FAILED

        await eventually(failed, seconds=20)
        wan, own, other = (await one.get(PATH)).json
    assert (wan, own) == (element("dc1", wan=True), element("dc1"))
    assert other == element("dc2", 1) | {"FailedNodes": ["web-2"]}


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"{}", b"[]", b"[1, 2]", b"[[]]", b"null", b'[{"NumNodes": 1}]', b"[" * 100_000],
)
async def test_an_answer_that_is_no_keyring_is_an_error_of_that_datacenter(body: bytes) -> None:
    async def nonsense(call: Call) -> Reply:
        del call
        return Reply(text=body.decode())

    async with two_datacenters(KEY) as (_, one, two, _):
        serve(nonsense, two, methods=Methods.KEYRING)
        route = two.listener._router._exact.pop("/x")
        two.listener._router._exact[PATH] = route
        answer = await one.get(PATH)
    assert answer.status == 500
    assert answer.text.startswith("1 error occurred:\n\t* dc2 (LAN) error: the answer ")


SHOWN = element("dc2", 3) | {"Error": "1/3 nodes reported failure", "Messages": {"a": "no"}}


def test_a_pool_survives_its_journey_and_is_of_the_datacenter_that_was_asked() -> None:
    pool = PoolKeys.from_json("dc9", SHOWN | {"Datacenter": "dc1", "WAN": True})
    assert pool.to_json() == SHOWN | {"Datacenter": "dc9"}
    assert OLD not in repr(pool)


def test_what_is_no_key_is_left_out_of_an_answer() -> None:
    pool = PoolKeys.from_json("dc2", SHOWN | {"Keys": {"x": 1, OLD: 2, NEW: "3"}})
    assert pool.keys == {OLD: 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"NumNodes": "3"},
        {"NumNodes": None},
        {"NumNodes": True},
        {"Error": 1},
        {"Messages": []},
        {"Messages": {"a": 1}},
        {"Keys": None},
        {"Keys": []},
        {"PrimaryKeys": "x"},
        {"FailedNodes": "web"},
        {"FailedNodes": [1]},
    ],
)
def test_an_answer_of_other_types_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        PoolKeys.from_json("dc2", SHOWN | wrong)
