"""The agent as a process: banner, signals, exit codes, files."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from simulations.peers import RpcError, SerfRpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = (
    "import sys\n"
    "from agent.config_parse import parse\n"
    "from agent.run import run\n"
    "from gossip.errors import GossipError\n"
    "try:\n"
    "    sys.exit(run(parse(sys.argv[1:]), reload=lambda: parse(sys.argv[1:])))\n"
    "except GossipError as error:\n"
    "    sys.exit(f'error: {error}')\n"
)

STUCK_RESOLVER = (
    "import socket, time\n"
    "really = socket.getaddrinfo\n"
    "def getaddrinfo(host, *args, **options):\n"
    "    if 'slow' in str(host) and not options.get('flags', 0) & socket.AI_NUMERICHOST:\n"
    "        print('looking up', flush=True)\n"
    "        time.sleep(300)\n"
    "    return really(host, *args, **options)\n"
    "socket.getaddrinfo = getaddrinfo\n"
    "import agent.run\n"
    "agent.run._loop_factory = lambda: None\n"  # uvloop has a resolver of its own
)


class Process:
    """A started agent and what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def until(self, pattern: str, seconds: float = 20) -> re.Match[str]:
        """Read output until a line matches."""
        deadline = time.monotonic() + seconds
        assert self.process.stdout is not None
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            assert line, f"ended without {pattern!r}: {self.lines} {self.process.stderr}"
            self.lines.append(line.rstrip("\n"))
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} did not come: {self.lines}")

    @property
    def port(self) -> int:
        return self._banner_port("HTTP")

    @property
    def lan_port(self) -> int:
        return self._banner_port("LAN")

    def _banner_port(self, name: str) -> int:
        for line in self.lines:
            if found := re.search(rf"{name}: (\d+)", line):
                return int(found[1])
        raise AssertionError(self.lines)

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own agent
            return answer.status, answer.read().decode()

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Exit code, rest of the output and what came on stderr, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


ANY_PORTS = ("-http-port=0", "-serf-lan-port=0", "-serf-wan-port=0", "-server-port=0")


