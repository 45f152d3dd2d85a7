"""IPv4, IPv6 and both at once under the driver: probes, push/pull and the ways in (R-35)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gossip import JoinError, MemberStatus, UserEvent
from gossip.wire.address import join_host_port
from simulations.local.ports import Ports
from tests.helpers_driver import address, alive, until, until_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gossip import Cluster
    from tests.driver.conftest import StartNode

V4, V6 = "127.0.0.1", "::1"
KEY = bytes(range(32))
FAST: dict[str, Any] = {"probe_interval": 0.1, "probe_timeout": 0.05, "gossip_interval": 0.02}
SILENT: dict[str, Any] = {"gossip_interval": 3600, "probe_interval": 3600}
"""Nothing but push/pull carries news."""


@contextlib.asynccontextmanager
async def tcp_only(host: str, port: int, onto: int) -> AsyncIterator[Counter[str]]:
    """A port that passes streams on to another and takes no packets; it counts the streams."""
    passed: Counter[str] = Counter()
    relays: set[asyncio.Task[Any] | None] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():
            writer.write_eof()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed["streams"] += 1
        relays.add(asyncio.current_task())
        ends = [writer]
        writers.add(writer)
        with contextlib.suppress(OSError):
            inner, onward = await asyncio.open_connection(host, onto)
            ends.append(onward)
            writers.add(onward)
            await asyncio.gather(
                pass_on(reader, onward), pass_on(inner, writer), return_exceptions=True
            )
        for each in ends:
            each.close()

    server = await asyncio.start_server(relay, host, port)
    try:
        yield passed
    finally:
        server.close()
        await asyncio.sleep(0)  # the relay of a connection that was just accepted begins
        # None is cancelled: one that is about to open its other end would leave that open.
        async with asyncio.timeout(10):
            while running := [task for task in relays if task and not task.done()]:
                for each in writers:
                    each.close()
                await asyncio.wait(running, timeout=0.05)
            for each in writers:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
        await server.wait_closed()


@pytest.mark.parametrize("host", [V4, V6])
@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["plain", "encrypted"])
async def test_r04_a_member_without_udp_is_kept_alive_by_pings_over_tcp(
    start_node: StartNode, host: str, keys: tuple[bytes, ...]
) -> None:
    # The deaf one hears of no suspicion, so none may end while a busy machine delays a ping.
    settings = FAST | {"bind": host, "keys": keys, "suspicion_mult": 100}
    with Ports() as ports:
        inside, outside = ports.take(), ports.take()
        one = await start_node("one", **settings)
        deaf = await start_node("deaf", port=inside, advertise_port=outside, **settings)
        async with tcp_only(host, outside, inside) as passed:
            await deaf.join([address(one)])
            await until_alive([one, deaf], {"one", "deaf"})

            async with asyncio.timeout(20):
                await until(lambda: one.node.membership.prober.tcp_only.names() == ["deaf"])
                rounds = passed["streams"] + 5
                await until(lambda: passed["streams"] >= rounds)

            assert alive(one) == {"one", "deaf"}
            await deaf.close()


@pytest.mark.parametrize("host", [V4, V6])
@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["plain", "encrypted"])
async def test_push_pull_alone_tells_everything(
    start_node: StartNode, host: str, keys: tuple[bytes, ...]
) -> None:
    settings = SILENT | {"bind": host, "keys": keys}
    one, two = await start_node("one", **settings), await start_node("two", **settings)
    await one.fire("deploy", b"v2")

    heard = two.subscribe()
    await two.join([address(one)], ignore_old_events=False)

    assert alive(one) == alive(two) == {"one", "two"}
    heard.close()
    assert [e.payload async for e in heard if isinstance(e, UserEvent)] == [b"v2"]


@pytest.mark.parametrize("host", [V4, V6])
async def test_a_failure_is_found_and_the_same_place_taken_again(
    start_node: StartNode, host: str
) -> None:
    one = await start_node("one", bind=host, suspicion_mult=1, **FAST)
    with Ports() as ports:
        port = ports.take()
        two = await start_node("two", bind=host, port=port, **FAST)
        await two.join([address(one)])
        await until_alive([one, two], {"one", "two"})
        await two.close()

        async with asyncio.timeout(20):
            await until(lambda: alive(one) == {"one"})
        again = await start_node("two", bind=host, port=port, **FAST)
        await again.join([address(one)])

        await until_alive([one, again], {"one", "two"})
        await again.close()


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["plain", "encrypted"])
async def test_r35_a_pool_of_both_families_lives_when_all_are_bound_to_all_addresses(
    start_node: StartNode, keys: tuple[bytes, ...]
) -> None:
    settings = FAST | {"bind": "::", "keys": keys, "leave_propagate_delay": 0.05}
    shown = {"a": V4, "b": V6, "c": V4, "d": V6}
    clusters = [await start_node(n, advertise=ip, **settings) for n, ip in shown.items()]
    first, *others = clusters
    for cluster in others:
        await cluster.join([address(first)])

    await until_alive(clusters, set(shown))
    for cluster in clusters:
        assert {member.name: member.addr for member in cluster.members()} == shown
    async with asyncio.timeout(20):
        # A coordinate comes with the ack of a ping by UDP: all have answered all.
        await until(lambda: all(len(cluster.coordinates()) == 4 for cluster in clusters))
        await others[0].leave()
        await others[0].close()
        await others[1].close()
        await until(lambda: alive(first) == alive(others[2]) == {"a", "d"})
    assert _status(first, "b") is MemberStatus.LEFT
    assert _status(first, "c") is MemberStatus.FAILED


@pytest.mark.parametrize("advertise", [V4, V6])
async def test_r35_a_node_on_all_addresses_is_joined_by_and_joins_both_families(
    start_node: StartNode, advertise: str
) -> None:
    # Probes are left out: nodes of one family each do not reach each other.
    settings = {"probe_interval": 3600}
    both = await start_node("both", bind="::", advertise=advertise, **settings)
    on_v4 = await start_node("v4", bind=V4, **settings)
    on_v6 = await start_node("v6", bind=V6, **settings)
    port = both.local_address[1]

    await on_v4.join([join_host_port(V4, port)])
    await both.join([address(on_v6)])

    await until_alive([both, on_v4, on_v6], {"both", "v4", "v6"})
    shown = {member.name: member.addr for member in both.members()}
    assert shown == {"both": advertise, "v4": V4, "v6": V6}
    heard = [cluster.subscribe() for cluster in (on_v4, on_v6)]
    await both.fire("deploy", b"v2")
    async with asyncio.timeout(10):
        for subscription in heard:
            while not isinstance(await anext(subscription), UserEvent):
                pass


@pytest.mark.parametrize(
    ("bind", "spelling"),
    [
        (V6, "[::1]:{}"),
        (V6, "[0:0::1]:{}"),
        (V6, "[::1%lo]:{}"),
        (V6, "one/[::1]:{}"),
        (V4, "[::ffff:127.0.0.1]:{}"),
        (V4, "127.0.0.1:{}"),
        ("::", "[::ffff:127.0.0.1]:{}"),
        ("::", "[::1]:{}"),
        ("::", "localhost:{}"),
    ],
)
async def test_r35_a_node_is_joined_by_every_spelling_of_its_address(
    start_node: StartNode, bind: str, spelling: str
) -> None:
    one, two = await start_node("one", bind=bind), await start_node("two", bind="::")

    assert await two.join([spelling.format(one.local_address[1])]) >= 1


async def test_r35_a_node_of_the_other_family_is_out_of_reach_and_said_to_be(
    start_node: StartNode,
) -> None:
    on_v6 = await start_node("v6", bind=V6)
    on_v4 = await start_node("v4", bind=V4)
    port = on_v6.local_address[1]

    with pytest.raises(JoinError, match=rf"Failed to join 127\.0\.0\.1:{port}: "):
        await on_v4.join([join_host_port(V4, port)])


def _status(cluster: Cluster, name: str) -> MemberStatus | None:
    member = cluster.member(name)
    return None if member is None else member.status
