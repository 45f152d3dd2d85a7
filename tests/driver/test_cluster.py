"""Cluster, the asyncio driver: real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gossip import (
    Cluster,
    Config,
    ConfigError,
    Gap,
    JoinError,
    LimitError,
    Member,
    MemberJoined,
    MemberLeft,
    MemberStatus,
    UserEvent,
)
from gossip.wire.address import join_host_port
from gossip.wire.messages import Ack, Alive, Ping
from gossip.wire.packet import PacketCodec
from tests.helpers_driver import address, alive, pool, until, until_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.driver.conftest import StartNode

KEY = bytes(range(32))
FAMILIES = ["127.0.0.1", "::1"]


async def test_a_pool_of_one_lists_itself(start_node: StartNode) -> None:
    cluster = await start_node("one", tags={"role": "web"})

    member = cluster.local_member()

    assert cluster.members() == [member]
    assert (member.name, member.tags, member.status) == ("one", {"role": "web"}, 1)
    assert (member.addr, member.port) == cluster.local_address


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keys": (KEY,)},
        {"label": "prod"},
        {"keys": (KEY,), "label": "prod"},
        {"compress": True},
    ],
    ids=["plain", "key", "label", "key-label", "compress"],
)
@pytest.mark.parametrize("host", FAMILIES)
async def test_r35_members_join_and_events_reach_everybody(
    start_node: StartNode, host: str, settings: dict[str, Any]
) -> None:
    clusters = await pool(start_node, 3, bind=host, **settings)
    subscriptions = [cluster.subscribe() for cluster in clusters]

    ltime = await clusters[1].fire("deploy", b"\x00v2\xff", coalesce=False)

    async with asyncio.timeout(5):
        for subscription in subscriptions:
            assert await anext(subscription) == UserEvent(ltime, "deploy", b"\x00v2\xff", False)


@pytest.mark.parametrize("host", FAMILIES)
async def test_r24_pools_with_another_key_or_label_stay_apart(
    start_node: StartNode, host: str
) -> None:
    plain = await start_node("plain", bind=host)
    cases: dict[str, dict[str, Any]] = {"key": {"keys": (KEY,)}, "label": {"label": "other"}}
    for name, settings in cases.items():
        other = await start_node(name, bind=host, **settings)

        with pytest.raises(JoinError, match=re.escape(f"Failed to join {address(plain)}")):
            await other.join([address(plain)])

        assert alive(plain) == {"plain"}
        assert alive(other) == {name}


@pytest.mark.parametrize("host", FAMILIES)
async def test_join_says_for_each_address_what_was_wrong(start_node: StartNode, host: str) -> None:
    one, two = await pool(start_node, 2, bind=host)
    three = await start_node("three", bind=host)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as unused:
        unused.bind((host, 0))
        refused = join_host_port(host, unused.getsockname()[1])

        with pytest.raises(JoinError) as caught:
            await three.join([refused, "bad host name:1", join_host_port(host, 99999)])

        lines = str(caught.value).splitlines()
        assert lines[0] == "3 errors occurred:"
        assert all("\t* Failed to " in line for line in lines[1:])
        assert any(f"Failed to join {refused}: " in line for line in lines)
        assert await three.join([refused, address(one), address(two)]) == 2


@pytest.mark.parametrize("host", FAMILIES)
async def test_join_with_a_name_that_is_alive_elsewhere_is_refused(
    start_node: StartNode, host: str
) -> None:
    one, _two = await pool(start_node, 2, bind=host)
    intruder = await start_node("n1", bind=host)

    elsewhere = re.escape(join_host_port(host, 0).removesuffix("0"))
    with pytest.raises(JoinError, match=rf"the name .n1. is in use by a member at {elsewhere}\d"):
        await intruder.join([address(one)])

    assert alive(intruder) == {"n1"}


async def test_admit_refuses_a_member_with_its_reason_on_both_sides(start_node: StartNode) -> None:
    one = await start_node("one")
    config = Config.local("picky", bind="127.0.0.1", port=0)

    def admit(members: Sequence[Member]) -> str | None:
        return "Member 'one' is not wanted" if "one" in {m.name for m in members} else None

    async with Cluster(config, admit=admit) as picky:
        with pytest.raises(JoinError, match="Member 'one' is not wanted"):
            await picky.join([address(one)])
        await one.join([address(picky)])  # a refusal by the acceptor is silent on this wire

        assert alive(picky) == {"picky"}


@pytest.mark.parametrize("host", FAMILIES)
async def test_leave_is_left_on_the_others_and_returns(start_node: StartNode, host: str) -> None:
    clusters = await pool(start_node, 3, bind=host, leave_propagate_delay=0.05)
    subscription = clusters[0].subscribe()

    async with asyncio.timeout(5):
        await clusters[2].leave()
        event = await anext(subscription)

    assert isinstance(event, MemberLeft)
    assert event.member.name == "n2"


async def test_r22_leave_returns_although_nobody_answers(start_node: StartNode) -> None:
    clusters = await pool(start_node, 2, broadcast_timeout=0.2, leave_propagate_delay=0.05)
    await clusters[0].close()

    async with asyncio.timeout(0.2 + 0.05 + 1):
        await clusters[1].leave()


async def test_cancelling_leave_does_not_stop_it(start_node: StartNode) -> None:
    clusters = await pool(start_node, 2, leave_propagate_delay=0.05)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(clusters[1].leave(), 0.001)

    async with asyncio.timeout(5):
        while clusters[0].members()[1].status is not MemberStatus.LEFT:
            await clusters[0].members_changed(clusters[0].members_version)
        await clusters[1].leave()


async def test_cancelling_join_leaves_a_working_node(start_node: StartNode) -> None:
    one, two = await start_node("one"), await start_node("two")
    joining = asyncio.create_task(two.join([address(one)]))
    await asyncio.sleep(0)

    joining.cancel()

    with pytest.raises(asyncio.CancelledError):
        await joining
    await two.join([address(one)])
    await until_alive([one, two], {"one", "two"})


async def test_r19_force_leave_of_an_unknown_member_changes_nothing(start_node: StartNode) -> None:
    one, _two = await pool(start_node, 2)

    assert await one.force_leave("nobody") is MemberStatus.NONE
    assert alive(one) == {"n0", "n1"}


async def test_r42_a_consumer_that_never_reads_costs_nobody_and_finds_a_gap(
    start_node: StartNode,
) -> None:
    one, two = await pool(start_node, 2)
    lazy, eager = two.subscribe(limit=3), two.subscribe()

    async with asyncio.timeout(5):
        for index in range(10):
            await one.fire(f"e{index}")
        for _ in range(10):
            await anext(eager)
        got = [await anext(lazy) for _ in range(4)]

    assert len([event for event in got[:3] if isinstance(event, UserEvent)]) == 3
    assert got[3] == Gap(7)
    async with asyncio.timeout(5):
        await one.fire("after")
        after = await anext(lazy)
    assert isinstance(after, UserEvent)
    assert after.name == "after"


async def test_a_consumer_gets_the_kinds_that_it_wants_and_misses_none_of_others(
    start_node: StartNode,
) -> None:
    one = await start_node("one")
    two = await start_node("two")
    picky = one.subscribe(limit=1, kinds=(MemberJoined, MemberLeft))

    for index in range(5):
        await one.fire(f"e{index}")
    await two.join([address(one)])
    await until_alive([one], {"one", "two"})
    async with asyncio.timeout(5):
        joined = await anext(picky)
        await two.leave()
        left = await anext(picky)

    assert (type(joined), type(left)) == (MemberJoined, MemberLeft)


async def test_a_subscription_ends_with_the_cluster(start_node: StartNode) -> None:
    one, two = await start_node("one"), await start_node("two")
    subscription = one.subscribe()
    await two.join([address(one)])
    await until_alive([one], {"one", "two"})

    await one.close()

    events = [event async for event in subscription]
    assert [type(event) for event in events] == [MemberJoined]


async def test_r30_an_event_over_the_limit_is_refused_and_the_clock_stays(
    start_node: StartNode,
) -> None:
    cluster = await start_node("one")
    before = cluster.stats()["event_time"]

    with pytest.raises(LimitError, match="513 bytes exceeds the limit of 512 bytes"):
        await cluster.fire("e", b"x" * 512)

    assert cluster.stats()["event_time"] == before


async def test_tags_over_the_limit_are_refused_and_the_old_ones_stay(start_node: StartNode) -> None:
    cluster = await start_node("one", tags={"a": "b"})

    with pytest.raises(ConfigError, match="exceed the limit of 512"):
        await cluster.set_tags({"a": "x" * 510})

    assert cluster.local_member().tags == {"a": "b"}


async def test_h1_alive_messages_with_bad_addresses_leave_udp_answering(
    start_node: StartNode,
) -> None:
    cluster = await start_node("one")
    codec = PacketCodec(new_nonce=lambda: bytes(12))
    addresses = [
        b"", b"\x01", bytes(4), bytes(16), b"\xff" * 4, b"\xe0\x00\x00\x01", b"\x00\x01\x02\x03",
        b"\xf0\x00\x00\x01", b"\xff\x02" + bytes(13) + b"\x01", b"\xfe\x80" + bytes(13) + b"\x01",
        bytes(10) + b"\xff\xff" + bytes(4), b"x" * 5, b"x" * 17,
    ]  # fmt: skip
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        for index, addr in enumerate(addresses):
            for port in (0, 1, 65535):
                alive = Alive(1, f"bad-{index}-{port}", addr, port, b"", bytes((1, 5, 2, 2, 5, 5)))
                packet = codec.encode([alive.encode()])[0]
                sock.sendto(packet, cluster.local_address)

        async def acked() -> bytes:
            ping = codec.encode([Ping(77, "one").encode()])[0]
            while True:
                sock.sendto(ping, cluster.local_address)
                try:
                    async with asyncio.timeout(0.2):
                        data = await loop.sock_recv(sock, 2048)
                except TimeoutError:
                    continue
                if b"SeqNo\x4d" in data:
                    return data

        async with asyncio.timeout(5):
            assert await acked()
        # Gossip has been sent to the usable ones by now, and whatever failed was survived.
        assert cluster.node.stats["addresses_refused"] >= 25


async def test_h2_join_resolves_names_off_the_loop(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await start_node("one"), await start_node("two")
    original, loop_thread = socket.getaddrinfo, threading.get_ident()

    def checked(*args: Any, **kwargs: Any) -> Any:
        host = args[0]
        if threading.get_ident() == loop_thread and host == "localhost":
            pytest.fail("a name was resolved on the loop's thread")
        return original(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", checked)

    joined = await two.join([f"localhost:{one.local_address[1]}", address(one)])

    assert joined >= 1


async def test_r52_streams_over_the_limit_are_closed_at_once(start_node: StartNode) -> None:
    cluster = await start_node("one", max_streams=4, tcp_timeout=30.0)
    connections = [await asyncio.open_connection(*cluster.local_address) for _ in range(10)]
    try:
        async with asyncio.timeout(5):
            await until(lambda: cluster.node.stats["streams_over_limit"] == 6)
        refused = 0
        for reader, _ in connections:
            try:
                async with asyncio.timeout(0.05):
                    refused += await reader.read() == b""
            except TimeoutError:
                pass
            except ConnectionResetError:
                refused += 1
        assert refused == 6
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def test_r51_stalled_streams_end_at_their_deadline(start_node: StartNode) -> None:
    cluster = await start_node("one", tcp_timeout=0.2)
    connections = [await asyncio.open_connection(*cluster.local_address) for _ in range(50)]
    try:
        async with asyncio.timeout(5):
            for reader, _ in connections:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        two = await start_node("two")
        assert await two.join([address(cluster)]) == 1
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def test_h5_closing_in_the_middle_of_everything_leaves_no_task(
    start_node: StartNode,
) -> None:
    clusters = await pool(start_node, 3)
    stalled = await asyncio.open_connection(*clusters[0].local_address)
    working = [
        asyncio.create_task(clusters[1].join([address(clusters[0])] * 3)),
        asyncio.create_task(clusters[0].leave()),
        asyncio.create_task(clusters[2].members_changed(clusters[2].members_version)),
        asyncio.create_task(clusters[2].coordinates_changed(clusters[2].coordinates_version)),
    ]
    await asyncio.sleep(0)

    async with asyncio.timeout(2):
        for cluster in clusters:
            await cluster.close()
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    stalled[1].transport.abort()

    async with asyncio.timeout(2):
        await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_turn_that_fails_is_reported_and_the_node_goes_on_answering(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = await start_node("one")
    receive, bugs = cluster.node.receive_packet, ["a bug"]

    def fail_once(*packet: Any) -> None:
        if bugs:
            raise RuntimeError(bugs.pop())
        receive(*packet)

    monkeypatch.setattr(cluster.node, "receive_packet", fail_once)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(cluster.local_address)
        async with asyncio.timeout(5):
            sock.send(Ping(1, "one").encode())
            await until(lambda: not bugs)
            sock.send(Ping(2, "one").encode())
            answer = await asyncio.get_running_loop().sock_recv(sock, 2048)

    assert answer == Ack(2, cluster.node.membership.delegate.ack_payload()).encode()
    assert "a turn of the gossip driver failed" in caplog.text
    assert "RuntimeError: a bug" in caplog.text


async def test_a_port_that_is_taken_is_reported(start_node: StartNode) -> None:
    one = await start_node("one")
    config = Config.local("two", bind="127.0.0.1", port=one.local_address[1])

    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        async with Cluster(config):
            pytest.fail("it was bound twice")


async def test_config_keys_show_in_no_repr() -> None:
    config = Config.lan("one", keys=(KEY,))

    assert repr(KEY)[2:-1] not in repr(config)
    assert KEY.hex() not in repr(config)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_h12_nothing_is_printed_when_a_program_forgets_to_close(loop: str) -> None:
    program = f"""
