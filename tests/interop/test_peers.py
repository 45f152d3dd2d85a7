"""The fixtures themselves: genuine pools come up within seconds and tell what they see."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from simulations.local.wait import eventually
from simulations.peers import PeerMissingError, RpcError, find_peer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

KEY = base64.b64encode(bytes(range(32))).decode()


async def test_two_serf_agents_join_exchange_an_event_and_part(start_serf: Any) -> None:
    one = await start_serf("one", tags={"role": "web"})
    two = await start_serf("two")
    await two.collect_events()

    assert await two.join([one.gossip]) == 1
    await eventually(lambda: both_alive(one, two), within=5, what="both see both")
    await one.rpc.fire("deploy", b"v2")
    await eventually(lambda: two.user_events("deploy"), within=5, what="the event at two")

    assert two.user_events("deploy")[0]["Payload"] == b"v2"
    assert {m["Name"]: m["Tags"] for m in await two.rpc.members()}["one"] == {"role": "web"}
    assert await two.leave() == 0
    await eventually(lambda: sees(one, "two", "left"), within=5, what="one sees two left")


async def test_a_killed_serf_agent_is_failed_and_can_be_forced_to_left(start_serf: Any) -> None:
    one = await start_serf("one", profile="local")
    two = await start_serf("two", profile="local")
    await two.join([one.gossip])
    await eventually(lambda: both_alive(one, two), within=5, what="both see both")

    await two.process.kill()

    await eventually(lambda: sees(one, "two", "failed"), within=15, what="one sees two failed")
    await one.rpc.force_leave("two")
    await eventually(lambda: sees(one, "two", "left"), within=5, what="one sees two left")


async def test_serf_agents_share_a_keyring(start_serf: Any, tmp_path: Path) -> None:
    files = [tmp_path / "one.keys", tmp_path / "two.keys"]
    for file in files:
        file.write_text(json.dumps([KEY]))
    one = await start_serf("one", keyring=files[0])
    two = await start_serf("two", keyring=files[1])
    await two.join([one.gossip])
    await eventually(lambda: both_alive(one, two), within=5, what="both see both")
    other = base64.b64encode(bytes(32)).decode()

    answer = await one.rpc.keys("install-key", other)

    assert (answer["NumNodes"], answer["NumErr"], answer["NumResp"]) == (2, 0, 2)
    assert json.loads(files[1].read_text()) == [KEY, other]
    assert (await two.rpc.keys("list-keys"))["Keys"] == {KEY: 2, other: 2}


async def test_serf_with_another_key_is_refused_with_its_words(start_serf: Any) -> None:
    one = await start_serf("one", encrypt=KEY)
    two = await start_serf("two")

    with pytest.raises(RpcError, match=r"EOF|reset|encrypt"):
        await two.join([one.gossip])

    assert await one.alive() == {"one"}


async def test_a_consul_server_elects_itself_and_lists_its_event(start_consul: Any) -> None:
    server = await start_consul("server")
    await server.elected()

    event = await server.fire("deploy", b"v2")

    async def listed() -> bool:
        events, _ = await server.events("deploy")
        return [e["ID"] for e in events] == [event] and events[0]["Payload"] == b"v2"

    await eventually(listed, within=5, what="the event in the server's list")
    assert await server.alive() == {"server"}


async def test_a_serf_port_that_is_taken_shows_in_the_failure(start_serf: Any) -> None:
    one = await start_serf("one")

    with pytest.raises(RuntimeError, match=r"(?s)two ended with status 1.*address already in use"):
        await start_serf("two", arguments=[f"-bind=127.0.0.1:{one.gossip[1]}"])


def test_a_missing_peer_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERF_BIN", "/does/not/exist")

    with pytest.raises(PeerMissingError, match=r"'/does/not/exist'.*SERF_BIN"):
        find_peer("serf")


async def both_alive(one: Any, two: Any) -> bool:
    return bool(await one.alive() == await two.alive() == {"one", "two"})


async def sees(one: Any, name: str, status: str) -> bool:
    members: dict[str, str] = await one.members()
    return bool(members.get(name) == status)
