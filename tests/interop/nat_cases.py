"""Genuine Serf and ours where a NAT renumbers every source port (R-08); run by test_nat.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gossip import MemberStatus, UserEvent
from gossip.wire.address import join_host_port
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from tests.interop.conftest import StartOurs, StartSerf

pytestmark = pytest.mark.interop


async def test_r08_a_pool_with_genuine_serf_converges_and_stays(
    start_serf: StartSerf, start_ours: StartOurs
) -> None:
    serf, other = await start_serf("go-1"), await start_serf("go-2")
    ours = await start_ours("ours")
    await serf.collect_events("user")
    heard = ours.subscribe()
    names = {"go-1", "go-2", "ours"}

    await ours.join([join_host_port(*serf.gossip)])
    assert await other.join([ours.local_address]) == 1

    async def all_alive() -> bool:
        alive = {m.name for m in ours.members() if m.status is MemberStatus.ALIVE}
        return alive == await serf.alive() == await other.alive() == names

    await eventually(all_alive, within=10, what="everybody sees everybody alive")
    # A coordinate comes with the ack of a ping by UDP: both have answered us.
    await eventually(lambda: len(ours.coordinates()) == 3, within=20, what="acks of both")
    await other.rpc.fire("from-go", b"v2")
    await ours.fire("from-py", b"v3")
    await eventually(
        lambda: {event["Name"] for event in serf.user_events()} == {"from-go", "from-py"},
        within=10,
        what="both events at Serf",
    )
    assert await all_alive()
    await ours.leave()

    async def left() -> bool:
        return (await serf.members())["ours"] == (await other.members())["ours"] == "left"

    await eventually(left, within=10, what="ours left")
    heard.close()
    assert {e.name async for e in heard if isinstance(e, UserEvent)} == {"from-go", "from-py"}
