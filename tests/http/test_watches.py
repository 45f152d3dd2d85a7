"""The watches of an agent: its own endpoints, handlers one after the other, reload and the end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent.decode import Body
from agent.http.app import HttpServer
from agent.watches.plan import watch_definition
from agent.watches.watcher import Watches
from tests.helpers_agent import TestAgent, eventually, running
from tests.helpers_forward import join, stats
from tests.helpers_processes import is_alive, pid_in
from tests.http.test_process import client, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.watches.plan import Plan


def plan(kind: str = "event", **keys: Any) -> Plan:
    return watch_definition(Body({"type": kind} | keys))


def shell(text: str, kind: str = "event", **keys: Any) -> Plan:
    return plan(kind, args=["sh", "-c", text], **keys)


@asynccontextmanager
async def watching(one: TestAgent, *plans: Plan) -> AsyncIterator[Watches]:
    """The watches that an agent has while it runs."""
    watches = one.agent.watches = Watches(one.http.ask)
    watches.follow(plans)
    try:
        yield watches
    finally:
        await watches.close()


def told(file: Path) -> list[Any]:
    """What a handler got that appends its stdin to a file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# Handlers that are programs


async def test_a_program_gets_what_is_there_and_then_each_new_event_once(tmp_path: Path) -> None:
    file, indexes = tmp_path / "told", tmp_path / "indexes"
    async with running() as one:
        await one.agent.fire("deploy", b"v0")
        await eventually(lambda: one.agent.events.index() > 1)
        text = f"echo $CONSUL_INDEX >>{indexes}; cat >>{file}"
        async with watching(one, shell(text, name="deploy")) as watches:
            await eventually(lambda: len(told(file)) == 1)
            for number in (1, 2, 3):
                await one.agent.fire("other")
                await one.agent.fire("deploy", f"v{number}".encode())
                await eventually(lambda number=number: len(told(file)) == number + 1)
            stats = watches.stats()
        events = (await one.get("/v1/event/list?name=deploy")).json
        index = (await one.get("/v1/event/list?name=deploy")).index

    assert told(file) == [[event] for event in events]
    assert indexes.read_text().splitlines()[-1] == str(index)
    assert stats["handled"] == 4
    assert (stats["watching"], stats["errors"], stats["handlers_failed"]) == (1, 0, 0)


async def test_runs_never_overlap_and_what_happens_meanwhile_is_told_together(
    tmp_path: Path,
) -> None:
    log, file, gate = tmp_path / "log", tmp_path / "told", tmp_path / "gate"
    os.mkfifo(gate)
    text = f"echo begin >>{log}; cat >>{file}; cat {gate} >/dev/null; echo end >>{log}"
    async with running() as one, watching(one, shell(text)) as watches:

        async def open_gate() -> None:
            await asyncio.to_thread(gate.write_text, "go")

        await eventually(lambda: len(told(file)) == 1)
        for number in range(3):
            await one.agent.fire(f"e{number}")
        await eventually(lambda: len(one.agent.events.recent()) == 3)
        assert watches.stats()["handling"] == 1
        assert log.read_text() == "begin\n"
        await open_gate()
        await eventually(lambda: len(told(file)) == 2)
        await open_gate()
        await eventually(lambda: log.read_text() == "begin\nend\n" * 2)

    assert [event["Name"] for event in told(file)[1]] == ["e0", "e1", "e2"]


async def test_a_program_that_fails_is_counted_and_logged_and_runs_the_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "agent.watches")
    text = "head -c 100000 /dev/zero | tr '\\0' x; echo end >&2; exit 3"
    plans = (shell(text), plan(args=["/nonexistent/x"]))
    async with running() as one, watching(one, *plans) as watches:
        await eventually(lambda: watches.stats()["handlers_failed"] == 2)
        await one.agent.fire("again")
        await eventually(lambda: watches.stats()["handlers_failed"] == 4)
        stats = (await one.get("/v1/agent/self")).json["Stats"]["watches"]

    assert stats["handlers_failed"] == "4"
    assert "watch handler failed handler=sh code=3" in caplog.text
    assert "handler=/nonexistent/x error=No such file or directory" in caplog.text
    said = next(r.getMessage() for r in caplog.records if "watch handler said" in r.getMessage())
    assert "Captured 4096 of 100004 bytes" in said
    assert len(said) < 5000


