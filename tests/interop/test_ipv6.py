"""Genuine Serf and Consul on IPv6 in one pool with ours (R-35)."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Ports
from gossip import MemberStatus, UserEvent
from gossip.wire.address import join_host_port
from simulations.cluster import LocalCluster
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import FAST, running
from tests.helpers_processes import output_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip import Cluster
    from simulations.cluster import LocalAgent
    from simulations.peers import SerfAgent
    from tests.interop.conftest import StartConsul, StartOurs, StartSerf

pytestmark = pytest.mark.interop

V6 = "::1"
ON_V6: dict[str, Any] = {"bind_addr": V6, "client_addr": V6}
LAN = {key: value for key, value in FAST.items() if key.endswith("delay")}


def sees(cluster: Cluster, name: str, status: MemberStatus) -> Callable[[], bool]:
    def look() -> bool:
        member = {m.name: m for m in cluster.members()}.get(name)
        return member is not None and member.status is status

    return look


async def test_r35_serf_on_ipv6_and_ours_join_each_other_and_hear_each_other(
    start_serf: StartSerf, start_ours: StartOurs
) -> None:
    serf = await start_serf("go", host=V6)
    joiner, joined = await start_ours("py-1", bind=V6), await start_ours("py-2", bind=V6)
    heard = [cluster.subscribe() for cluster in (joiner, joined)]
    await serf.collect_events("user")

    await joiner.join([join_host_port(*serf.gossip)])
    assert await serf.join([joined.local_address]) == 1
    names = {"go", "py-1", "py-2"}
    for cluster in (joiner, joined):
        await eventually(_lists(cluster, names), within=10, what="everybody at ours")
        assert {member.addr for member in cluster.members()} == {V6}
    await eventually(partial(_all_alive, serf, names), within=10, what="everybody at Serf")

    await serf.rpc.fire("from-go", b"v2")
    await joiner.fire("from-py", b"v3")
    for subscription in heard:
        async with asyncio.timeout(10):
            fired: set[str] = set()
            while fired != {"from-go", "from-py"}:
                if isinstance(event := await anext(subscription), UserEvent):
                    fired.add(event.name)
    await eventually(
        lambda: {event["Name"] for event in serf.user_events()} == fired,
        within=10,
        what="both events at Serf",
    )

    await joined.leave()
    await eventually(partial(_status, serf, "py-2", "left"), within=10, what="py-2 left")
    await joined.close()
    await serf.process.kill()
    await eventually(sees(joiner, "go", MemberStatus.FAILED), within=30, what="go failed")


async def test_r35_serf_on_ipv6_sees_ours_fail_and_its_own_leave_is_seen(
    start_serf: StartSerf, start_ours: StartOurs
) -> None:
    serf = await start_serf("go", host=V6, encrypt="AAECAwQFBgcICQoLDA0ODw==")
    stays, dies = [
        await start_ours(name, bind=V6, keys=(bytes(range(16)),)) for name in ("stays", "dies")
    ]
    for cluster in (stays, dies):
        await cluster.join([join_host_port(*serf.gossip)])
    await eventually(partial(_all_alive, serf, {"go", "stays", "dies"}), within=10, what="all")

    await dies.close()
    await eventually(partial(_status, serf, "dies", "failed"), within=30, what="dies failed")
    await serf.leave()

    await eventually(sees(stays, "go", MemberStatus.LEFT), within=10, what="go left")


@pytest.mark.parametrize("host", ["127.0.0.1", V6])
async def test_r35_ours_on_all_addresses_and_serf_of_either_family_join_each_other(
    start_serf: StartSerf, start_ours: StartOurs, host: str
) -> None:
    ours = await start_ours("ours", bind="::", advertise=host)
    serf, other = await start_serf("go-1", host=host), await start_serf("go-2", host=host)

    assert await serf.join([ours.local_address]) == 1
    await ours.join([join_host_port(*other.gossip)])

    names = {"ours", "go-1", "go-2"}
    await eventually(_lists(ours, names), within=10, what="all at ours")
    for peer in (serf, other):
        await eventually(partial(_all_alive, peer, names), within=10, what="all at Serf")
    # A coordinate comes with the ack of a ping by UDP: both have answered.
    await eventually(lambda: len(ours.coordinates()) == 3, within=15, what="acks of both")


async def test_r35_our_agent_on_ipv6_and_serf_join_each_other(start_serf: StartSerf) -> None:
    serf, other = await start_serf("go-1", host=V6), await start_serf("go-2", host=V6)
    await serf.collect_events("user")
    async with running("ours", **ON_V6, pool=LAN) as ours:
        target = f"/v1/agent/join/{join_host_port(*serf.gossip)}"
        assert (await ours.ask("PUT", target, host=V6)).status == 200
        assert await other.join([ours.agent.cluster.local_address]) == 1
        names = {"go-1", "go-2", "ours"}
        for peer in (serf, other):
            await eventually(partial(_all_alive, peer, names), within=10, what="all")

        fired = await ours.ask("PUT", "/v1/event/fire/deploy", body=b"v2", host=V6)
        assert fired.status == 200
        await eventually(serf.user_events, within=10, what="our event at Serf")
        await ours.agent.leave()
        await eventually(partial(_status, serf, "ours", "left"), within=10, what="ours left")


async def test_r35_our_agent_is_a_client_of_consul_on_ipv6(start_consul: StartConsul) -> None:
    server = await start_consul("server", host=V6)
    await server.elected()
    ports = Ports(http=0, serf_lan=0)
    async with running("ours", **ON_V6, pool=LAN, ports=ports) as ours:
        address = join_host_port(*server.gossip)
        joined = await ours.ask("PUT", f"/v1/agent/join/{address}", host=V6)
        assert (joined.status, joined.text) == (200, "")

        async def both() -> bool:
            names = {member.name for member in ours.agent.cluster.members()}
            return names == {"server", "ours"} and await server.alive() == names

        await eventually(both, within=10, what="both see both")

        members = (await ours.ask("GET", "/v1/agent/members", host=V6)).json
        assert sorted(members, key=lambda m: str(m["Name"])) == await server.member_table()
        for path in ("/v1/status/leader", "/v1/status/peers"):
            answer = await ours.ask("GET", path, host=V6)
            assert answer.json == (await server.call("GET", path)).json()
            assert "[::1]:" in answer.text

        await server.fire("from-consul", b"v2")
        await eventually(ours.agent.events.recent, within=10, what="Consul's event")
        await ours.agent.leave()

        async def left() -> bool:
            return (await server.members())["ours"] == 3

        await eventually(left, within=10, what="ours left at Consul")


async def test_r35_the_command_lines_show_members_on_ipv6_alike(start_consul: StartConsul) -> None:
    server = await start_consul("server", host=V6)
    async with LocalCluster(1, host=V6, prefix="ours") as cluster:
        (ours,) = cluster.agents
        await ours.join([server.gossip])

        async def both() -> bool:
            return len(await ours.alive()) == len(await server.alive()) == 2

        await eventually(both, within=10, what="both see both")

        shown = {
            await _members(program, agent)
            for program in ([find_peer("consul")], [sys.executable, "-m", "agent"])
            for agent in (server, ours)
        }
        assert len(shown) == 1
        for agent in (server, ours):
            assert f"  {join_host_port(*agent.gossip)}  alive  " in "".join(shown)


async def _members(program: list[str], agent: LocalAgent) -> str:
    """What a command line prints of an agent's members."""
    process = await asyncio.create_subprocess_exec(
        *program,
        "members",
        env=os.environ | {"CONSUL_HTTP_ADDR": join_host_port(*agent.http)},
        stdout=asyncio.subprocess.PIPE,
    )
    out = await output_of(process)
    assert process.returncode == 0
    return "\n".join(line.rstrip() for line in out.splitlines())


def _lists(cluster: Cluster, names: set[str]) -> Callable[[], bool]:
    return lambda: {member.name for member in cluster.members()} == names


async def _status(serf: SerfAgent, name: str, status: str) -> bool:
    return (await serf.members()).get(name) == status


async def _all_alive(serf: SerfAgent, names: set[str]) -> bool:
    return await serf.alive() == names
