"""A stream of events at an agent of ours shows what one at a genuine agent shows, merged alike."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent.rpc.server import RpcServer
from simulations.peers import SerfRpc
from tests.helpers_agent import eventually, running

if TYPE_CHECKING:
    from simulations.peers.rpc import Record
    from tests.interop.conftest import StartOurs, StartSerf

pytestmark = pytest.mark.interop

# Our probes are as frequent as Serf's; only a leave is shorter.
LAN = {"leave_propagate_delay": 0.1, "gossip_interval": 0.2, "probe_interval": 1.0}
LAN |= {"probe_timeout": 0.5, "suspicion_mult": 4}


def essence(records: list[Record]) -> list[tuple[Any, ...]]:
    """Records without those who watch; members that changed alike one after the other are taken together.

    A machine that stalls for a second splits what is one record otherwise.
    """
    shown: list[tuple[Any, ...]] = []
    for record in records:
        kind = record["Event"]
        if kind == "user":
            shown.append((kind, record["Name"], record["Payload"], record["Coalesce"]))
            continue
        names = {member["Name"] for member in record["Members"]} - {"go", "py"}
        if shown and shown[-1][0] == kind:
            names |= set(shown.pop()[1])
        if names:
            shown.append((kind, tuple(sorted(names))))
    return shown


async def test_a_stream_shows_the_same_merged_events_as_a_genuine_agents(
    start_serf: StartSerf, start_ours: StartOurs
) -> None:
    theirs: list[Record] = []
    ours: list[Record] = []
    go = await start_serf("go")
    async with running("py", rpc_addr="127.0.0.1:0", pool=LAN) as py:
        server = RpcServer(py.agent)
        await server.start()
        host, _, port = server.address.rpartition(":")
        try:
            async with SerfRpc((host, int(port))) as client:
                await go.rpc.subscribe("stream", {"Type": "*"}, theirs.append)
                await client.subscribe("stream", {"Type": "*"}, ours.append)
                await go.join([py.agent.cluster.local_address])
                nodes = [await start_ours(name, **LAN) for name in ("a", "b")]

                async def both_show(*expected: tuple[Any, ...]) -> None:
                    def shown() -> bool:
                        return essence(ours)[-1:] == essence(theirs)[-1:] == list(expected)

                    await eventually(shown, seconds=20)

                await asyncio.gather(*(node.join([py.gossip]) for node in nodes))
                await both_show(("member-join", ("a", "b")))
                for number in range(3):
                    await nodes[0].set_tags({"n": str(number)})
                    await asyncio.sleep(0.3)  # each is news of its own
                await both_show(("member-update", ("a",)))
                fires = [go.rpc.fire("deploy", b"%d" % n, coalesce=True) for n in range(3)]
                fires += [client.fire("other", b"%d" % n, coalesce=False) for n in range(3)]
                await asyncio.gather(*fires)
                await both_show(("user", "deploy", b"2", True))
                await asyncio.gather(*(node.leave() for node in nodes))
                await both_show(("member-leave", ("a", "b")))
        finally:
            await server.close()

    assert sorted(essence(ours), key=repr) == sorted(essence(theirs), key=repr)
    assert [kind for kind, *_ in essence(ours)].count("user") == 4
