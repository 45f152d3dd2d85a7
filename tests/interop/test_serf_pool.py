"""Our nodes and genuine Serf agents in one pool: what either side does, the other sees."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from gossip import MemberFailed, MemberLeft, MemberStatus, UserEvent
from gossip.wire.address import join_host_port
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from gossip import Cluster
    from simulations.peers import SerfAgent
    from tests.interop.conftest import StartOurs

pytestmark = pytest.mark.interop

KEYS = {"plain": b"", "aes-256": bytes(range(32)), "aes-128": bytes(range(16))}
WATCHED = 31.0  # seconds: more than a push/pull interval and several probe rounds


class MixedPool:
    """Two genuine agents and two nodes of ours, joined in both directions."""

    def __init__(self, serfs: list[SerfAgent], ours: list[Cluster]) -> None:
        self.serfs = serfs
        self.ours = ours
        self.names = {serf.name for serf in serfs} | {c.config.name for c in ours}

    async def all_see(self, name: str, status: str) -> bool:
        for serf in self.serfs:
            if name != serf.name and (await serf.members()).get(name) != status:
                return False
        return all(
            status_of(cluster, name) == status
            for cluster in self.ours
            if cluster.config.name != name
        )

    async def everybody_alive(self) -> bool:
        return all([await self.all_see(name, "alive") for name in self.names])

    def joins_have_settled(self) -> bool:
        """An intent that crosses a join intent of the same Lamport time would be a tie."""
        joined = {"py-1", "go-2"}  # the others were joined
        return all(
            member.status_ltime > 0
            for cluster in self.ours
            for member in cluster.node.members
            if member.info.name in joined
        )


StartPool = Callable[..., Awaitable[MixedPool]]


def status_of(cluster: Cluster, name: str) -> str | None:
    for member in cluster.members():
        if member.name == name:
            return member.status.name.lower()
    return None


@pytest.fixture
async def start_pool(start_serf: Any, start_ours: StartOurs) -> StartPool:
    async def start(key: bytes = b"", **settings: Any) -> MixedPool:
        encrypt = base64.b64encode(key).decode()
        keys = (key,) if key else ()
        serfs = [
            await start_serf(name, encrypt=encrypt, tags={"role": "genuine"})
            for name in ("go-1", "go-2")
        ]
        ours = [
            await start_ours(name, keys=keys, tags={"role": "ours", "näme": "wért"}, **settings)
            for name in ("py-1", "py-2")
        ]
        await ours[0].join([join_host_port(*serfs[0].gossip)])  # we join them
        await serfs[1].join([ours[1].local_address])  # they join us
        await serfs[1].join([serfs[0].gossip])
        pool = MixedPool(serfs, ours)
        await eventually(pool.everybody_alive, within=10, what="everybody sees everybody alive")
        await eventually(pool.joins_have_settled, within=10, what="all join intents at our nodes")
        return pool

    return start


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
async def test_members_stay_alive_on_both_sides_and_events_and_tags_travel_both_ways(
    start_pool: StartPool, key: bytes
) -> None:
    pool = await start_pool(key)
    for serf in pool.serfs:
        await serf.collect_events("user")
    subscriptions = [cluster.subscribe() for cluster in pool.ours]

    await pool.serfs[0].rpc.fire("from-go", b"\x00payload\xff")
    await pool.ours[0].fire("from-py", b"\x00payload\xff")
    await pool.ours[1].fire("empty")
    start = time.monotonic()
    while time.monotonic() - start < WATCHED:
        assert await pool.everybody_alive()
        await asyncio.sleep(0.5)

    for serf in pool.serfs:
        got = {event["Name"]: event["Payload"] or b"" for event in serf.user_events()}
        assert got == {"from-go": b"\x00payload\xff", "from-py": b"\x00payload\xff", "empty": b""}
        tags = {member["Name"]: member["Tags"] for member in await serf.rpc.members()}
        assert tags["py-1"] == {"role": "ours", "näme": "wért"}
    for cluster, subscription in zip(pool.ours, subscriptions, strict=True):
        subscription.close()
        events = [event async for event in subscription]
        assert not [e for e in events if isinstance(e, MemberFailed | MemberLeft)]
        fired = {e.name: e.payload for e in events if isinstance(e, UserEvent)}
        assert fired == {"from-go": b"\x00payload\xff", "from-py": b"\x00payload\xff", "empty": b""}
        assert {m.name: m.tags for m in cluster.members()}["go-1"] == {"role": "genuine"}


async def test_graceful_leaves_are_left_on_the_other_side(start_pool: StartPool) -> None:
    pool = await start_pool()
    for serf in pool.serfs:
        await serf.collect_events("member-failed")

    await pool.ours[1].leave()
    await pool.ours.pop().close()
    await eventually(lambda: pool.all_see("py-2", "left"), within=5, what="py-2 left")
    subscription = pool.ours[0].subscribe()
    await pool.serfs[1].leave()
    pool.serfs.pop()

    await eventually(lambda: pool.all_see("go-2", "left"), within=5, what="go-2 left")
    subscription.close()
    assert not [e async for e in subscription if isinstance(e, MemberFailed)]
    assert pool.serfs[0].events == [], "no failure is announced on the way to left"


async def test_a_killed_member_fails_and_a_restarted_one_is_alive_with_its_new_tags(
    start_pool: StartPool, start_ours: StartOurs
) -> None:
    pool = await start_pool()
    port = pool.ours[1].config.port
    await pool.ours[1].close()
    await pool.serfs[1].process.kill()
    dead, serf = pool.ours.pop(), pool.serfs.pop()
    await eventually(lambda: pool.all_see("py-2", "failed"), within=30, what="py-2 failed")
    await eventually(lambda: pool.all_see("go-2", "failed"), within=30, what="go-2 failed")

    again = await start_ours("py-2", port=port, tags={"role": "reborn"})
    await again.join([join_host_port(*pool.serfs[0].gossip)])
    await serf.start()
    await serf.join([pool.ours[0].local_address])
    assert dead is not again

    await eventually(lambda: pool.all_see("py-2", "alive"), within=10, what="py-2 alive again")
    await eventually(lambda: pool.all_see("go-2", "alive"), within=10, what="go-2 alive again")
    tags = {member["Name"]: member["Tags"] for member in await pool.serfs[0].rpc.members()}
    assert tags["py-2"] == {"role": "reborn"}


async def test_force_leave_works_from_either_side_and_a_live_member_refutes_it(
    start_pool: StartPool,
) -> None:
    pool = await start_pool()
    await pool.ours[0].force_leave("go-2")
    await pool.serfs[0].rpc.force_leave("py-2")
    await eventually(lambda: pool.all_see("go-2", "alive"), within=5, what="go-2 refutes")
    await eventually(lambda: pool.all_see("py-2", "alive"), within=5, what="py-2 refutes")
    await pool.ours[1].close()
    await pool.serfs[1].process.kill()
    pool.ours.pop()
    pool.serfs.pop()
    await eventually(lambda: pool.all_see("py-2", "failed"), within=30, what="py-2 failed")
    await eventually(lambda: pool.all_see("go-2", "failed"), within=30, what="go-2 failed")

    await pool.serfs[0].rpc.force_leave("py-2")
    assert await pool.ours[0].force_leave("go-2") is MemberStatus.LEFT

    await eventually(lambda: pool.all_see("py-2", "left"), within=5, what="py-2 left")
    await eventually(lambda: pool.all_see("go-2", "left"), within=5, what="go-2 left")

    await pool.ours[0].force_leave("go-2", prune=True)

    async def forgotten() -> bool:
        return "go-2" not in await pool.serfs[0].members()

    await eventually(forgotten, within=5, what="the genuine agent forgot go-2")
    assert status_of(pool.ours[0], "go-2") is None


async def test_a_name_conflict_does_not_shut_the_genuine_agent_down(
    start_pool: StartPool, start_ours: StartOurs
) -> None:
    # Without our answers to its vote the agent would conclude that it lost, and exit.
    pool = await start_pool()
    intruder = await start_ours("go-1", tags={"role": "intruder"})

    with contextlib.suppress(Exception):
        await intruder.join([join_host_port(*pool.ours[0].local_address)])
    await intruder.close()

    assert await pool.everybody_alive()
    assert pool.serfs[0].process.running


async def test_a_changed_tag_is_an_update_on_the_other_side(start_pool: StartPool) -> None:
    pool = await start_pool()

    await pool.ours[0].set_tags({"role": "changed"})

    async def seen() -> bool:
        members = await pool.serfs[1].rpc.members()
        return any(m["Name"] == "py-1" and m["Tags"] == {"role": "changed"} for m in members)

    await eventually(seen, within=5, what="the new tag at go-2")


async def test_serf_commands_for_queries_reach_us(start_pool: StartPool) -> None:
    pool = await start_pool()
    answers: list[Any] = []

    await pool.serfs[0].rpc.subscribe(
        "query",
        {"Name": "_serf_ping", "RequestAck": True, "Timeout": 2_000_000_000, "Payload": b""},
        answers.append,
    )

    def acked() -> bool:
        return {a["From"] for a in answers if a["Type"] == "ack"} == pool.names

    await eventually(acked, within=5, what="acks of everybody")