async def test_the_end_of_the_agent_ends_the_whole_group_of_a_program(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with running() as one:
        async with watching(one, shell(f"sleep 1000 & echo $! >{file}; wait")):
            child = await pid_in(file)
        await eventually(lambda: not is_alive(child))


# Handlers that are servers


class Receiver:
    """A server that answers each request with the next of its answers."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.splitlines()
        headers = {key.lower(): value for key, value in (one.split(": ", 1) for one in rest if one)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((line, headers, body))
        answer = self.answers.pop(0) if self.answers else b"200 OK"
        if answer:
            writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 2\r\n\r\nhi")
            await writer.drain()
            writer.close()
        else:
            await reader.read()  # until the other side has had enough
            writer.close()

    def plan(self, **config: Any) -> Plan:
        path = f"http://127.0.0.1:{self.port}/hook?s3cret"
        return plan(handler_type="http", http_handler_config={"path": path} | config)


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[Receiver]:
    receiver = Receiver(*answers)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


async def test_a_server_gets_the_same_as_a_request() -> None:
    async with running() as one, receiving() as receiver:
        header = {"X-A": ["b", "c"], "content-type": ["text/plain"]}
        async with watching(one, receiver.plan(header=header)) as watches:
            await one.agent.fire("deploy", b"v1")
            await eventually(lambda: receiver.requests[-1:] and "deploy" in str(receiver.requests))
            await eventually(lambda: watches.stats()["handling"] == 0)
            assert watches.stats()["handlers_failed"] == 0
        answer = await one.get("/v1/event/list")

    line, headers, body = receiver.requests[-1]
    assert line == "POST /hook?s3cret HTTP/1.1"
    assert json.loads(body) == answer.json
    assert headers["x-consul-index"] == str(answer.index)
    assert (headers["content-type"], headers["x-a"]) == ("text/plain", "c")


async def test_a_server_that_refuses_or_redirects_or_sleeps_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "agent.watches")
    answers = (b"500 No", b"307 X\r\nLocation: /elsewhere", b"")
    async with (
        running() as one,
        receiving(*answers) as receiver,
        watching(one, receiver.plan(timeout="2s")) as watches,
    ):
        for failures in (1, 2, 3):
            await eventually(
                lambda failures=failures: watches.stats()["handlers_failed"] == failures
            )
            await one.agent.fire("again")
        await eventually(lambda: len(receiver.requests) == 4)

    assert "watch handler failed host=127.0.0.1 status=500 output=hi" in caplog.text
    assert "status=307" in caplog.text
    assert "/elsewhere" not in str(receiver.requests)
    assert 'not reached host=127.0.0.1 error="no answer within 2s"' in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_server_that_is_not_there_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    gone = {"path": "http://127.0.0.1:1/hook"}
    refused = plan(handler_type="http", http_handler_config=gone)
    async with running() as one, watching(one, refused) as watches:
        await eventually(lambda: watches.stats()["handlers_failed"] == 1)
    assert "connection refused" in caplog.text


# What is watched


async def test_members_nodes_services_and_checks_are_watched_over_no_connection(
    leader: TestAgent, tmp_path: Path
) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "members": {},
        "nodes": {},
        "services": {},
        "checks": {"state": "critical"},
        "service": {"service": "web", "tag": ["a"]},
    }
    plans = [shell(f"cat >>{tmp_path / kind}", kind, **keys) for kind, keys in kinds.items()]
    async with watching(leader, *plans) as watches:
        await eventually(lambda: all(told(tmp_path / kind) for kind in kinds))
        body = {
            "Node": "db",
            "Address": "10.0.0.9",
            "Service": {"Service": "web", "Tags": ["a"]},
            "Check": {"Name": "c", "Status": "critical"},
        }
        answer = await leader.put("/v1/catalog/register", json.dumps(body).encode())
        assert answer.status == 200
        async with running("two", server=False) as two:
            await two.agent.join(leader.gossip)
            await eventually(
                lambda: {m["Name"] for m in told(tmp_path / "members")[-1]} == {"lead", "two"}
            )
        await eventually(lambda: told(tmp_path / "service")[-1])
        await eventually(lambda: told(tmp_path / "checks")[-1])
        await eventually(lambda: "web" in told(tmp_path / "services")[-1])
        assert watches.stats()["errors"] == 0

    (instance,) = told(tmp_path / "service")[-1]
    assert (instance["Node"]["Node"], instance["Service"]["Tags"]) == ("db", ["a"])
    assert [check["Name"] for check in told(tmp_path / "checks")[-1]] == ["c"]
    assert "db" in {node["Node"] for node in told(tmp_path / "nodes")[-1]}


@pytest.mark.usefixtures("no_sync")  # whose requests would be counted too
async def test_on_a_client_the_leader_answers_when_something_changes(
    leader: TestAgent, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    async with running("two") as two:
        await join(two, leader)
        async with watching(two, shell(f"cat >>{file}", "services")) as watches:
            await eventually(lambda: told(file))
            body = {"Node": "db", "Address": "10.0.0.9", "Service": {"Service": "web"}}
            await leader.put("/v1/catalog/register", json.dumps(body).encode())
            await eventually(lambda: "web" in told(file)[-1])
            assert watches.stats()["errors"] == 0
        assert stats(leader)["served"] <= 4  # the leader waits instead of being asked every second


async def test_what_only_a_leader_knows_is_asked_again_later_where_there_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as one, watching(one, shell("true", "nodes")) as watches:
        await eventually(lambda: watches.stats()["errors"] == 1)
        assert watches.stats()["handled"] == 0
    assert "watch failed type=nodes" in caplog.text
    assert "retry=5s" in caplog.text


async def test_a_watch_needs_no_listener_and_passes_no_rule_about_clients(tmp_path: Path) -> None:
    file = tmp_path / "told"
    rules = {"block_endpoints": ("/v1/",)}
    async with running(http_config=rules) as one:
        unheard = HttpServer(one.agent)
        watches = Watches(unheard.ask)
        watches.follow([shell(f"cat >>{file}", "members")])
        await eventually(lambda: told(file))
        await watches.close()
        await unheard.close()
    assert told(file)[0][0]["Name"] == "one"


# Reload


async def test_a_reload_starts_and_stops_watches_and_leaves_the_others_alone(
    tmp_path: Path,
) -> None:
    stays, goes, comes = (
        shell(f"echo $$ >>{tmp_path / name}; cat >/dev/null; exec sleep 1000")
        for name in ("stays", "goes", "comes")
    )
    async with running() as one, watching(one, stays, stays, goes) as watches:
        leaving = await pid_in(tmp_path / "goes")
        await eventually(lambda: len((tmp_path / "stays").read_text().split()) == 2)
        watches.follow([stays, comes, stays])
        await pid_in(tmp_path / "comes")
        await eventually(lambda: not is_alive(leaving))
        pids = (tmp_path / "stays").read_text().split()
        assert len(pids) == 2
        assert all(is_alive(int(pid)) for pid in pids)
        assert watches.stats()["watching"] == 3
        await eventually(lambda: watches.stats()["handling"] == 3)


def test_watches_of_a_process_come_from_its_files_change_with_them_and_end_with_it(
    tmp_path: Path,
) -> None:
    settings = tmp_path / "settings.json"

    def write(name: str) -> None:
        text = f"cat >/dev/null; sleep 1000 & echo $! >{tmp_path / name}; wait"
        settings.write_text(json.dumps({"watches": [{"type": "event", "handler": text}]}))

    def child(name: str) -> int:
        return asyncio.run(pid_in(tmp_path / name))

    write("first")
    with started(*client(tmp_path, f"-config-file={settings}")) as agent:
        agent.until("Log data")
        first = child("first")
        write("second")
        agent.process.send_signal(signal.SIGHUP)
        second = child("second")
        asyncio.run(eventually(lambda: not is_alive(first)))
        assert json.loads(agent.get("/v1/agent/self")[1])["Stats"]["watches"]["watching"] == "1"
        assert is_alive(second)
        code, _, err = agent.end(signal.SIGTERM)
        asyncio.run(eventually(lambda: not is_alive(second)))
    assert (code, err) == (0, "")


def test_a_mistake_in_a_watch_is_named_and_no_token_shown(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    watches = [{"type": "event", "args": ["x"]}, {"type": "nodes", "token": "s3cret"}]
    settings.write_text(json.dumps({"watches": watches}))
    with started(*client(tmp_path, f"-config-file={settings}")) as agent:
        code, out, err = agent.end()
    assert code == 1
    assert "key watches: number 2: Must define a watch handler" in err
    assert "s3cret" not in out + err
