"""Queries between our nodes and genuine Serf agents: asked and answered both ways, and name conflicts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, NameConflictLost, QueryAck, QueryAnswer, QueryReceived
from gossip.wire.address import join_host_port
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gossip import QueryReplies
    from simulations.peers import SerfAgent
    from tests.interop.conftest import StartOurs, StartSerf

pytestmark = pytest.mark.interop

HANDLER = """#!/bin/sh
printf 'go %s %s' "$SERF_SELF_NAME" "$(cat)"
"""


@pytest.fixture
def handler(tmp_path: Path) -> str:
    """A script that answers with the agent's name and the query's payload."""
    script = tmp_path / "who.sh"
    script.write_text(HANDLER)
    script.chmod(stat.S_IRWXU)
    return f"-event-handler=query:who={script}"


class Pool:
    """Two genuine agents with a handler for ``who`` and two nodes of ours."""

    def __init__(self, serf: str, serfs: list[SerfAgent], ours: list[Cluster]) -> None:
        self.serfs = serfs
        self.ours = ours
        self.names = sorted([s.name for s in serfs] + [c.config.name for c in ours])
        self._serf = serf

    async def whole(self) -> bool:
        for serf in self.serfs:
            if await serf.alive() != set(self.names):
                return False
        return all(
            {m.name for m in c.members() if m.status.name == "ALIVE"} == set(self.names)
            for c in self.ours
        )

    async def serf(self, *arguments: str) -> str:
        """The output of ``serf ARGUMENTS`` at the first genuine agent."""
        host, port = self.serfs[0].rpc_address
        command, *rest = arguments
        process = await asyncio.create_subprocess_exec(
            self._serf, command, f"-rpc-addr={host}:{port}", *rest,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        return output.decode()

    async def query(self, *arguments: str) -> dict[str, Any]:
        """What ``serf query`` prints as JSON."""
        found: dict[str, Any] = json.loads(
            await self.serf("query", "-format=json", "-timeout=2s", *arguments)
        )
        return found


@pytest.fixture
async def pool(
    genuine_serf: str, start_serf: StartSerf, start_ours: StartOurs, handler: str
) -> Pool:
    serfs = [
        await start_serf(name, tags={"role": f"genuine-{name}"}, arguments=[handler])
        for name in ("go-1", "go-2")
    ]
    ours = [await start_ours(name, tags={"role": "ours"}) for name in ("py-1", "py-2")]
    for cluster in ours:
        cluster.on_query("who", answering(cluster.config.name))
    await ours[0].join([join_host_port(*serfs[0].gossip)])
    await serfs[1].join([ours[0].local_address])
    await ours[1].join([join_host_port(*serfs[0].gossip)])
    made = Pool(genuine_serf, serfs, ours)
    await eventually(made.whole, within=10, what="everybody sees everybody alive")
    return made


async def read(replies: QueryReplies, count: int) -> tuple[list[str], dict[str, bytes]]:
    """Who acked, and who answered what, in the first so many replies."""
    async with asyncio.timeout(10), replies:
        got = [await anext(replies) for _ in range(count)]
    acks = sorted(reply.node for reply in got if isinstance(reply, QueryAck))
    return acks, {r.node: r.payload for r in got if isinstance(r, QueryAnswer)}


async def sees(serf: SerfAgent, names: list[str]) -> bool:
    return await serf.alive() == set(names)


def answering(name: str) -> Callable[[QueryReceived], bytes]:
    """What the script of the genuine agents does."""
    return lambda query: b"py %s %s" % (name.encode(), query.payload)


def said(name: str, payload: str = "") -> str:
    return f"{name[:2]} {name} {payload}"


async def test_serf_query_hears_our_acks_and_answers(pool: Pool) -> None:
    answer = await pool.query("who", "v2")

    assert sorted(answer["Acks"]) == pool.names
    assert answer["Responses"] == {name: said(name, "v2") for name in pool.names}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["-node=py-2", "-node=go-1"], ["go-1", "py-2"]),
        (["-tag=role=^ours$"], ["py-1", "py-2"]),
        (["-tag=role=genuine-go-[12]", "-node=go-2", "-node=py-1"], ["go-2"]),
        (["-tag=role=(", "-node=py-1"], []),
        (["-tag=none=^$", "-node=py-1"], ["py-1"]),
    ],
)
async def test_serf_querys_filters_mean_the_same_to_us(
    pool: Pool, filters: list[str], expected: list[str]
) -> None:
    answer = await pool.query(*filters, "who", "?")

    assert sorted(answer["Acks"] or []) == expected
    assert sorted(answer["Responses"] or {}) == expected


async def test_serf_query_with_a_relay_factor_hears_each_of_us_once(pool: Pool) -> None:
    answer = await pool.query("-relay-factor=2", "who", "?")

    assert sorted(answer["Acks"]) == pool.names
    assert sorted(answer["Responses"]) == pool.names
    # What others relay comes through us too, and is passed on without a complaint.
    assert all("relays_refused" not in cluster.stats() for cluster in pool.ours)


async def test_serf_query_without_acks_gets_none_of_us(pool: Pool) -> None:
    answer = await pool.query("-no-ack", "who", "?")

    assert not answer["Acks"]
    assert sorted(answer["Responses"]) == pool.names


async def test_serf_reachability_finds_us(pool: Pool) -> None:
    output = await pool.serf("reachability", "-verbose")

    for name in pool.names:
        assert f"Ack received from {name}" in output or f"'{name}'" in output
    assert "Successfully contacted all live nodes" in output


async def test_our_query_is_acked_and_answered_by_everybody(pool: Pool) -> None:
    acks, answers = await read(pool.ours[0].query("who", b"v2", request_ack=True), 8)

    assert acks == pool.names
    assert answers == {name: said(name, "v2").encode() for name in pool.names}


async def test_our_filters_mean_the_same_to_serf(pool: Pool) -> None:
    by_name = pool.ours[0].query("who", nodes=["go-2", "py-2"], request_ack=True, timeout=1.5)
    by_tag = pool.ours[1].query("who", tags={"role": "^genuine"}, request_ack=True, timeout=1.5)

    got = [[reply async for reply in replies] for replies in (by_name, by_tag)]

    assert [sorted({reply.node for reply in replies}) for replies in got] == [
        ["go-2", "py-2"],
        ["go-1", "go-2"],
    ]
    assert [len(replies) for replies in got] == [4, 4]


async def test_our_relay_factor_brings_each_answer_of_serf_more_than_once(pool: Pool) -> None:
    replies = pool.ours[0].query("who", nodes=["go-1", "go-2"], relay_factor=3, timeout=1.5)

    got = [reply async for reply in replies]

    assert sorted(reply.node for reply in got) == ["go-1", "go-2"]
    assert int(pool.ours[0].stats().get("query_duplicate_responses", 0)) > 0


async def test_the_largest_query_reaches_serf(pool: Pool) -> None:
    payload = b"x" * 850

    _, answers = await read(pool.ours[0].query("who", payload, nodes=["go-1"]), 1)

    assert answers == {"go-1": said("go-1", payload.decode()).encode()}


# Names


async def test_r14_a_genuine_agent_keeps_its_name_against_a_pool_that_brings_another(
    pool: Pool, start_ours: StartOurs
) -> None:
    intruder = await start_ours("go-1", push_pull_interval=1.0)
    friend = await start_ours("friend", push_pull_interval=1.0)
    await friend.join([join_host_port(*intruder.local_address)])
    events = intruder.subscribe()

    await friend.join([join_host_port(*pool.ours[0].local_address)])
    async with asyncio.timeout(60):
        await asyncio.shield(intruder.closed)
    seen = [event async for event in events]

    assert any(isinstance(event, NameConflictLost) for event in seen)
    pool.names = sorted([*pool.names, "friend"])
    assert pool.serfs[0].process.running
    await eventually(
        lambda: sees(pool.serfs[0], pool.names), within=10, what="go-1 sees everybody alive"
    )
    assert {m.name: m.port for m in pool.ours[0].members()}["go-1"] == pool.serfs[0].gossip[1]


async def test_r14_a_genuine_agent_that_brings_our_name_loses_the_vote_and_exits(
    pool: Pool, start_serf: StartSerf
) -> None:
    intruder = await start_serf("py-1")
    lonely = await start_serf("lonely")
    await lonely.join([intruder.gossip])

    # Its vote runs as soon as a state that it is sent has the other owner.
    with contextlib.suppress(OSError):
        await intruder.join([pool.serfs[0].gossip])
    status = await intruder.process.wait(30)

    assert status is not None
    assert not pool.ours[0].closed.done()
    member = {m.name: m for m in pool.ours[1].members()}["py-1"]
    assert (member.port, member.status.name) == (pool.ours[0].local_address[1], "ALIVE")
