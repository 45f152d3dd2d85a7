"""/v1/agent"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from agent.config import Ports
from agent.version import REVISION, VERSION
from gossip.events import NameConflictLost
from gossip.serf.leave import Lifecycle
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from gossip.events import MemberStatus

MEMBER_KEYS = [
    "Name",
    "Addr",
    "Port",
    "Tags",
    "Status",
    "ProtocolMin",
    "ProtocolMax",
    "ProtocolCur",
    "DelegateMin",
    "DelegateMax",
    "DelegateCur",
]
FIRST_API_CONFIG = {
    "Bootstrap": bool,
    "Server": bool,
    "Datacenter": str,
    "DataDir": str,
    "DNSRecursor": str,
    "Domain": str,
    "LogLevel": str,
    "NodeName": str,
    "ClientAddr": str,
    "BindAddr": str,
    "AdvertiseAddr": str,
    "Ports": dict,
    "LeaveOnTerm": bool,
    "SkipLeaveOnInt": bool,
    "StatsiteAddr": str,
    "Protocol": int,
    "EnableDebug": bool,
    "VerifyIncoming": bool,
    "VerifyOutgoing": bool,
    "CAFile": str,
    "CertFile": str,
    "KeyFile": str,
    "StartJoin": list,
    "UiDir": str,
    "PidFile": str,
    "EnableSyslog": bool,
    "RejoinAfterLeave": bool,
}
KEY = "cg8StVXbQJ0gPvMd9o7yrg=="


async def joined(agent: TestAgent, other: TestAgent) -> None:
    assert (await agent.put(f"/v1/agent/join/{other.gossip}")).status == 200
    for one in (agent, other):
        await eventually(lambda one=one: len(one.agent.cluster.members()) == 2)


async def statuses(agent: TestAgent) -> dict[str, int]:
    members = (await agent.get("/v1/agent/members")).json
    return {member["Name"]: member["Status"] for member in members}


# Members


async def test_members_have_all_fields(one: TestAgent) -> None:
    answer = await one.get("/v1/agent/members")
    (member,) = answer.json
    assert list(member) == MEMBER_KEYS
    assert member["Tags"] == {
        "acls": "0",
        "build": f"{VERSION}:{REVISION}",
        "dc": "dc1",
        "id": one.agent.node_id,
        "role": "node",
        "segment": "",
        "vsn": "2",
        "vsn_max": "3",
        "vsn_min": "2",
    }
    assert (member["Name"], member["Addr"], member["Status"]) == ("one", "127.0.0.1", 1)
    assert member["Port"] == one.agent.cluster.local_address[1]
    assert [member[key] for key in MEMBER_KEYS[5:]] == [1, 5, 2, 2, 5, 4]


@pytest.mark.parametrize(
    ("query", "status", "count"),
    [
        ("", 200, 1),
        ("?wan", 200, 1),
        ("?wan=", 200, 1),
        ("?wan=1", 200, 0),
        ("?wan=0", 200, 0),
        ("?segment=_all", 200, 1),
        ("?segment=x", 200, 1),
        ("?wan=1&segment=_all", 200, 0),
    ],
)
async def test_wan_counts_with_a_value_and_has_no_members(
    one: TestAgent, query: str, status: int, count: int
) -> None:
    answer = await one.get(f"/v1/agent/members{query}")
    assert (answer.status, len(answer.json)) == (status, count)


async def test_a_segment_of_the_wan_is_400(one: TestAgent) -> None:
    answer = await one.get("/v1/agent/members?wan=1&segment=x")
    assert (answer.status, answer.text) == (400, "Cannot provide a segment with wan=true")


@pytest.mark.parametrize(
    ("query", "text"), [("wait=x", "Invalid wait time"), ("index=x", "Invalid index")]
)
async def test_members_report_bad_parameters(one: TestAgent, query: str, text: str) -> None:
    answer = await one.get(f"/v1/agent/members?{query}")
    assert (answer.status, answer.text) == (400, text)


async def test_s16_the_index_stays_while_nothing_visible_changes(one: TestAgent) -> None:
    indexes = {(await one.get("/v1/agent/members")).index for _ in range(5)}
    assert len(indexes) == 1
    assert indexes.pop() >= 1
    await one.put("/v1/event/fire/x")  # no change of the members
    assert {(await one.get("/v1/agent/members")).index for _ in range(5)} == {
        one.agent.lan.members_index
    }


async def test_s16_l10_a_change_of_the_members_wakes_a_waiting_query() -> None:
    async with running("a") as a, running("b") as b:
        index = (await a.get("/v1/agent/members")).index
        waiting = [
            asyncio.ensure_future(a.get(f"/v1/agent/members?index={index}&wait=30s"))
            for _ in range(20)
        ]
        await eventually(lambda: a.http.gate.blocked == 20)
        await b.agent.join(a.gossip)
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        for answer in answers:
            assert answer.index > index
            assert {member["Name"] for member in answer.json} == {"a", "b"}


async def test_s16_a_query_without_a_change_is_answered_when_the_wait_is_over(
    one: TestAgent,
) -> None:
    before = await one.get("/v1/agent/members")
    started = time.monotonic()
    after = await one.get(f"/v1/agent/members?index={before.index}&wait=300ms")
    assert 0.25 < time.monotonic() - started < 5
    assert (after.body, after.index) == (before.body, before.index)


async def test_s16_an_older_index_is_answered_at_once_and_wait_alone_never_blocks(
    one: TestAgent,
) -> None:
    index = (await one.get("/v1/agent/members")).index
    async with asyncio.timeout(5):
        await one.get(f"/v1/agent/members?index={index - 1}&wait=60s")
        await one.get("/v1/agent/members?wait=60s")
        await one.get("/v1/agent/members?index=0&wait=60s")


async def test_s16_the_index_of_a_later_process_is_higher() -> None:
    async with running() as first:
        before = (await first.get("/v1/agent/members")).index
    async with running() as second:
        assert (await second.get("/v1/agent/members")).index > before


async def test_s16_every_change_a_follower_sees_has_a_higher_index() -> None:
    async with running("a") as a, AsyncExitStack() as stack:
        seen: list[tuple[int, dict[str, int]]] = []

        async def follow() -> None:
            index = 0
            while True:
                answer = await a.get(f"/v1/agent/members?index={index}&wait=30s")
                index = answer.index
                seen.append((index, {m["Name"]: m["Status"] for m in answer.json}))

        following = asyncio.ensure_future(follow())
        b = await stack.enter_async_context(running("b"))
        await b.agent.join(a.gossip)
        await eventually(lambda: seen and seen[-1][1].get("b") == 1)
        await b.agent.leave()
        await eventually(lambda: seen[-1][1].get("b") == 3)
        following.cancel()
        indexes = [index for index, _ in seen]
        assert indexes == sorted(set(indexes))
        assert all(one != two for (_, one), (_, two) in itertools.pairwise(seen))


async def test_l10_blocked_queries_end_when_the_pool_is_closed(one: TestAgent) -> None:
    index = (await one.get("/v1/agent/members")).index
    waiting = asyncio.ensure_future(one.agent.lan.members_changed(index=index, wait=60))
    await asyncio.sleep(0)
    await one.agent.cluster.close()
    assert await asyncio.wait_for(waiting, 5) == index


# Self


async def test_self_has_every_key_of_the_first_api_and_of_newer_clients() -> None:
    settings = {"server": True, "bootstrap": True, "ports": Ports(http=0, serf_lan=0, server=1234)}
    async with running(**settings) as server:  # type: ignore[arg-type]
        shown = (await server.get("/v1/agent/self")).json
    assert all(section is None or isinstance(section, dict) for section in shown.values())
    assert set(shown) == {"Config", "Coord", "Member", "Stats", "Meta"}
    config = shown["Config"]
    for key, kind in FIRST_API_CONFIG.items():
        assert type(config[key]) is kind, key
    assert set(config["Ports"]) == {"DNS", "HTTP", "RPC", "SerfLan", "SerfWan", "Server"}
    assert config["Ports"]["Server"] == 1234
    assert config["Ports"]["HTTP"] == server.port
    assert config["Ports"]["SerfLan"] == shown["Member"]["Port"]
    assert (config["NodeName"], config["NodeID"]) == ("one", server.agent.node_id)
    assert (config["Version"], config["Revision"]) == (VERSION, REVISION)
    assert config["PrimaryDatacenter"] == config["Datacenter"] == "dc1"
    assert config["AdvertiseAddr"] == "127.0.0.1"
    assert list(shown["Member"]) == MEMBER_KEYS
    assert set(shown["Coord"]) == {"Adjustment", "Error", "Height", "Vec"}
    assert shown["Meta"] == {}


async def test_every_statistic_is_text(one: TestAgent) -> None:
    stats = (await one.get("/v1/agent/self")).json["Stats"]
    for section in stats.values():
        assert all(isinstance(value, str) for value in section.values())
    assert set(stats["serf_lan"]) >= {
        "members",
        "failed",
        "left",
        "health_score",
        "member_time",
        "event_time",
        "query_time",
        "intent_queue",
        "event_queue",
        "query_queue",
        "encrypted",
        "coordinate_resets",
    }
    assert stats["serf_lan"]["members"] == "1"
    assert set(stats["agent"]) >= {"check_monitors", "check_ttls", "checks", "services"}
    assert stats["consul"] == {"server": "false", "known_servers": "0"}
    assert stats["build"] == {"revision": REVISION, "version": VERSION, "prerelease": ""}


async def test_a_server_shows_its_leader() -> None:
    async with running(server=True, bootstrap=True) as server:
        stats = (await server.get("/v1/agent/self")).json["Stats"]["consul"]
    assert stats == {
        "server": "true",
        "leader": "true",
        "leader_addr": "127.0.0.1:8300",
        "bootstrap": "true",
        "known_datacenters": "1",
        "acl": "disabled",
    }


async def test_self_shows_no_secret() -> None:
    token = "b1gs33cr3t-token"
    async with running(encrypt=KEY, acl_token=token) as agent:
        answers = [
            await agent.get("/v1/agent/self"),
            await agent.get(f"/v1/agent/self?token={token}"),
            await agent.get("/v1/agent/members"),
        ]
    assert answers[0].json["Stats"]["serf_lan"]["encrypted"] == "true"
    for answer in answers:
        for secret in (KEY, KEY.rstrip("="), json.dumps(KEY), token):
            assert secret not in answer.text


async def test_a_public_bind_without_a_key_stays_visible() -> None:
    async with running() as private:
        assert (await private.get("/v1/agent/self")).json["Stats"]["agent"]["warnings"] == ""
    async with running(advertise_addr="8.8.8.8") as public:
        shown = (await public.get("/v1/agent/self")).json
        assert "not encrypted" in shown["Stats"]["agent"]["warnings"]


# Join


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_join_answers_200_without_a_body(method: str) -> None:
    async with running("a") as a, running("b") as b:
        answer = await a.ask(method, f"/v1/agent/join/{b.gossip}")
        assert (answer.status, answer.body) == (200, b"")
        assert "application/json" not in answer.headers["content-type"]
        await eventually(lambda: len(b.agent.cluster.members()) == 2)
        assert await statuses(a) == {"a": 1, "b": 1}


@pytest.mark.parametrize("form", ["{}", "b/{}", "b%2F{}", "%31{0[1:]}"])
async def test_the_address_is_the_rest_of_the_decoded_path(form: str) -> None:
    async with running("a") as a, running("b") as b:
        target = f"%31{b.gossip[1:]}" if form.startswith("%31") else form.format(b.gossip)
        assert (await a.put(f"/v1/agent/join/{target}")).status == 200


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1:1", "Failed to join 127.0.0.1:1"),
        ("", "Failed to resolve "),
        ("a:b:c", "Failed to resolve a:b:c"),
        ("127.0.0.1:99999", "Failed to resolve 127.0.0.1:99999"),
    ],
)
async def test_a_join_that_reaches_nobody_is_500_with_the_reason(
    one: TestAgent, address: str, text: str
) -> None:
    answer = await one.put(f"/v1/agent/join/{address}")
    assert answer.status == 500
    assert answer.text.startswith("1 error occurred:\n\t* ")
    assert text in answer.text


async def test_a_bare_wan_joins_the_lan_pool() -> None:
    async with running("a") as a, running("b") as b:
        assert (await a.put(f"/v1/agent/join/{b.gossip}?wan=")).status == 200


# Datacenters


async def test_r24_joining_another_datacenter_is_500_and_leaves_both_pools_intact() -> None:
    async with running("a") as a, running("b", datacenter="dc2") as b:
        for agent, other, dc in ((a, b, "dc2"), (b, a, "dc1")):
            answer = await agent.put(f"/v1/agent/join/{other.gossip}")
            assert answer.status == 500
            assert f"part of wrong datacenter '{dc}'" in answer.text
        assert (await statuses(a), await statuses(b)) == ({"a": 1}, {"b": 1})


# Force-leave


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_force_leave_of_an_unknown_node_is_200_with_a_warning(
    one: TestAgent, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await one.ask(method, "/v1/agent/force-leave/ghost")
    assert (answer.status, answer.body) == (200, b"")
    assert "unknown node name=ghost" in caplog.text


async def fail_b(a: TestAgent, stack: AsyncExitStack) -> None:
    """Let b join a, and die."""
    async with running("b") as b:
        await joined(b, a)

    async def failed() -> bool:
        return (await statuses(a)).get("b") == 4

    await eventually(failed, seconds=20)


async def test_force_leave_makes_a_failed_node_left() -> None:
    async with running("a") as a, AsyncExitStack() as stack:
        await fail_b(a, stack)
        assert (await a.put("/v1/agent/force-leave/b")).status == 200
        assert await statuses(a) == {"a": 1, "b": 3}


@pytest.mark.parametrize("query", ["?prune", "?prune="])
async def test_force_leave_with_prune_forgets_a_failed_node(query: str) -> None:
    async with running("a") as a, AsyncExitStack() as stack:
        await fail_b(a, stack)
        assert (await a.put(f"/v1/agent/force-leave/b{query}")).status == 200
        assert await statuses(a) == {"a": 1}


async def test_r19_force_leave_of_a_running_node_is_refuted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running("a") as a, running("b") as b:
        await joined(b, a)
        assert (await a.put("/v1/agent/force-leave/b")).status == 200
        assert "running node, which will refute it name=b" in caplog.text

        async def alive() -> bool:
            return await statuses(a) == {"a": 1, "b": 1}

        await eventually(alive)


async def test_a_force_leave_that_cannot_be_told_is_500(
    one: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_name: str, **_: object) -> MemberStatus:
        raise TimeoutError

    monkeypatch.setattr(one.agent.cluster, "force_leave", never)
    answer = await one.put("/v1/agent/force-leave/one")
    assert (answer.status, answer.text) == (500, "timed out broadcasting node removal")


# Leave


async def test_leave_answers_and_the_others_see_it() -> None:
    async with running("a") as a, running("b") as b:
        await joined(b, a)
        answer = await b.put("/v1/agent/leave")
        assert (answer.status, answer.body) == (200, b"")
        assert b.agent.finished.result() == 0

        async def left() -> bool:
            return await statuses(a) == {"a": 1, "b": 3}

        await eventually(left)


async def test_leave_goes_on_when_its_client_goes_away() -> None:
    async with running("a") as a, running("b", pool={"leave_propagate_delay": 0.3}) as b:
        await joined(b, a)
        _, writer = await asyncio.open_connection("127.0.0.1", b.port)
        writer.write(b"PUT /v1/agent/leave HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: b.agent._leaving is not None)
        writer.close()
        assert await asyncio.wait_for(asyncio.shield(b.agent.finished), 10) == 0


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
async def test_leave_never_answers_what_a_browser_sends_ahead(one: TestAgent, method: str) -> None:
    assert (await one.ask(method, "/v1/agent/leave")).status == 405
    assert not one.agent.finished.done()


# Joining what is configured


async def test_start_join_and_retry_join_reach_the_others() -> None:
    async with running("a") as a:
        for kind in ("start_join", "retry_join"):
            async with running(kind.replace("_", "-"), **{kind: (a.gossip,)}) as b:  # type: ignore[arg-type]
                await b.agent.join_configured()
                await eventually(lambda b=b: len(b.agent.cluster.members()) >= 2)


async def test_retry_join_goes_on_until_somebody_answers(caplog: pytest.LogCaptureFixture) -> None:
    async with running("a") as a:
        port = a.agent.cluster.local_address[1]
    async with running("b", retry_join=(f"127.0.0.1:{port}",), retry_interval=0.05) as b:
        await b.agent.join_configured()
        await eventually(lambda: "join failed attempt=2" in caplog.text)
        async with running("a", ports=Ports(http=0, serf_lan=port)):
            await eventually(lambda: len(b.agent.cluster.members()) == 2)
        assert not b.agent.finished.done()


async def test_retry_join_gives_up_after_retry_max() -> None:
    settings = {"retry_join": ("127.0.0.1:1",), "retry_interval": 0.01, "retry_max": 3}
    async with running(**settings) as agent:  # type: ignore[arg-type]
        await agent.agent.join_configured()
        assert await asyncio.wait_for(asyncio.shield(agent.agent.finished), 10) == 1


async def test_r14_an_agent_that_loses_its_name_ends_with_status_1() -> None:
    async with running("a", pool={"resolve_name_conflicts": True}) as a:
        cluster = a.agent.cluster
        await eventually(lambda: bool(cluster._subscriptions))  # the agent follows events by now
        cluster.node.lifecycle = Lifecycle.LOST_NAME
        cluster.node.notify(NameConflictLost("a", votes=0, voters=2), 0.0)
        await cluster.fire("wake-up")

        async with asyncio.timeout(5):
            assert await a.agent.finished == 1
            await asyncio.shield(cluster.closed)
