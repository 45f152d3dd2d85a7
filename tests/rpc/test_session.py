"""A client of Serf's RPC from its handshake on, in Serf's words."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent.reload import take_over
from agent.rpc.server import RpcLimits
from agent.rpc.session import MAX_STREAMS
from simulations.peers import RpcError
from tests.helpers_agent import eventually
from tests.wire_helpers import vectors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rpc.conftest import RpcAgent, StartAgent

HANDSHAKE = ("handshake", 0, {"Version": 1})
KEY = "a-key-of-some-length"
RECORDED = {v["name"]: bytes.fromhex(v["hex"]) for v in vectors("ipc")}


def answer(seq: int, error: str = "") -> dict[str, Any]:
    return {"Error": error, "Seq": seq}


async def test_the_handshake_comes_first(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(("members", 7))

    assert await raw.values(1) == [answer(7, "Handshake required")]
    assert await raw.ended() == b""


@pytest.mark.parametrize("version", [0, 2, -1])
async def test_only_version_1_is_spoken(one: RpcAgent, version: int) -> None:
    raw = await one.raw()
    raw.send(("handshake", 3, {"Version": version}), ("handshake", 4, {"Version": 1}))

    assert await raw.values(2) == [answer(3, "Unsupported IPC version"), answer(4)]


async def test_the_handshake_happens_once(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, ("handshake", 1, {"Version": 1}), ("stats", 2))

    values = await raw.values(3)
    assert values[:2] == [answer(0), answer(1, "Handshake already performed")]
    assert values[2] == answer(2)


async def test_an_unknown_command_ends_the_connection(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, ("bogus", 9), ("stats", 10))

    assert await raw.values(2) == [answer(0), answer(9, "Unsupported command")]
    assert await raw.ended() == b""


async def test_requests_are_answered_in_their_order(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, *(("event", seq, {"Name": "e"}) for seq in range(1, 200)))

    assert await raw.values(200) == [answer(seq) for seq in range(200)]


async def test_a_request_may_come_byte_by_byte(one: RpcAgent) -> None:
    raw = await one.raw()
    for byte in RECORDED["ipc_handshake_request"] + RECORDED["ipc_event_request"]:
        raw.send(bytes((byte,)))
        await raw.writer.drain()

    assert await raw.values(2) == [answer(0), answer(3)]


# The key


async def test_with_a_key_nothing_else_is_answered_before_it(start_agent: StartAgent) -> None:
    one = await start_agent(rpc_auth=KEY)
    raw = await one.raw()
    raw.send(HANDSHAKE, ("members", 1), ("event", 2, {"Name": "x"}))

    refused = "Authentication required"
    assert await raw.values(3) == [answer(0), answer(1, refused), answer(2, refused)]
    raw.send(("auth", 3, {"AuthKey": KEY}), ("event", 4, {"Name": "x"}))
    assert await raw.values(2) == [answer(3), answer(4)]


@pytest.mark.parametrize("given", ["", "wrong", KEY + "x", KEY[:-1], "k\u00e4y", None])
async def test_a_wrong_key_is_refused_in_serfs_words(
    start_agent: StartAgent, given: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    one = await start_agent(rpc_auth=KEY)
    raw = await one.raw()
    raw.send(HANDSHAKE, ("auth", 1, {"AuthKey": given}), ("members", 2))

    assert await raw.values(3) == [
        answer(0),
        answer(1, "Invalid authentication token"),
        answer(2, "Authentication required"),
    ]
    assert one.rpc.stats["rpc_auth_failed"] == 1
    for text in ("does not know the key", "has not shown the key"):
        assert f"a client {text} from=127.0.0.1:" in caplog.text  # who is trying keys


async def test_a_key_where_none_is_asked_for_is_wrong_as_in_serf(one: RpcAgent) -> None:
    with pytest.raises(RpcError, match="Invalid authentication token"):
        await one.client(auth_key=KEY).connect()


async def test_another_key_is_asked_of_those_who_come_later(start_agent: StartAgent) -> None:
    one = await start_agent(rpc_auth=KEY)
    async with one.client(auth_key=KEY) as earlier:
        await take_over(one.agent, one.agent.config.replace(rpc_auth="another"))

        with pytest.raises(RpcError, match="Invalid authentication token"):
            await one.client(auth_key=KEY).connect()
        async with one.client(auth_key="another") as later:
            assert await later.members() == await earlier.members()


async def test_the_key_appears_nowhere(
    start_agent: StartAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    one = await start_agent(rpc_auth=KEY)
    async with one.client(auth_key=KEY) as client:
        stats = await client.stats()
    with pytest.raises(RpcError):
        await one.client(auth_key=KEY + "x").connect()

    shown = await one.test_agent.get("/v1/agent/self")
    assert KEY not in f"{stats}{shown.text}{caplog.text}{one.agent.config!r}"


# What is not a request


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n" + RECORDED["ipc_handshake_request"],
        b"\x93\x01\x02\x03",
        b"\xc1",
        b"\xdf\xff\xff\xff\xff",
        b"\x82\xa7Command\x05\xa3Seq\x00",
        b"\x82\xa7Command\xa5event\xa3Seq\xa1x",
        b"\x81\xa7Command\xdb\xff\xff\xff\xff" + bytes(100_000),
    ],
)
async def test_bytes_that_are_no_request_end_the_connection(one: RpcAgent, data: bytes) -> None:
    raw = await one.raw()
    raw.send(data)

    assert await raw.ended() == b""
    assert one.rpc.stats["rpc_requests_refused"] == 1
    async with one.client() as client:
        assert len(await client.members()) == 1


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("event", {"Name": 5}),
        ("event", {"Name": "x", "Payload": {}}),
        ("force-leave", {"Node": ["x"]}),
        ("join", {"Existing": "127.0.0.1"}),
        ("join", {"Existing": [7]}),
        ("tags", {"Tags": ["a"]}),
        ("tags", {"Tags": {"a": 1}}),
        ("members-filtered", {"Tags": 1}),
        ("stop", {"Stop": -1}),
        ("query", {"RelayFactor": 256}),
        ("respond", {"ID": "x"}),
    ],
)
async def test_a_field_of_another_type_ends_the_connection(
    one: RpcAgent, command: str, body: dict[str, Any]
) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, (command, 1, body))
    await raw.values(1)

    assert await raw.ended() == b""
    assert one.rpc.stats["rpc_requests_refused"] == 1


async def test_unknown_fields_are_skipped_and_missing_ones_empty(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, ("event", 1, {"Name": "x", "More": [{"deep": None}]}), ("event", 2, {}))

    assert await raw.values(3) == [answer(0), answer(1), answer(2)]


# Bounds


async def test_h10_a_client_that_does_not_introduce_itself_is_cut(start_agent: StartAgent) -> None:
    one = await start_agent(limits=RpcLimits(admission=0.1), rpc_auth=KEY)
    silent, greeting = await one.raw(), await one.raw()
    greeting.send(HANDSHAKE)

    assert await silent.ended() == b""
    await greeting.values(1)
    assert await greeting.ended() == b""
    assert one.rpc.stats["rpc_timed_out"] == 2


async def test_h10_a_request_that_does_not_end_is_cut(start_agent: StartAgent) -> None:
    one = await start_agent(limits=RpcLimits(request=0.1))
    raw = await one.raw()
    raw.send(HANDSHAKE)
    await raw.values(1)
    raw.send(RECORDED["ipc_event_request"][:-1])

    assert await raw.ended() == b""
    assert one.rpc.stats["rpc_timed_out"] == 1


async def test_a_client_with_nothing_to_ask_may_stay(start_agent: StartAgent) -> None:
    one = await start_agent(limits=RpcLimits(admission=0.05, request=0.05))
    async with one.client() as client:
        async with one.client() as other:
            await other.stats()
        await asyncio.sleep(0.3)  # longer than every deadline there is
        assert await client.stats()


async def test_h10_clients_beyond_the_limit_are_turned_away(start_agent: StartAgent) -> None:
    one = await start_agent(limits=RpcLimits(connections=2))
    async with one.client(), one.client() as second:
        third = await one.raw()
        assert await third.ended() == b""
        assert one.rpc.stats["rpc_connections_refused"] == 1
        assert (await second.stats())["agent"]["rpc_connections_refused"] == "1"


async def test_h10_silent_connections_do_not_lock_others_out(start_agent: StartAgent) -> None:
    one = await start_agent(limits=RpcLimits(connections=2))
    silent = [await one.raw(), await one.raw()]
    await eventually(lambda: len(one.rpc) == 2)
    async with one.client() as client:
        assert await client.members()
    assert await silent[0].ended() == b""
    assert one.rpc.stats["rpc_connections_displaced"] == 1


async def test_streams_of_one_client_have_a_bound(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE, *(("stream", seq, {"Type": "*"}) for seq in range(1, MAX_STREAMS + 2)))

    values = await raw.values(MAX_STREAMS + 2)
    assert values[:-1] == [answer(seq) for seq in range(MAX_STREAMS + 1)]
    assert values[-1] == answer(MAX_STREAMS + 1, "more than 64 streams on one connection")
    raw.close()
    await eventually(lambda: len(one.rpc) == 0)
    assert one.streams == 0


async def test_a_client_that_does_not_read_its_answers_is_not_read_either(one: RpcAgent) -> None:
    raw = await one.raw()
    raw.send(HANDSHAKE)
    await raw.values(1)
    request = b"".join([b"\x82\xa7Command\xa5stats\xa3Seq\x01"] * 1000)
    blocked = False
    for _ in range(1000):
        raw.writer.write(request)
        try:
            async with asyncio.timeout(0.2):
                await raw.writer.drain()
        except TimeoutError:
            blocked = True
            break

    assert blocked
    (connection,) = one.rpc._connections
    assert connection._writer.transport.get_write_buffer_size() < 256 * 1024
    async with one.client() as client:
        assert await client.members()


# Where it listens


async def test_a_unix_socket_is_for_its_owner(start_agent: StartAgent, tmp_path: Path) -> None:
    path = tmp_path / "rpc"
    one = await start_agent(rpc_addr=f"unix://{path}")
    assert path.stat().st_mode & 0o777 == 0o600

    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(RECORDED["ipc_handshake_request"])
    expected = RECORDED["ipc_handshake_response"]
    assert await reader.readexactly(len(expected)) == expected
    writer.close()
    await one.rpc.close()
    assert not path.exists()


async def test_the_answer_to_leave_comes_before_the_end(one: RpcAgent) -> None:
    async with one.client() as client:
        leaving = asyncio.create_task(client.leave())
        await one.agent.finished
        await one.rpc.close()
        await leaving
