"""Our coordinates and those of genuine agents are points of one space, and the commands agree on them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, Config, distance
from gossip.serf.coordinates import ORIGIN
from gossip.wire.address import join_host_port
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import running
from tests.interop.test_cli import both
from tests.interop.test_consul_agent import LAN

if TYPE_CHECKING:
    from simulations.local.http import Response
    from simulations.local.ports import Ports
    from simulations.peers import ConsulAgent, SerfAgent

pytestmark = pytest.mark.interop

LOOPBACK = 0.05  # seconds; a busy machine answers later than an idle one, and still in no time


async def run(*command: str) -> tuple[int, str]:
    """Exit code and output of a genuine command."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def put(server: ConsulAgent, path: str, body: dict[str, Any]) -> Response:
    return await server.call("PUT", path, json.dumps(body).encode())


async def catalogued(server: ConsulAgent) -> bool:
    nodes = (await server.call("GET", "/v1/catalog/nodes")).json()
    return [node["Node"] for node in nodes] == [server.name]


def milliseconds(text: str, first: str, second: str) -> float:
    """The estimate that ``serf rtt`` and ``consul rtt`` print."""
    found = re.search(rf"Estimated {first} <-> {second} rtt: (\d+\.\d{{3}}) ms", text)
    assert found, text
    return float(found[1])


async def test_serf_and_ours_know_each_others_coordinates_and_serf_rtt_works(
    start_serf: Any, ports: Ports
) -> None:
    serf: SerfAgent = await start_serf("go-1")
    config = Config.lan("py-1", bind="127.0.0.1", port=ports.take())
    async with Cluster(config) as ours:
        await ours.join([join_host_port(*serf.gossip)])

        async def known() -> Any:
            answer = await serf.rpc.request("get-coordinate", {"Node": "py-1"})
            return answer["Ok"] and ours.coordinate_of("go-1") and answer["Coord"]

        # Each probes the other once a second, and moves with each answer.
        theirs = await eventually(known, within=10, what="both have probed the other")
        mine = ours.coordinate
        assert mine is not None
        assert mine != ORIGIN
        assert len(theirs["Vec"]) == len(mine.vec)
        held = ours.coordinate_of("go-1")
        assert held is not None
        assert 0 < distance(mine, held) < LOOPBACK

        rtt = (find_peer("serf"), "rtt", f"-rpc-addr={join_host_port(*serf.rpc_address)}")
        for names in (("py-1",), ("py-1", "go-1"), ("go-1", "py-1")):
            code, out = await run(*rtt, *names)
            assert code == 0, out
            assert 0 < milliseconds(out, names[0], (*names, "go-1")[1]) < LOOPBACK * 1000
        stats = ours.stats()
        assert stats["coordinate_resets"] == "0"
        assert "coordinates_refused" not in stats


async def test_serf_takes_members_without_coordinates_and_we_take_its_own(
    start_serf: Any, ports: Ports
) -> None:
    serf: SerfAgent = await start_serf("go-1")
    config = Config.lan("py-1", bind="127.0.0.1", port=ports.take(), coordinates=False)
    async with Cluster(config) as ours:
        await ours.join([join_host_port(*serf.gossip)])
        prober = ours.node.membership.prober
        await eventually(lambda: prober._seq_no >= 2, within=10, what="two probe rounds of ours")

        answer = await serf.rpc.request("get-coordinate", {"Node": "py-1"})

        assert not answer["Ok"]
        assert await serf.alive() == {"go-1", "py-1"}
        assert ours.coordinate is None


async def test_consul_rtt_asks_our_agent_about_a_genuine_server(start_consul: Any) -> None:
    server: ConsulAgent = await start_consul("server")
    await server.elected()
    async with running("ours", pool=LAN) as ours:
        assert (await ours.put(f"/v1/agent/join/{join_host_port(*server.gossip)}")).status == 200
        cluster = ours.agent.cluster
        await eventually(lambda: cluster.coordinate_of("server"), within=10, what="server probed")

        address = f"-http-addr=127.0.0.1:{ours.port}"
        code, out = await run(find_peer("consul"), "rtt", address, "server")

        assert code == 0, out
        assert 0 < milliseconds(out, "server", "ours") < LOOPBACK * 1000
        assert out.endswith("(using LAN coordinates)\n")
        (listed,) = (await ours.get("/v1/coordinate/datacenters")).json
        assert [entry["Node"] for entry in listed["Coordinates"]] == ["server"]

        async def moved() -> bool:
            return any((await server.call("GET", "/v1/agent/self")).json()["Coord"]["Vec"])

        await eventually(moved, within=10, what="our acks move the server's own coordinate")
        # Consul's agents hand their coordinates to a server by RPC, which ours do not speak.
        nodes = (await server.call("GET", "/v1/coordinate/nodes")).json()
        assert "ours" not in {entry["Node"] for entry in nodes}


async def test_both_commands_print_the_same_about_the_same_coordinates(start_consul: Any) -> None:
    server: ConsulAgent = await start_consul("server")
    await server.elected()
    await eventually(lambda: catalogued(server), within=10, what="the server in its catalog")
    first: list[float] = [0.0123456, 0.001, 0, 0, 0, 0, 0, -0.002]
    coord = {"Vec": first, "Error": 0.5, "Adjustment": 0.0001, "Height": 0.0003}
    for name in ("server", "other"):
        node = {"Datacenter": "dc1", "Node": name, "Address": "127.0.0.1"}
        if name == "other":
            await put(server, "/v1/catalog/register", node)
        await put(server, "/v1/coordinate/update", {"Node": name, "Coord": coord})
        coord = coord | {"Vec": first[::-1], "Height": 0.00001, "Adjustment": -0.00035}

    async def listed() -> bool:
        nodes = (await server.call("GET", "/v1/coordinate/nodes")).json()
        return {entry["Node"] for entry in nodes} == {"server", "other"}

    await eventually(listed, within=15, what="the coordinates at the server")
    for argv in (["other"], ["other", "server"], ["-wan", "server.dc1"]):
        ours, theirs = await both(server, "rtt", *argv)
        assert ours == theirs
        assert ours[0] == 0
    for argv in (["other", "none"], ["none"], ["-wan", "none.dc1"]):
        ours, theirs = await both(server, "rtt", *argv)
        assert ours == theirs
        assert ours[0] == 1
    for argv in ([], ["a", "b", "c"], ["-wan", "a"]):
        ours, theirs = await both(server, "rtt", *argv)
        assert (ours[0], theirs[0]) == (1, 1)


async def test_the_same_requests_get_the_same_answers_where_coordinates_are_off(
    start_consul: Any,
) -> None:
    server: ConsulAgent = await start_consul(
        "server", arguments=["-hcl=disable_coordinates = true"]
    )
    async with running("ours", disable_coordinates=True) as ours:
        for path in ("datacenters", "nodes", "nodes?wait=x", "node/server", "node/none"):
            mine = await ours.get(f"/v1/coordinate/{path}")
            theirs = await server.call("GET", f"/v1/coordinate/{path}", check=False)
            assert (mine.status, mine.body) == (theirs.status, theirs.body), path
        assert (await ours.get("/v1/agent/self")).json["Coord"] is None
        assert (await server.call("GET", "/v1/agent/self")).json()["Coord"] is None