import asyncio, {loop}
from gossip import Cluster, Config

async def main():
    clusters = [Cluster(Config.local(f"n{{i}}", bind="127.0.0.1", port=0)) for i in range(2)]
    for cluster in clusters:
        await cluster.start()
    await clusters[0].join(["127.0.0.1:%d" % clusters[1].local_address[1]])
    await clusters[0].close()

with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("rounds", range(0, 40, 4))
async def test_r45_closing_at_any_moment_of_a_join_leaves_nothing_behind(
    start_node: StartNode, rounds: int
) -> None:
    asyncio.get_running_loop().set_debug(True)
    one, two = await pool(start_node, 2)
    three = await start_node("three")
    joining = asyncio.create_task(three.join([address(one), address(two)]))
    for _ in range(rounds):
        await asyncio.sleep(0)

    async with asyncio.timeout(2):
        await three.close()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)

    assert await two.fire("still") == 1
    for cluster in (one, two):
        await cluster.close()
    async with asyncio.timeout(2):
        await until(lambda: len(asyncio.all_tasks()) == 1)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_r53_a_node_without_free_file_descriptors_answers_and_recovers(loop: str) -> None:
    program = f"""
import asyncio, os, resource, socket, {loop}
from gossip import Cluster, Config
from gossip.wire.messages import Ping

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # EMFILE is reported there
    async with Cluster(Config.local("one", bind="127.0.0.1", port=0)) as one:
        async with Cluster(Config.local("two", bind="127.0.0.1", port=0)) as two:
            ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ping.settimeout(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            held = []
            try:
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
            try:
                await two.join(["127.0.0.1:%d" % one.local_address[1]])
            except Exception as error:
                print("refused:", type(error).__name__)
            answer = None
            async with asyncio.timeout(10):
                while answer is None:
                    ping.sendto(Ping(1, "one").encode(), one.local_address)
                    await asyncio.sleep(0.02)
                    try:
                        answer = ping.recv(2048)
                    except BlockingIOError:
                        pass
            print("answered over UDP")
            for descriptor in held:
                os.close(descriptor)
            async with asyncio.timeout(10):
                while True:
                    try:
                        print("joined:", await two.join(["127.0.0.1:%d" % one.local_address[1]]))
                        break
                    except Exception:
                        await asyncio.sleep(0.05)

with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
    runner.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == ["refused: JoinError", "answered over UDP", "joined: 1"]
    assert done.returncode == 0
