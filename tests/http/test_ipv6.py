"""Agents on IPv6, and on both families at once: who is answered, and what is shown (R-35)."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Addresses, Ports
from agent.rpc.server import RpcServer
from agent.run import banner
from gossip.errors import ConfigError
from gossip.wire.address import join_host_port
from simulations.local.ports import Ports as LeasedPorts
from simulations.peers import SerfRpc
from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import join, join_wan, server

if TYPE_CHECKING:
    from pathlib import Path

V4, V6 = "127.0.0.1", "::1"
ON_V6: dict[str, Any] = {"bind_addr": V6, "client_addr": V6}
SELF = "/v1/agent/self"


async def is_refused(port: int, host: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


# HTTP


@pytest.mark.parametrize("host", [V4, V6])
async def test_http_on_all_addresses_answers_both_families(host: str) -> None:
    async with running(client_addr="::") as agent:
        assert (await agent.ask("GET", SELF, host=host)).status == 200
        assert agent.http.addresses == [("::", agent.port)]


@pytest.mark.parametrize(("bind", "other"), [(V6, V4), (V4, V6), ("0.0.0.0", V6)])
async def test_http_on_one_address_answers_nothing_else(bind: str, other: str) -> None:
    async with running(client_addr=bind) as agent:
        own = bind if bind != "0.0.0.0" else V4
        assert (await agent.ask("GET", SELF, host=own)).status == 200
        assert await is_refused(agent.port, other)


@pytest.mark.parametrize("binds", ["0.0.0.0 ::", "127.0.0.1 ::", ":: 127.0.0.1", "127.0.0.1 ::1"])
async def test_http_on_addresses_of_both_families_shares_one_port(binds: str) -> None:
    with LeasedPorts() as leased:
        ports = Ports(http=leased.take(), serf_lan=0)
        async with running(client_addr=binds, ports=ports) as agent:
            for host in (V4, V6):
                assert (await agent.ask("GET", SELF, host=host)).status == 200


async def test_an_address_that_cannot_be_bound_is_named() -> None:
    with socket.create_server((V6, 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"\[::1\]:{port}: Address already in use"):
            async with running(client_addr=V6, ports=Ports(http=port, serf_lan=0)):
                pass


@pytest.mark.parametrize("interface", ["nowhere", "99999"])
async def test_an_interface_that_is_not_there_is_named(interface: str) -> None:
    with pytest.raises((OSError, ConfigError), match=rf"\[fe80::1%{interface}\]:\d+: "):
        async with running(bind_addr=f"fe80::1%{interface}"):
            pass


# The guard


@pytest.mark.parametrize(
    ("host", "header", "status"),
    [
        (V4, "127.0.0.1:{}", 200),
        (V4, "[::ffff:127.0.0.1]:{}", 200),
        (V4, "[::1]:{}", 200),
        (V6, "[::1]:{}", 200),
        (V6, "[0:0:0:0:0:0:0:1]:{}", 200),
        (V6, "[::1]", 200),
        (V6, "localhost:{}", 200),
        (V6, "::1", 421),
        (V6, "[::2]:{}", 421),
        (V6, "[2001:db8::1]:{}", 421),
        (V4, "[::ffff:10.0.0.1]:{}", 421),
        (V6, "evil.example:{}", 421),
    ],
)
async def test_h10_the_names_of_an_agent_on_all_addresses(
    host: str, header: str, status: int
) -> None:
    async with running(client_addr="::") as agent:
        named = {"Host": header.format(agent.port)}
        assert (await agent.ask("GET", SELF, host=host, headers=named)).status == status


@pytest.mark.parametrize("host", [V4, V6])
async def test_loopback_of_either_family_may_change_state_on_all_addresses(host: str) -> None:
    async with running(client_addr="::") as agent:
        assert (await agent.ask("PUT", "/v1/event/fire/x", host=host)).status == 200
        origin = {"Origin": f"http://{join_host_port(host, agent.port)}"}
        fired = await agent.ask("PUT", "/v1/event/fire/x", host=host, headers=origin)
        assert fired.status == 200
        foreign = await agent.ask(
            "PUT", "/v1/event/fire/x", host=host, headers={"Origin": "http://[::2]:80"}
        )
        assert foreign.status == 403


@pytest.mark.parametrize("host", [V4, V6])
async def test_connections_are_counted_by_the_client_behind_a_mapped_address(host: str) -> None:
    async with running(client_addr="::", config_limits={"http_max_conns_per_client": 1}) as agent:
        _, writer = await asyncio.open_connection(host, agent.port)
        try:
            writer.write(b"GET /v1/agent/self")
            await eventually(lambda: len(agent.http.gate) == 1)
            assert (await agent.ask("GET", SELF, host=host)).status == 429
            other = V6 if host == V4 else V4
            assert (await agent.ask("GET", SELF, host=other)).status == 200
        finally:
            writer.close()


async def test_a_client_of_ipv4_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agent.http")
    async with running(client_addr="::") as agent:
        await agent.ask("GET", SELF)
    assert any(" from=127.0.0.1 " in record.getMessage() for record in caplog.records)


# What is shown


async def test_an_agent_on_ipv6_is_shown_as_consul_shows_it() -> None:
    ports = Ports(http=0, serf_lan=0, server=0)
    async with (
        running("one", **ON_V6, server=True, bootstrap=True, ports=ports) as one,
        running("two", **ON_V6) as two,
    ):
        joined = await two.ask("PUT", f"/v1/agent/join/{one.gossip}", host=V6)
        assert (joined.status, one.gossip) == (200, f"[::1]:{one.agent.cluster.local_address[1]}")
        await eventually(lambda: len(one.agent.cluster.members()) == 2)

        for agent in (one, two):
            shown = (await agent.ask("GET", SELF, host=V6)).json
            assert (shown["Member"]["Addr"], shown["Config"]["BindAddr"]) == (V6, V6)
            assert (shown["Config"]["AdvertiseAddr"], shown["Config"]["ClientAddr"]) == (V6, V6)
            members = (await agent.ask("GET", "/v1/agent/members", host=V6)).json
            assert {member["Addr"] for member in members} == {V6}
            leader = f"[::1]:{one.server_port}"
            assert (await agent.ask("GET", "/v1/status/leader", host=V6)).json == leader
            assert (await agent.ask("GET", "/v1/status/peers", host=V6)).json == [leader]
        stats = (await one.ask("GET", SELF, host=V6)).json["Stats"]["consul"]
        assert (stats["leader"], stats["leader_addr"]) == ("true", leader)
        assert any("Cluster Addr: ::1 (LAN: " in line for line in banner(one.agent, []))


@pytest.mark.parametrize(
    "spelling", ["[::1]:{}", "[0:0::1]:{}", "name/[::1]:{}", "[::1%25lo]:{}", "%5B::1%5D:{}"]
)
async def test_r35_the_address_to_join_is_understood_in_every_spelling(spelling: str) -> None:
    async with running("one", **ON_V6) as one, running("two", **ON_V6) as two:
        target = f"/v1/agent/join/{spelling.format(one.agent.cluster.local_address[1])}"
        assert (await two.ask("PUT", target, host=V6)).status == 200


@pytest.mark.parametrize("spelling", ["::1", "[::1]", "::ffff:127.0.0.1", "127.0.0.1"])
async def test_r35_an_address_to_join_without_a_port_has_that_of_the_pool(spelling: str) -> None:
    bind = "127.0.0.1" if "127" in spelling else V6
    async with running("one", bind_addr=bind) as one:  # reaching oneself is a join too
        assert (await one.put(f"/v1/agent/join/{spelling}")).status == 200


@pytest.mark.parametrize("spelling", ["[::1", "[::1]x", "::g", "[::1]:0", "fe80::1%25"])
async def test_r35_a_wrong_address_to_join_is_named(one: TestAgent, spelling: str) -> None:
    answer = await one.put(f"/v1/agent/join/{spelling}")
    typed = spelling.replace("%25", "%")
    assert answer.status == 500
    assert f"Failed to resolve {typed}: address {typed!r}: " in answer.text


# Pools of both families, and what travels besides


async def test_an_agent_on_all_addresses_is_joined_from_both_families() -> None:
    async with (
        running("both", bind_addr="::", advertise_addr=V6) as both,
        running("v6", bind_addr=V6) as v6,
        running("v4", bind_addr=V4) as v4,
    ):
        port = both.agent.cluster.local_address[1]
        assert (await v6.put(f"/v1/agent/join/[::1]:{port}")).status == 200
        assert (await v4.put(f"/v1/agent/join/127.0.0.1:{port}")).status == 200
        names = {"both", "v6", "v4"}
        for agent in (both, v6, v4):
            await eventually(
                lambda agent=agent: {m.name for m in agent.agent.cluster.members()} == names
            )


async def test_requests_travel_between_servers_on_ipv6() -> None:
    async with (
        server("one", "dc1", **ON_V6) as one,
        server("two", "dc2", **ON_V6) as two,
        running("web-1", **ON_V6) as web,
    ):
        await join_wan(two, one)
        await join(web, one)
        answer = await web.ask("PUT", "/v1/event/fire/deploy?dc=dc2", host=V6)
        assert answer.status == 200
        await eventually(two.agent.events.recent)


@pytest.mark.parametrize("host", [V4, V6])
async def test_serfs_rpc_on_all_addresses_answers_both_families(host: str) -> None:
    async with running(rpc_addr="[::]:0", rpc_auth="s3cret") as agent:
        rpc = RpcServer(agent.agent)
        await rpc.start()
        try:
            assert rpc.address.startswith("[::]:")
            port = int(rpc.address.rpartition(":")[2])
            async with SerfRpc((host, port), auth_key="s3cret") as client:
                assert [member["Name"] for member in await client.members()] == ["one"]
        finally:
            await rpc.close()


async def test_addresses_http_wins_over_client_addr_on_ipv6_too(tmp_path: Path) -> None:
    places = Addresses(http=f"{V6} unix://{tmp_path / 'http'}")
    async with running(client_addr=V4, addresses=places) as agent:
        assert (await agent.ask("GET", SELF, host=V6)).status == 200
        assert await is_refused(agent.port, V4)
