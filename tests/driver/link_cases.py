"""What holds for members with link-local addresses (R-35); run by test_own_networks.py."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gossip import MemberStatus, UserEvent
from tests.helpers_agent import eventually, running
from tests.helpers_driver import alive, until, until_alive
from tests.helpers_forward import join, join_wan, server
from tests.own_network import LINK_LOCAL

if TYPE_CHECKING:
    from gossip import Cluster
    from tests.driver.conftest import StartNode

FAST: dict[str, Any] = {
    "probe_interval": 0.2,
    "probe_timeout": 0.2,
    "gossip_interval": 0.02,
    "suspicion_mult": 1,
    "leave_propagate_delay": 0.05,
}


@pytest.mark.parametrize("keys", [(), (bytes(range(16)),)], ids=["plain", "encrypted"])
async def test_r35_a_pool_on_one_link_joins_hears_probes_and_leaves(
    start_node: StartNode, keys: tuple[bytes, ...]
) -> None:
    clusters = [
        await start_node(f"n{i}", bind=f"{ip}%lo", keys=keys, **FAST)
        for i, ip in enumerate(LINK_LOCAL)
    ]
    first, second, third = clusters
    port = first.local_address[1]
    await second.join([f"[fe80::1%lo]:{port}"])
    await third.join([f"n0/[fe80::1%1]:{port}"])
    await until_alive(clusters, {"n0", "n1", "n2"})
    for cluster in clusters:
        assert sorted(member.addr for member in cluster.members()) == list(LINK_LOCAL)
    heard = second.subscribe()

    async with asyncio.timeout(20):
        await third.fire("deploy", b"v2")
        while not isinstance(await anext(heard), UserEvent):
            pass
        # A coordinate comes with the ack of a ping by UDP: all have answered all.
        await until(lambda: all(len(cluster.coordinates()) == 3 for cluster in clusters))
        await third.close()
        await until(lambda: alive(first) == alive(second) == {"n0", "n1"})
        await second.leave()
        await until(lambda: _status(first, "n1") is MemberStatus.LEFT)


async def test_r35_a_node_on_all_addresses_joins_by_the_zone_that_is_typed(
    start_node: StartNode,
) -> None:
    one = await start_node("one", bind="fe80::1%lo", **FAST)
    two = await start_node("two", bind="::", advertise="fe80::2", **FAST)

    await two.join([f"[fe80::1%lo]:{one.local_address[1]}"])

    await until_alive([one, two], {"one", "two"})
    async with asyncio.timeout(20):
        await until(lambda: len(one.coordinates()) == len(two.coordinates()) == 2)


async def test_r35_agents_on_one_link_answer_and_forward() -> None:
    def on_link(ip: str) -> dict[str, Any]:
        return {"bind_addr": f"{ip}%lo", "client_addr": f"{ip}%lo"}

    writers: dict[str, Any] = {"http_config": {"allow_write_http_from": ("fe80::/10",)}}
    async with (
        server("one", "dc1", **on_link("fe80::1")) as one,
        server("two", "dc2", **on_link("fe80::2")) as two,
        running("web", **on_link("fe80::3"), **writers) as web,
    ):
        await join_wan(two, one)
        await join(web, one)
        named = {"Host": f"[fe80::3]:{web.port}"}  # no zone: it says nothing to anybody else

        shown = await web.ask("GET", "/v1/agent/self", host="fe80::3%lo", headers=named)
        assert shown.json["Member"]["Addr"] == "fe80::3"
        answer = await web.ask("PUT", "/v1/event/fire/x?dc=dc2", host="fe80::3%lo", headers=named)
        assert (answer.status, answer.text) == (200, answer.text)
        await eventually(two.agent.events.recent)
        code, out = await asyncio.to_thread(_members, f"[fe80::3%25lo]:{web.port}")
        assert (code, out.count("alive")) == (0, 2)


def _members(address: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "agent", "members", f"-http-addr={address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def _status(cluster: Cluster, name: str) -> MemberStatus | None:
    member = cluster.member(name)
    return None if member is None else member.status