@contextmanager
def started(*argv: str, before: str = "", code: str = RUN) -> Iterator[Process]:
    """An agent on ports of the system's choice; something may be done to its process before."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + code, *ANY_PORTS, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Process(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def client(tmp_path: Path, *argv: str) -> list[str]:
    return ["-bind=127.0.0.1", f"-data-dir={tmp_path / 'data'}", "-node=web-1", *argv]


def test_the_banner_comes_first_and_names_everything(tmp_path: Path) -> None:
    with started(*client(tmp_path)) as agent:
        agent.until("==> Log data will now stream in as it occurs:")
        assert agent.lines[0] == "==> Consul agent running!"
        text = "\n".join(agent.lines)
        for pattern in (
            r"Node name: web-1$",
            r"Datacenter: dc1$",
            r"Server: false \(bootstrap: false\)$",
            r"Client Addr: 127\.0\.0\.1 \(HTTP: \d+, ",
            r"Cluster Addr: 127\.0\.0\.1 \(LAN: \d+, WAN: -1\)$",
            r"Encrypt: Gossip: false",
        ):
            assert re.search(pattern, text, re.MULTILINE), pattern
        assert agent.get("/v1/status/leader") == (200, '""')


def test_the_banner_of_a_server_shows_the_port_of_its_wan_pool() -> None:
    with started("-dev") as agent:
        agent.until("Log data")
        (wan_port,) = re.findall(r"WAN: (\d+)", "\n".join(agent.lines))
        assert f'"SerfWan":{wan_port}' in agent.get("/v1/agent/self")[1].replace(" ", "")


def test_a_taken_wan_port_ends_the_start_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with started("-dev", f"-serf-wan-port={port}") as agent:
            code, _, err = agent.end()
    assert code == 1
    assert "cannot bind the gossip address" in err
    assert str(port) in err


@pytest.mark.parametrize("asked_for", ["a seed", "a check"])
def test_name_servers_that_do_not_answer_hold_up_no_end(tmp_path: Path, asked_for: str) -> None:
    check = {"check": {"name": "x", "tcp": "slow.example:80", "interval": "1s"}}
    (tmp_path / "check.json").write_text(json.dumps(check))
    asking = {
        "a seed": "-retry-join=slow.example",
        "a check": f"-config-file={tmp_path / 'check.json'}",
    }
    with started("-dev", asking[asked_for], before=STUCK_RESOLVER) as agent:
        agent.until("^looking up")
        code, out, _ = agent.end(signal.SIGTERM)
        assert code == 1
        assert "not waiting for threads" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_h12_a_client_leaves_on_either_signal_with_code_0_and_a_clean_stderr(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started(*client(tmp_path)) as agent:
        agent.until("Log data")
        agent.get("/v1/agent/self")
        code, out, err = agent.end(number)
        assert (code, err) == (0, "")
        assert "leaving the pool" in out
        assert out.rstrip().endswith("agent.run: stopped exit=0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_stays_a_member_and_stops_with_code_1(number: signal.Signals) -> None:
    with started("-dev") as agent:
        agent.until("Log data")
        code, out, err = agent.end(number)
        assert (code, err) == (1, "")
        assert "leaving the pool" not in out
        assert out.rstrip().endswith("agent.run: stopped exit=1")


def test_h12_stopping_with_blocked_and_idle_connections_leaves_stderr_clean(
    tmp_path: Path,
) -> None:
    with started("-dev") as agent:
        agent.until("Log data")
        with (
            socket.create_connection(("127.0.0.1", agent.port)) as blocked,
            socket.create_connection(("127.0.0.1", agent.port)) as silent,
        ):
            blocked.sendall(b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            silent.sendall(b"GET")
            agent.get("/v1/agent/self")
            began = time.monotonic()
            code, _, err = agent.end(signal.SIGTERM)
        assert (code, err) == (1, "")
        assert time.monotonic() - began < 5


def test_a_second_signal_stops_at_once_with_code_1(tmp_path: Path) -> None:
    other = ["-bind=127.0.0.1", f"-data-dir={tmp_path / 'other'}", "-node=web-2"]
    with started(*client(tmp_path, "-log-level=debug")) as agent, started(*other) as peer:
        agent.until("Log data")
        peer.until("Log data")
        # Alone it would have nobody to take leave of, and be gone before a second signal.
        agent.get(f"/v1/agent/join/127.0.0.1:{peer.lan_port}", "PUT")
        agent.process.send_signal(signal.SIGINT)
        agent.until("leaving the pool")
        began = time.monotonic()
        code, out, err = agent.end(signal.SIGINT)
        assert (code, err) == (1, "")
        assert "second signal" in out
        assert time.monotonic() - began < 2.5  # less than a leave takes


def test_a_leave_over_http_ends_the_process_with_code_0(tmp_path: Path) -> None:
    with started(*client(tmp_path)) as agent:
        agent.until("Log data")
        assert agent.get("/v1/agent/leave", "PUT") == (200, "")
        code, _, err = agent.end()
        assert (code, err) == (0, "")


def test_hup_reads_the_log_level_again_and_keeps_running(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"log_level": "INFO"}')
    with started(*client(tmp_path, f"-config-file={settings}")) as agent:
        agent.until("Log data")
        settings.write_text('{"log_level": "DEBUG"}')
        agent.process.send_signal(signal.SIGHUP)
        agent.until("configuration read again log_level=DEBUG")
        agent.get("/v1/agent/self")
        agent.until("method=GET url=/v1/agent/self")
        settings.write_text("{")
        agent.process.send_signal(signal.SIGHUP)
        agent.until("configuration not read again")
        assert agent.get("/")[0] == 200


def test_hup_during_the_start_is_a_reload_after_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from agent import cli\n"
        "from agent.commands import agent\n"
        "parse = agent.parse\n"
        "def reading(argv):\n"
        "    agent.parse = parse\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return parse(argv)\n"
        "agent.parse = reading\n"
        "sys.argv[1:1] = ['agent']\n"
        "sys.exit(cli.main())\n"
    )
    with started(*client(tmp_path), code=code) as agent:
        agent.until("configuration read again")
        assert agent.get("/v1/status/leader") == (200, '""')


def test_reload_takes_over_tags_and_rules_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"tags": {"zone": "eu"}}')
    with started(*client(tmp_path, f"-config-file={settings}", "-tag=rack=1=a")) as agent:
        agent.until("Log data")

        def tags() -> dict[str, str]:
            shown: dict[str, str] = json.loads(agent.get("/v1/agent/self")[1])["Member"]["Tags"]
            return {name: shown[name] for name in ("zone", "rack", "dc") if name in shown}

        before = tags()
        settings.write_text(
            '{"tags": {"zone": "us"}, "datacenter": "east",'
            ' "http_config": {"block_endpoints": ["/v1/status/leader"]}}'
        )
        assert agent.get("/v1/agent/reload", "PUT") == (200, "")
        agent.until("need a restart .*keys=datacenter")
        after = tags()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            agent.get("/v1/status/leader")

        settings.write_text('{"tags": {"role": "x"}, "log_levle": "DEBUG"}')
        with pytest.raises(urllib.error.HTTPError, match="500") as refused:
            agent.get("/v1/agent/reload", "PUT")
        text = refused.value.read().decode()

        assert '"role" is a tag that the agent sets itself' in text
        assert "unknown key log_levle" in text
        assert (before, after, tags()) == (
            {"zone": "eu", "rack": "1=a", "dc": "dc1"},
            {"zone": "us", "rack": "1=a", "dc": "dc1"},
            after,
        )


def test_a_start_join_that_reaches_nobody_ends_with_code_1(tmp_path: Path) -> None:
    with started(*client(tmp_path, "-join=127.0.0.1:1")) as agent:
        code, out, err = agent.end()
        assert code == 1
        assert "Failed to join 127.0.0.1:1" in err
        assert "agent running" not in out


def test_a_retry_join_that_is_exhausted_ends_with_code_1(tmp_path: Path) -> None:
    argv = ("-retry-join=127.0.0.1:1", "-retry-max=2", "-retry-interval=50ms")
    with started(*client(tmp_path, *argv)) as agent:
        code, out, err = agent.end()
        assert (code, err) == (1, "")
        assert "==> Consul agent running!" in out
        assert "join failed attempt=2" in out


def test_a_busy_port_ends_with_code_1_and_its_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for flag, which in (("-http-port", "HTTP"), ("-serf-lan-port", "gossip")):
            key = (
                " (ports.http)" if which == "HTTP" else ""
            )  # the other has the LAN's and the WAN's
            with started(*client(tmp_path, f"{flag}={port}")) as agent:
                code, _, err = agent.end()
                assert code == 1
                assert f"cannot bind the {which} address{key}: " in err
                assert "Traceback" not in err


def test_the_data_directory_is_made_and_locked(tmp_path: Path) -> None:
    with started(*client(tmp_path)) as first:
        first.until("Log data")
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "data" / "node-id").exists()
        with started(*client(tmp_path)) as second:
            code, _, err = second.end()
            assert code == 1
            assert "in use by another agent" in err
        assert first.get("/")[0] == 200
        assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with started(*client(tmp_path)) as third:  # the lock of a killed process is free
        third.until("Log data")


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with started(*client(tmp_path), f"-data-dir={tmp_path / 'file' / 'data'}") as agent:
        code, _, err = agent.end()
        assert code == 1
        assert f"cannot use data_dir {tmp_path / 'file' / 'data'}" in err


def test_the_pid_file_is_there_while_the_agent_runs(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.pid"
    with started("-dev", f"-pid-file={path}") as agent:
        agent.until("Log data")
        assert int(path.read_text()) == agent.process.pid
        agent.end(signal.SIGTERM)
    assert not path.exists()


def test_a_public_bind_without_a_key_is_warned_about(tmp_path: Path) -> None:
    argv = ("-advertise=8.8.8.8",)
    with started(*client(tmp_path, *argv)) as agent:
        agent.until(r"\[WARN\].*gossip is not encrypted")
    with started(*client(tmp_path, *argv, "-encrypt=cg8StVXbQJ0gPvMd9o7yrg==")) as agent:
        agent.until("Log data")
        agent.get("/")
        _, out, err = agent.end(signal.SIGTERM)
        assert "not encrypted" not in out
        assert "cg8StVXbQJ0gPvMd9o7yrg" not in out + err


def test_nothing_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, agent.run\n"
        "early = {'re2', 'cryptography', 'uvloop', 'aiohttp.web', 'logging.handlers'}\n"
        "print(sorted(early & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=20
    )
    assert found.stdout == "[]\n"


def test_a_client_process_forwards_to_a_server_process(tmp_path: Path) -> None:
    key = "-encrypt=" + "A" * 43 + "="
    with (
        started("-dev", "-node=server", key) as server,
        started(*client(tmp_path, key)) as web,
    ):
        for agent in (server, web):
            agent.until("data will now stream")
        web.get(f"/v1/agent/join/127.0.0.1:{server.lan_port}", "PUT")
        with pytest.raises(urllib.error.HTTPError) as caught:
            web.get("/v1/event/fire/x?dc=dc2", "PUT")
        text = caught.value.read().decode()
        assert (caught.value.code, text) == (500, "rpc error making call: No path to datacenter")
        assert '"served":"1"' in server.get("/v1/agent/self")[1].replace(" ", "")


def test_a_busy_server_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(*client(tmp_path, "-server", f"-server-port={port}")) as agent:
            code, _, errors = agent.end()
    assert code == 1
    assert "cannot bind the server address (ports.server): " in errors


def test_a_server_without_a_port_takes_nothing(tmp_path: Path) -> None:
    with started(*client(tmp_path, "-server", "-server-port=-1")) as agent:
        agent.until("data will now stream")
        assert '"port"' not in agent.get("/v1/agent/members")[1]


def test_serfs_rpc_opens_with_the_agent_and_its_key_appears_nowhere(tmp_path: Path) -> None:
    flags = ("-rpc-addr=127.0.0.1:0", "-rpc-auth=s3cret-key", "-log-level=debug")
    with started(*client(tmp_path, *flags)) as agent:
        port = int(agent.until(r"RPC listens address=127\.0\.0\.1:(\d+)")[1])
        lines = asyncio.run(_watch_and_leave(port))
        code, out, err = agent.end()
    assert (code, err) == (0, "")
    assert any(
        re.fullmatch(r"..../../.. ..:..:.. \[INFO\] agent\..*RPC listens.*", line) for line in lines
    )
    assert any("[DEBUG]" in line for line in lines)
    assert "s3cret-key" not in "\n".join((out, *agent.lines, *lines))


async def _watch_and_leave(port: int) -> list[str]:
    with pytest.raises(RpcError, match="Invalid authentication token"):
        await SerfRpc(("127.0.0.1", port), auth_key="s3cret-kez").connect()
    lines: list[str] = []
    async with SerfRpc(("127.0.0.1", port), auth_key="s3cret-key") as rpc:
        await rpc.subscribe("monitor", {"LogLevel": "debug"}, lambda r: lines.append(r["Log"]))
        await rpc.leave()
    return lines


def test_a_taken_rpc_port_ends_the_start_with_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with started(*client(tmp_path, f"-rpc-addr={address}")) as agent:
            code, _, err = agent.end()
    assert code == 1
    assert "cannot bind rpc_addr" in err


class Killed:
    """The block goes on until the agent is gone; an answer that is an error is an error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        gone = isinstance(error, OSError | http.client.HTTPException)
        return gone and not isinstance(error, urllib.error.HTTPError)


