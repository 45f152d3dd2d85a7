"""Our servers and genuine Consul servers in one WAN pool, and what neither lets in."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from agent.servers import FORWARD_TAG
from simulations.cluster.agent import ALIVE, FAILED, LEFT
from simulations.local.http import HttpError
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import WAN, TestAgent, running
from tests.interop.test_cli import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from simulations.peers import ConsulAgent

pytestmark = pytest.mark.interop

# The WAN pool of a genuine agent takes half a minute to call somebody failed.
HURRY = (
    '-hcl=gossip_wan { probe_interval = "300ms", probe_timeout = "150ms", suspicion_mult = 2,'
    ' gossip_interval = "50ms" }'
)
OURS_ALIVE = {"server.dc1": ALIVE, "ours.dc2": ALIVE}


@pytest.fixture
async def genuine(start_consul: Any) -> ConsulAgent:
    """A genuine server of dc1."""
    agent: ConsulAgent = await start_consul("server", arguments=[HURRY])
    return agent


@contextlib.asynccontextmanager
async def ours(name: str = "ours", dc: str = "dc2", **settings: Any) -> AsyncIterator[TestAgent]:
    """A server of ours."""
    async with running(name, datacenter=dc, **(WAN | settings)) as agent:
        yield agent


def address(agent: ConsulAgent, *, wan: bool = False) -> str:
    host, port = (agent.wan or ("", 0)) if wan else agent.gossip
    return f"{host}:{port}"


async def members(agent: TestAgent | ConsulAgent, query: str = "") -> list[dict[str, Any]]:
    """The members that an agent shows, by name."""
    path = f"/v1/agent/members{query}"
    shown: list[dict[str, Any]] = (
        (await agent.get(path)).json
        if isinstance(agent, TestAgent)
        else (await agent.call("GET", path)).json()
    )
    return sorted(shown, key=lambda member: str(member["Name"]))


async def statuses(agent: TestAgent | ConsulAgent, query: str = "") -> dict[str, int]:
    return {member["Name"]: member["Status"] for member in await members(agent, query)}


async def seen(
    agent: TestAgent | ConsulAgent, expected: dict[str, int], query: str = "?wan=1"
) -> None:
    """Wait until an agent shows these members."""
    last: dict[str, int] = {}

    async def shown() -> bool:
        nonlocal last
        last = await statuses(agent, query)
        return last == expected

    await eventually(shown, within=20, what=lambda: f"{expected}, and not {last}")


async def consul_joins(agent: ConsulAgent, target: str, *, wan: bool) -> str:
    """Have a genuine agent join; gives the error, empty if it worked."""
    try:
        await agent.call("PUT", f"/v1/agent/join/{target}{'?wan=1' if wan else ''}")
    except HttpError as error:
        return str(error)
    return ""


async def we_join(agent: TestAgent, target: str, *, wan: bool) -> str:
    answer = await agent.put(f"/v1/agent/join/{target}{'?wan=1' if wan else ''}")
    return answer.text if answer.status != 200 else ""


@pytest.mark.parametrize("we_start", [True, False])
async def test_servers_of_two_datacenters_join_whoever_begins(
    genuine: ConsulAgent, we_start: bool
) -> None:
    async with ours() as agent:
        if we_start:
            assert await we_join(agent, address(genuine, wan=True), wan=True) == ""
        else:
            assert await consul_joins(genuine, agent.wan_gossip, wan=True) == ""
        await seen(agent, OURS_ALIVE)
        await seen(genuine, OURS_ALIVE)
        assert await members(agent, "?wan=1") == await members(genuine, "?wan=1")
        assert await statuses(agent) == {"ours": ALIVE}
        assert await statuses(genuine) == {"server": ALIVE}
        known = (await genuine.call("GET", "/v1/catalog/datacenters")).json()
        assert sorted((await agent.get("/v1/catalog/datacenters")).json) == sorted(known)

        code, out, _ = await run([find_peer("consul")], genuine, "members", "-wan")
        rows = [line.split() for line in out.splitlines()[1:]]
        assert code == 0
        assert [(row[0], row[2], row[3], row[6]) for row in rows] == [
            ("ours.dc2", "alive", "server", "dc2"),
            ("server.dc1", "alive", "server", "dc1"),
        ]


async def test_our_tags_in_the_wan_pool_have_the_keys_of_consuls(genuine: ConsulAgent) -> None:
    async with ours("ours", "dc1", bootstrap=True) as agent:
        (theirs,), (mine,) = await members(genuine, "?wan=1"), await members(agent, "?wan=1")
    own = {"id", "build", "port", FORWARD_TAG}
    assert mine["Tags"].keys() == theirs["Tags"].keys() | {FORWARD_TAG}
    assert {k: v for k, v in mine["Tags"].items() if k not in own} == {
        k: v for k, v in theirs["Tags"].items() if k not in own
    }
    assert theirs["Name"] == "server.dc1"


@pytest.mark.parametrize("key", ["", "cg8StVXbQJ0gPvMd9o7yrg=="])
async def test_a_leave_is_seen_as_left_and_a_death_as_failed(start_consul: Any, key: str) -> None:
    genuine = await start_consul("server", arguments=[HURRY], encrypt=key)
    async with ours("leaves", encrypt=key) as leaves, contextlib.AsyncExitStack() as stack:
        dies = await stack.enter_async_context(ours("dies", "dc3", encrypt=key))
        for agent in (leaves, dies):
            assert await we_join(agent, address(genuine, wan=True), wan=True) == ""
        everybody = {"server.dc1": ALIVE, "leaves.dc2": ALIVE, "dies.dc3": ALIVE}
        await seen(genuine, everybody)

        await leaves.agent.leave()
        await seen(genuine, everybody | {"leaves.dc2": LEFT})
        await stack.aclose()
        await seen(genuine, everybody | {"leaves.dc2": LEFT, "dies.dc3": FAILED})


async def test_a_genuine_server_that_leaves_or_dies_is_seen_by_ours(start_consul: Any) -> None:
    leaves = await start_consul("leaves", arguments=[HURRY])
    dies = await start_consul("dies", datacenter="dc3", arguments=[HURRY])
    async with ours() as agent:
        for genuine in (leaves, dies):
            assert await we_join(agent, address(genuine, wan=True), wan=True) == ""
        everybody = {"leaves.dc1": ALIVE, "dies.dc3": ALIVE, "ours.dc2": ALIVE}
        await seen(agent, everybody)

        await dies.process.kill()
        await seen(agent, everybody | {"dies.dc3": FAILED})
        # It answers when it has left the LAN pool too and has drained its connections.
        leaving = asyncio.ensure_future(leaves.call("PUT", "/v1/agent/leave", within=30))
        await seen(agent, everybody | {"leaves.dc1": LEFT, "dies.dc3": FAILED})
        leaving.cancel()
        assert (await agent.get("/v1/catalog/datacenters")).json == ["dc2", "dc3"]
        assert (await agent.put("/v1/agent/force-leave/dies.dc3?wan&prune")).status == 200
        assert await statuses(agent, "?wan=1") == {"leaves.dc1": LEFT, "ours.dc2": ALIVE}


async def test_genuine_and_our_servers_of_one_lan_bring_one_another_into_the_wan_pool(
    genuine: ConsulAgent, start_consul: Any
) -> None:
    second = await start_consul("second", arguments=[HURRY, "-bootstrap=false"])
    async with ours() as far, ours("near", "dc1") as near:
        assert await we_join(far, address(genuine, wan=True), wan=True) == ""
        assert await we_join(near, address(genuine), wan=False) == ""
        assert await consul_joins(second, near.gossip, wan=False) == ""
        everybody = {"server.dc1", "second.dc1", "near.dc1", "ours.dc2"}
        for agent in (far, near, genuine, second):
            await seen(agent, dict.fromkeys(everybody, ALIVE))


# Pools that must not mix

DC1, DC2 = "part of wrong datacenter 'dc1'", "part of wrong datacenter 'dc2'"
NO_SERVER = "is not a server"
OF_LAN = "is a server of the LAN pool of datacenter 'dc1', and this is a WAN pool"


async def logged(agent: ConsulAgent, text: str) -> None:
    """Wait until a genuine agent has written a text into its log."""
    await eventually(
        lambda: re.search(text, agent.process.log.read_text(errors="replace")),
        within=10,
        what=lambda: f"{text!r} in the log{agent.process.tail()}",
    )


def heard(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], bool]:
    return lambda: text in caplog.text


async def unchanged(
    lists: list[tuple[TestAgent | ConsulAgent, str]], attempt: Callable[[], Awaitable[object]]
) -> None:
    before = [await statuses(agent, query) for agent, query in lists]
    await attempt()
    assert [await statuses(agent, query) for agent, query in lists] == before


@pytest.mark.parametrize(
    ("server", "source", "target", "reason", "their_reason"),
    [
        (True, "lan", "lan", DC1, DC2),
        (False, "lan", "lan", DC1, DC2),
        (False, "lan", "wan", DC1, NO_SERVER),
        (True, "wan", "lan", OF_LAN, DC2),
    ],
)
async def test_r24_our_join_of_a_wrong_pool_is_refused_on_both_sides(
    genuine: ConsulAgent,
    *,
    server: bool,
    source: str,
    target: str,
    reason: str,
    their_reason: str,
) -> None:
    settings = WAN if server else {}
    async with running("ours", datacenter="dc2", **settings) as agent:
        lists = [(one, query) for one in (agent, genuine) for query in ("", "?wan=1")]

        async def attempt() -> None:
            error = await we_join(agent, address(genuine, wan=target == "wan"), wan=source == "wan")
            assert reason in error
            await logged(genuine, f"Member 'ours(.dc2)?' {their_reason}")

        await unchanged(lists, attempt)


@pytest.mark.parametrize(
    ("server", "source", "target", "reason", "our_reason"),
    [
        (True, "lan", "lan", DC2, DC1),
        (False, "lan", "lan", DC2, DC1),
        (True, "lan", "wan", DC2, OF_LAN),
        (False, "wan", "lan", NO_SERVER, DC1),
    ],
)
async def test_r24_consuls_join_of_a_wrong_pool_is_refused_on_both_sides(
    genuine: ConsulAgent,
    *,
    server: bool,
    source: str,
    target: str,
    reason: str,
    our_reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = WAN if server else {}
    async with running("ours", datacenter="dc2", **settings) as agent:
        lists = [(one, query) for one in (agent, genuine) for query in ("", "?wan=1")]

        async def attempt() -> None:
            own = agent.wan_gossip if target == "wan" else agent.gossip
            assert reason in await consul_joins(genuine, own, wan=source == "wan")
            await eventually(heard(caplog, our_reason), within=10, what=our_reason)

        await unchanged(lists, attempt)


async def test_r24_what_consul_would_mix_ours_keeps_apart(
    genuine: ConsulAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers of one datacenter satisfy both rules of Consul, and its LAN and WAN pool merge."""
    async with ours("ours", "dc1") as agent:
        lists: list[tuple[TestAgent | ConsulAgent, str]] = [(agent, ""), (agent, "?wan=1")]

        async def attempt() -> None:
            await consul_joins(genuine, agent.gossip, wan=True)
            text = "Member 'server.dc1' is a server of a WAN pool"
            await eventually(heard(caplog, text), within=10, what=text)
            await consul_joins(genuine, agent.wan_gossip, wan=False)
            text = f"Member 'server' {OF_LAN}"
            await eventually(heard(caplog, text), within=10, what=text)

        await unchanged(lists, attempt)


async def test_a_copied_node_id_is_refused_by_ours_and_by_consul(genuine: ConsulAgent) -> None:
    node_id = (await members(genuine))[0]["Tags"]["id"]
    async with running("copy", node_id=node_id) as agent:
        error = await we_join(agent, address(genuine), wan=False)
        text = f"has conflicting node ID '{node_id}' with this agent's ID"
        assert f"Member 'server' {text}" in error
        await logged(genuine, f"Member 'copy' {text}")
        assert await statuses(agent) == {"copy": ALIVE}
        assert await statuses(genuine) == {"server": ALIVE}
