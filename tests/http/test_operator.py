"""``/v1/operator/keyring``, the keyring files behind it, and ``/v1/agent/query``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.keyring import PoolKeys, error_text
from gossip.events import MemberStatus
from gossip.keys import KeyResult
from gossip.wire.keyring import decode_key, encode_key, fingerprint
from tests.helpers_agent import WAN, Answer, TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLD, NEW = encode_key(b"a" * 32), encode_key(b"b" * 32)
PATH = "/v1/operator/keyring"
ROOT = Path(__file__).parents[2]


def ring(agent: TestAgent) -> list[str]:
    keyring = agent.agent.cluster.node.keyring
    assert keyring is not None
    return [encode_key(key) for key in keyring.keys]


def local_file(folder: Path, pool: str = "local") -> Path:
    return folder / "serf" / f"{pool}.keyring"


def keyring_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.keyring"))


async def change(agent: TestAgent, method: str, key: str, query: str = "") -> Answer:
    body = json.dumps({"Key": key}).encode()
    return await agent.ask(method, f"{PATH}{query}", body=body)


async def cli(agent: TestAgent, *argv: str, stdin: str = "") -> tuple[int, str, str]:
    """Run the command line against an agent."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", *argv,
        cwd=ROOT,
        env=os.environ | {"CONSUL_HTTP_ADDR": f"127.0.0.1:{agent.port}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def pair(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[TestAgent, TestAgent]]:
    """A server and a client with one key."""
    folders = {name: str(tmp_path / name) for name in ("server", "client")}
    keys = {"encrypt": OLD} | settings
    async with (
        running("server", data_dir=folders["server"], **WAN, **keys) as server,
        running("client", data_dir=folders["client"], **keys) as client,
    ):
        await client.agent.join(server.gossip)
        await eventually(lambda: len(server.agent.cluster.members()) == 2)
        yield server, client


async def test_servers_keep_both_rings_in_files_and_clients_one(tmp_path: Path) -> None:
    async with pair(tmp_path):
        pass
    for name, pool in (("server", "local"), ("server", "remote"), ("client", "local")):
        path = local_file(tmp_path / name, pool)
        assert json.loads(path.read_text()) == [OLD]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not local_file(tmp_path / "client", "remote").exists()


async def test_disabled_keyring_files_are_not_written(tmp_path: Path) -> None:
    async with pair(tmp_path, disable_keyring_file=True) as (server, _):
        assert (await change(server, "POST", NEW)).status == 200
    assert not keyring_files(tmp_path)


async def test_r46_a_keyring_file_wins_and_the_log_says_so_with_fingerprints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = local_file(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps([OLD]))
    path.chmod(0o600)
    with caplog.at_level(logging.INFO):
        async with running(data_dir=str(tmp_path), encrypt=NEW) as agent:
            assert ring(agent) == [OLD]
    (warning,) = [r.getMessage() for r in caplog.records if "is used, and not" in r.getMessage()]
    assert fingerprint(decode_key(OLD)) in warning
    assert fingerprint(decode_key(NEW)) in warning
    assert OLD not in caplog.text
    assert NEW not in caplog.text


async def test_r46_a_file_without_a_configured_key_encrypts_and_self_shows_it(
    tmp_path: Path,
) -> None:
    path = local_file(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps([OLD]))
    path.chmod(0o600)
    async with running(data_dir=str(tmp_path)) as agent:
        shown = (await agent.get("/v1/agent/self")).json
        assert shown["Stats"]["serf_lan"]["encrypted"] == "true"
        assert agent.agent.encrypted
        assert OLD not in json.dumps(shown)


async def test_without_any_key_there_is_no_file_and_no_encryption(tmp_path: Path) -> None:
    async with running(data_dir=str(tmp_path), **WAN) as agent:
        assert not agent.agent.encrypted
        answer = await agent.get(PATH)
    assert answer.status == 500
    assert "WAN error: 1/1 nodes reported failure" in answer.text
    assert "dc1 (LAN) error: 1/1 nodes reported failure" in answer.text
    assert "one: Keyring is empty (encryption not enabled)" in answer.text
    assert not keyring_files(tmp_path)


async def test_r49_self_warns_as_long_as_a_verify_flag_is_off() -> None:
    async with running(encrypt=OLD, encrypt_verify_incoming=False) as agent:
        stats = (await agent.get("/v1/agent/self")).json["Stats"]
    assert "encrypt_verify_incoming is off" in stats["agent"]["warnings"]


async def test_keys_are_listed_per_pool_the_wan_first(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, _):
        wan, lan = (await server.get(PATH)).json
        (alone,) = (await server.get(f"{PATH}?local-only=true&relay-factor=2")).json
    assert lan == alone
    assert lan == {
        "WAN": False,
        "Datacenter": "dc1",
        "Segment": "",
        "Keys": {OLD: 2},
        "PrimaryKeys": {OLD: 2},
        "NumNodes": 2,
    }
    assert wan == lan | {"WAN": True, "Keys": {OLD: 1}, "PrimaryKeys": {OLD: 1}, "NumNodes": 1}


async def test_a_rotation_reaches_every_member_and_its_file(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, client):
        for method, key, expected in (
            ("POST", NEW, [OLD, NEW]),
            ("POST", NEW, [OLD, NEW]),
            ("PUT", NEW, [NEW, OLD]),
            ("DELETE", OLD, [NEW]),
        ):
            answer = await change(server, method, key)
            assert (answer.status, answer.body) == (200, b"")
            for name, agent in (("server", server), ("client", client)):
                assert sorted(ring(agent)) == sorted(expected)
                assert ring(agent)[0] == expected[0]
                assert json.loads(local_file(tmp_path / name).read_text())[0] == expected[0]
        assert json.loads(local_file(tmp_path / "server", "remote").read_text()) == [NEW]


async def test_refusals_name_pool_and_node(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, _):
        missing = await change(server, "PUT", NEW)
        primary = await change(server, "DELETE", OLD)
    assert (missing.status, primary.status) == (500, 500)
    assert "dc1 (LAN) error: 2/2 nodes reported failure" in missing.text
    assert "client: Requested key is not in the keyring" in missing.text
    assert "server: Removing the primary key is not allowed" in primary.text


async def test_clients_do_not_operate_keyrings(one: TestAgent) -> None:
    answer = await one.get(PATH)
    assert (answer.status, answer.text) == (
        500,
        "keyring operations must run against a server node",
    )


@pytest.mark.parametrize(
    ("method", "query", "body", "status", "text"),
    [
        ("POST", "", b"{", 400, "Request decode failed: the body is not JSON at byte 1"),
        ("POST", "", b"[]", 400, "Request decode failed: the body is not an object"),
        ("PUT", "", b'{"Key":1}', 400, "Request decode failed: Key is not a string"),
        ("POST", "", b"x" * 5000, 413, "The body of the request exceeds the limit of 4096 bytes"),
        ("GET", "?relay-factor=x", None, 400, "Error parsing relay factor: "),
        (
            "GET",
            "?relay-factor=6",
            None,
            400,
            "Invalid relay-factor: Relay factor must be in range",
        ),
        ("GET", "?local-only=x", None, 400, "Error parsing local-only: "),
        ("PUT", "?local-only=1", b'{"Key":"x"}', 400, "Invalid use of local-only: "),
        ("POST", "", b'{"Key":"c2hvcnQ="}', 500, ""),
        ("POST", "", b"{}", 500, ""),
    ],
)
async def test_mistakes_are_told_without_the_key(
    method: str, query: str, body: bytes | None, status: int, text: str
) -> None:
    async with running(encrypt=OLD, **WAN) as agent:
        answer = await agent.ask(method, f"{PATH}{query}", body=body)
    assert answer.status == status
    assert answer.text.startswith(text)
    assert "c2hvcnQ=" not in answer.text


async def test_listing_keys_is_guarded_like_a_change() -> None:
    async with running(encrypt=OLD, **WAN) as agent:
        answer = await agent.get(PATH, Origin="http://evil.example")
    assert answer.status == 403
    assert OLD not in answer.text


def test_members_that_do_not_answer_are_named() -> None:
    result = KeyResult(num_nodes=2, num_responses=1, answered=["a"], missing=["b"])
    assert error_text([PoolKeys.of(result, "dc1")]) == (
        "2 errors occurred:\n\t* dc1 (LAN) error: 1/2 nodes reported success\n\t* b: no answer\n\n"
    )


# The command line


async def test_r47_rotate_moves_everybody_and_shows_fingerprints_only(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, client):
        code, out, err = await cli(server, "keyring", "-rotate", "-", stdin=f"{NEW}\n")
        assert (code, err) == (0, "")
        assert ring(server) == ring(client) == [NEW]
        code, listed, _ = await cli(server, "keyring", "-list", "-local-only")
    pools, *steps = out.splitlines()
    assert pools == "pools    WAN, dc1 (LAN)"
    assert [line.split() for line in steps] == [
        ["install", fingerprint(decode_key(NEW)), "ok"],
        ["use", fingerprint(decode_key(NEW)), "ok"],
        ["verify", fingerprint(decode_key(NEW)), "ok"],
        ["remove", fingerprint(decode_key(OLD)), "ok"],
    ]
    assert listed == (f"==> Gathering installed encryption keys...\n\ndc1 (LAN):\n  {NEW} [2/2]\n")


async def test_r47_rotate_keeps_the_old_key_while_a_member_is_down(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, client):
        await client.agent.stop()

        def failed() -> bool:
            member = server.agent.cluster.member("client")
            return member is not None and member.status is MemberStatus.FAILED

        await eventually(failed, seconds=20)
        code, out, err = await cli(server, "keyring", "-rotate", "-format=json")
        assert (code, err) == (1, "")
        assert ring(server)[0] == OLD
    result = json.loads(out)
    assert [(step["Action"], step["OK"]) for step in result["Steps"]] == [
        ("install", True),
        ("use", False),
    ]
    assert result["Steps"][1]["Problem"].startswith("client failed and would come back")
    assert OLD not in out


async def test_reachability_and_queries_from_the_command_line(tmp_path: Path) -> None:
    async with pair(tmp_path) as (server, client):
        client.agent.cluster.on_query("load", lambda query: b"load of " + query.payload)
        reach, query = await asyncio.gather(
            cli(client, "reachability", "-format=json"),
            cli(server, "query", "-timeout=1s", "load", "now"),
        )
    assert json.loads(reach[1]) == {
        "OK": True,
        "Live": ["client", "server"],
        "Acks": ["client", "server"],
        "Missing": [],
    }
    lines = query[1].splitlines()
    assert lines[0] == "Query 'load' dispatched"
    assert sorted(lines[1:-2]) == [
        "Ack from 'client'",
        "Ack from 'server'",
        "Response from 'client': load of now",
    ]
    assert lines[-2:] == ["Total Acks: 2", "Total Responses: 1"]


# Queries


async def test_a_query_collects_acks_and_answers(one: TestAgent) -> None:
    one.agent.cluster.on_query("load", lambda _query: b"\x00\xff")
    answer = await one.put("/v1/agent/query/load?ack&timeout=300ms&node=one&tag=dc=dc1")
    assert answer.json == {
        "Name": "load",
        "Replies": [
            {"Type": "ack", "From": "one", "Payload": None},
            {"Type": "response", "From": "one", "Payload": "AP8="},
        ],
        "Truncated": False,
    }


@pytest.mark.parametrize("zero", ["0", "0s"])
async def test_a_timeout_of_zero_is_the_default_as_in_serf(one: TestAgent, zero: str) -> None:
    answer = await one.put(f"/v1/agent/query/load?ack&timeout={zero}")
    assert [reply["From"] for reply in answer.json["Replies"]] == ["one"]


async def test_a_filter_that_excludes_everybody_gets_no_reply(one: TestAgent) -> None:
    answer = await one.put("/v1/agent/query/load?ack&timeout=200ms&node=other")
    assert answer.json["Replies"] == []


@pytest.mark.parametrize(
    ("target", "body", "status", "text"),
    [
        ("", b"", 400, "Missing name"),
        ("_serf_install-key", b"", 400, "Queries _serf_... belong to the protocol"),
        ("_serf_list-keys", b"", 400, "Queries _serf_... belong to the protocol"),
        ("a?timeout=5", b"", 400, "Invalid timeout"),
        ("a?timeout=61s", b"", 400, "Invalid timeout"),
        ("a?timeout=-1s", b"", 400, "Invalid timeout"),
        ("a?tag=x", b"", 400, "Invalid tag"),
        ("a?tag=role=(", b"", 400, "Invalid tag: error parsing regexp: missing ): ("),
        ("a?relay-factor=9", b"", 400, "Invalid relay-factor"),
        ("a", b"x" * 1025, 413, "The body of the request exceeds"),
    ],
)
async def test_queries_that_are_not_sent(
    one: TestAgent, target: str, body: bytes, status: int, text: str
) -> None:
    answer = await one.put(f"/v1/agent/query/{target}", body)
    assert answer.status == status
    assert answer.text.startswith(text)


async def test_queries_beyond_the_limit_are_told_to_come_back(
    one: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.agent.MAX_ASKING", 1)
    with one.agent.asking():
        refused = await one.put("/v1/agent/query/a?timeout=50ms")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert (await one.put("/v1/agent/query/a?timeout=50ms")).status == 200