def test_a_killed_leader_has_every_registration_that_it_acknowledged(tmp_path: Path) -> None:
    leader = ["-bind=127.0.0.1", f"-data-dir={tmp_path / 'data'}", "-node=lead"]
    acknowledged: list[str] = []
    for life in range(2):
        with started(*leader, "-server", "-bootstrap") as agent:
            agent.until("==> Log data will now stream in as it occurs:")
            names = {node["Node"] for node in json.loads(agent.get("/v1/catalog/nodes")[1])}
            assert set(acknowledged) <= names
            killer = threading.Timer(0.4, agent.process.kill)
            number = 0
            with Killed():
                while True:
                    name = f"life{life}-{number}"
                    body = json.dumps({"Node": name, "Address": "10.0.0.1"}).encode()
                    assert agent.get("/v1/catalog/register", "PUT", body) == (200, "true")
                    acknowledged.append(name)
                    number += 1
                    if number == 1:
                        killer.start()
            killer.join()
    with started(*leader, "-server", "-bootstrap") as agent:
        agent.until("==> Log data will now stream in as it occurs:")
        names = {node["Node"] for node in json.loads(agent.get("/v1/catalog/nodes")[1])}
        assert set(acknowledged) <= names


def test_a_damaged_catalog_ends_the_start_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.db").write_bytes(b"no database " * 1000)
    with started(
        "-bind=127.0.0.1", f"-data-dir={tmp_path / 'data'}", "-server", "-bootstrap"
    ) as agent:
        code, _, err = agent.end()
    assert code == 1
    assert "catalog.db is damaged: file is not a database. Move the file" in err
