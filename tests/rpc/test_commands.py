"""The commands of Serf's RPC that have one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gossip import UserEvent
from simulations.peers import RpcError
from tests.helpers_agent import eventually
from tests.wire_helpers import vectors

if TYPE_CHECKING:
    from tests.rpc.conftest import RpcAgent, StartAgent

RECORDED = {v["name"]: bytes.fromhex(v["hex"]) for v in vectors("ipc")}


async def test_members_are_serfs_records(one: RpcAgent) -> None:
    async with one.client() as client:
        (member,) = await client.members()

    assert list(member) == sorted(member)
    assert member | {"Tags": {}} == {
        "Addr": b"\x7f\0\0\1",
        "DelegateCur": 4,
        "DelegateMax": 5,
        "DelegateMin": 2,
        "Name": "one",
        "Port": one.agent.cluster.local_address[1],
        "ProtocolCur": 2,
        "ProtocolMax": 5,
        "ProtocolMin": 1,
        "Status": "alive",
        "Tags": {},
    }
    assert member["Tags"] == one.agent.cluster.local_member().tags


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, True),
        ({"Status": "alive", "Name": "", "Tags": {}}, True),
        ({"Status": "aliv"}, False),
        ({"Status": "alive|left"}, True),
        ({"Status": "(left|alive)"}, True),
        ({"Status": "failed"}, False),
        ({"Name": "on."}, True),
        ({"Name": "n"}, False),
        ({"Tags": {"dc": "dc[0-9]"}}, True),
        ({"Tags": {"dc": "dc2"}}, False),
        ({"Tags": {"absent": ""}}, True),
        ({"Tags": {"absent": ".+"}}, False),
        ({"Tags": {"dc": "dc1", "role": "x"}}, False),
    ],
)
async def test_filters_match_whole_values(one: RpcAgent, body: dict[str, Any], found: bool) -> None:
    async with one.client() as client:
        answer = await client.request("members-filtered", body)

    assert [member["Name"] for member in answer["Members"]] == (["one"] if found else [])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"Tags": {"a": "("}}, "Failed to compile regex: error parsing regexp: missing "),
        ({"Status": "("}, "Failed to compile status regex: error parsing regexp: missing "),
        ({"Name": "["}, "Failed to compile name regex: error parsing regexp: missing "),
        ({"Name": "x" * 600}, "Failed to compile name regex: 602 bytes exceed the limit of 512"),
    ],
)
async def test_a_filter_that_does_not_compile_is_an_error_and_no_end(
    one: RpcAgent, body: dict[str, Any], error: str
) -> None:
    async with one.client() as client:
        with pytest.raises(RpcError) as caught:
            await client.request("members-filtered", body)
        assert str(caught.value).startswith(error)
        assert await client.members()


async def test_join_counts_the_nodes_reached(one: RpcAgent, start_agent: StartAgent) -> None:
    two = await start_agent("two")
    async with one.client() as client:
        assert await client.join([two.gossip, "127.0.0.1:1"]) == 1
    await eventually(lambda: len(two.agent.cluster.members()) == 2)


async def test_a_join_in_vain_has_a_count_and_a_line_per_address(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(
        ("handshake", 0, {"Version": 1}),
        RECORDED["ipc_join_request"],
        ("join", 9, {}),
    )

    values = await raw.values(5)
    assert values[1]["Error"].startswith("1 error occurred:\n\t* Failed to join 127.0.0.1:1: ")
    assert values[2] == {"Num": 0}
    assert values[3]["Error"] == "there is no address to join"
    assert values[4] == {"Num": 0}


@pytest.mark.parametrize("replay", [False, True])
async def test_a_join_replays_older_events_only_when_asked(
    one: RpcAgent, start_agent: StartAgent, replay: bool
) -> None:
    two = await start_agent("two")
    await two.agent.cluster.fire("older", b"1")
    events = one.agent.cluster.subscribe()
    async with one.client() as client:
        await client.join([two.gossip], replay=replay)
    await two.agent.cluster.fire("newer", b"2")
    names = []
    async for event in events:
        if isinstance(event, UserEvent):
            names.append(event.name)
            if event.name == "newer":
                break

    assert names == (["older", "newer"] if replay else ["newer"])


async def test_an_event_is_serfs_own_and_not_listed_by_consul(one: RpcAgent) -> None:
    events = one.agent.cluster.subscribe()
    async with one.client() as client:
        await client.fire("deploy", b"v1", coalesce=True)

    assert await anext(events) == UserEvent(1, "deploy", b"v1", True)
    assert (await one.test_agent.get("/v1/event/list")).json == []


async def test_an_event_that_is_too_large_is_refused(one: RpcAgent) -> None:
    async with one.client() as client:
        with pytest.raises(RpcError, match="512"):
            await client.fire("x", bytes(600))


async def test_force_leave_buries_a_failed_member_and_forgets_it_when_pruned(
    one: RpcAgent, start_agent: StartAgent
) -> None:
    two = await start_agent("two")
    async with one.client() as client:
        await client.join([two.gossip])
        await two.agent.stop()

        async def status() -> str:
            found: dict[str, str] = {m["Name"]: m["Status"] for m in await client.members()}
            return found.get("two", "forgotten")

        await eventually(lambda: _is(status, "failed"))
        await client.force_leave("two")
        assert await status() == "left"
        await client.force_leave("two", prune=True)
        assert await status() == "forgotten"
        await client.force_leave("two")  # unknown to all: no error in Serf


async def _is(status: Any, wanted: str) -> bool:
    return bool(await status() == wanted)


async def test_tags_are_set_and_deleted(one: RpcAgent) -> None:
    own = dict(one.agent.cluster.local_member().tags)
    async with one.client() as client:
        await client.tags({"rack": "7", "old": "1"})
        await client.tags({"rack": "8"}, delete=["old", "never-there"])

    await eventually(lambda: one.agent.cluster.local_member().tags == own | {"rack": "8"})


@pytest.mark.parametrize(
    ("tags", "delete", "error"),
    [
        ({"dc": "dc2"}, [], "tag 'dc' belongs to the agent and cannot be changed"),
        ({}, ["role"], "tag 'role' belongs to the agent and cannot be changed"),
        ({"long": "x" * 600}, [], "exceed the limit of 512"),
    ],
)
async def test_tags_that_cannot_be_changed_change_nothing(
    one: RpcAgent, tags: dict[str, str], delete: list[str], error: str
) -> None:
    own = dict(one.agent.cluster.local_member().tags)
    async with one.client() as client:
        with pytest.raises(RpcError, match=error):
            await client.tags(tags | {"rack": "7"}, delete=delete)

    assert one.agent.cluster.local_member().tags == own


async def test_stats_are_sections_of_texts(one: RpcAgent) -> None:
    async with one.client() as client:
        stats = await client.stats()

    assert set(stats) == {"agent", "event_handlers", "runtime", "serf", "tags"}
    assert stats["agent"] == {"name": "one"}
    assert stats["serf"]["members"] == "1"
    assert stats["tags"] == one.agent.cluster.local_member().tags
    assert all(isinstance(v, str) for section in stats.values() for v in section.values())


async def test_a_fresh_coordinate_is_serfs_byte_for_byte(one: RpcAgent) -> None:
    raw = await one.raw()
    request = RECORDED["ipc_get-coordinate_request"].replace(b"srv", b"one")
    raw.send(RECORDED["ipc_handshake_request"], request)
    expected = RECORDED["ipc_handshake_response"] + RECORDED["ipc_get-coordinate_response"]

    assert await raw.exactly(len(expected)) == expected


async def test_an_unknown_members_coordinate_is_none(one: RpcAgent) -> None:
    async with one.client() as client:
        answer = await client.request("get-coordinate", {"Node": "nobody"})

    assert answer["Ok"] is False


async def test_a_bug_in_a_command_is_an_error_and_a_line_of_log(
    one: RpcAgent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    async with one.client() as client:
        monkeypatch.setattr(one.agent.cluster, "members", broken)
        with pytest.raises(RpcError, match="Internal error"):
            await client.members()
        monkeypatch.undo()
        assert await client.members()
    assert "a bug" in caplog.text
