"""Services and checks of an agent that is a process: its files, SIGHUP and SIGKILL."""

from __future__ import annotations

import fcntl
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.http.test_process import client, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.test_process import Process


def get(agent: Process, path: str) -> Any:
    return json.loads(agent.get(f"/v1/agent/{path}")[1])


def put(agent: Process, path: str, body: Any = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    assert agent.get(f"/v1/agent/{path}", "PUT", data) == (200, "")


def test_what_was_acknowledged_survives_a_kill_and_files_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    web: dict[str, Any] = {"name": "web", "check": {"args": ["true"], "interval": "1h"}}
    file.write_text(json.dumps({"service": web, "enable_local_script_checks": True}))
    argv = client(tmp_path, f"-config-file={file}")
    with started(*argv) as agent:
        agent.until("Log data")
        put(agent, "service/register", {"Name": "api", "Check": {"TTL": "1h"}})
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(20)
    with started(*argv) as agent:
        agent.until("Log data")
        assert list(get(agent, "services")) == ["api", "web"]
        assert list(get(agent, "checks")) == ["service:api", "service:web"]
        # A mistake changes nothing; what is right is taken over.
        file.write_text(json.dumps({"service": web}))
        agent.process.send_signal(signal.SIGHUP)
        agent.until("Scripts are disabled on this agent")
        assert list(get(agent, "checks")) == ["service:api", "service:web"]
        file.write_text(json.dumps({"service": {"name": "db", "port": 1}}))
        agent.process.send_signal(signal.SIGHUP)
        agent.until("configuration read again")
        assert list(get(agent, "services")) == ["api", "db"]
        assert list(get(agent, "checks")) == ["service:api"]
        code, _, err = agent.end(signal.SIGTERM)
        assert (code, err) == (0, "")


def test_a_script_ends_with_the_agent_that_stops(tmp_path: Path) -> None:
    """It holds a lock, which nobody else gets for as long as it runs."""
    lock = tmp_path / "lock"
    code = (
        "import fcntl, os, time; file = open(os.environ['LOCK'], 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('locked', flush=True); time.sleep(1000)"
    )
    args = ["env", f"LOCK={lock}", sys.executable, "-c", code]
    with started(*client(tmp_path, "-enable-script-checks")) as agent:
        agent.until("Log data")
        put(agent, "check/register", {"Name": "x", "Args": args, "Interval": "1s"})
        deadline = time.monotonic() + 20
        while not lock.exists() or not is_locked(lock):
            assert time.monotonic() < deadline, "the script did not start"
            time.sleep(0.02)
        status, _, err = agent.end(signal.SIGTERM)
        assert (status, err) == (0, "")
    assert not is_locked(lock)


def is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
