"""Child processes: ended with their owner whatever happens, their output kept and handed on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from simulations.local.process import Process
from simulations.local.wait import eventually
from tests.helpers_processes import is_alive

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
WITH_CHILD = (
    "import subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
    "print(child.pid, flush=True); time.sleep(60)"
)
PARENT = """
import asyncio, sys
from pathlib import Path
from simulations.local.process import Process

async def main():
    async with Process("child", ["sleep", "60"], log=Path(sys.argv[1])) as child:
        print(child.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def python(code: str, log: Path, **settings: object) -> Process:
    return Process("child", [sys.executable, "-c", code], log=log, **settings)  # type: ignore[arg-type]  # test settings


async def test_an_exception_in_the_block_ends_the_child_and_what_it_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = python(WITH_CHILD, log)

    async def fail_inside() -> None:
        async with child:
            await eventually(lambda: numbers(log), within=10, what="its child's pid")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()

    assert not child.running
    assert child.exit_status == -signal.SIGKILL
    await eventually(lambda: not is_alive(numbers(log)), within=5, what="the grandchild ends too")


async def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT, str(tmp_path / "child")]
    async with Process("parent", command, log=log) as parent:
        pid = await eventually(lambda: numbers(log), within=10, what="the child's pid")
        assert is_alive(pid)

        os.kill(parent.pid, signal.SIGKILL)

        await eventually(lambda: not is_alive(pid), within=5, what="the child ends with its parent")


def numbers(log: Path) -> int:
    """The last line of a log as a number, 0 while there is none."""
    lines = [line for line in log.read_text().splitlines() if line.isdigit()]
    return int(lines[-1]) if lines else 0


async def test_the_watcher_gets_all_output_with_times_and_the_log_keeps_it(tmp_path: Path) -> None:
    seen: list[tuple[float, bytes]] = []
    before = time.monotonic()

    async with python(
        "for i in range(20000): print(i)", tmp_path / "log", watch=lambda t, o: seen.append((t, o))
    ) as child:
        assert await child.wait(10) == 0

    expected = "".join(f"{i}\n" for i in range(20000)).encode()
    assert b"".join(output for _, output in seen) == expected
    assert (tmp_path / "log").read_bytes() == expected
    assert before <= seen[0][0] <= seen[-1][0] <= time.monotonic()


async def test_a_paused_child_is_stopped_within_the_bound(tmp_path: Path) -> None:
    async with python(SLEEP, tmp_path / "log") as child:
        child.pause()
        started = time.monotonic()

        assert await child.stop(within=5) == -signal.SIGTERM

        assert time.monotonic() - started < 5


async def test_a_child_that_ignores_sigterm_is_killed_after_the_bound(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    async with python(code, tmp_path / "log") as child:
        await eventually((tmp_path / "log").read_text, within=10, what="it runs")

        assert await child.stop(within=0.2) == -signal.SIGKILL


async def test_lines_sent_reach_its_standard_input(tmp_path: Path) -> None:
    async with python("print(input()[::-1])", tmp_path / "log", commanded=True) as child:
        child.send("abc")

        assert await child.wait(10) == 0

    assert (tmp_path / "log").read_text() == "cba\n"


async def test_waiting_too_long_shows_the_end_of_the_log(tmp_path: Path) -> None:
    async with python(SLEEP, tmp_path / "log") as child:
        await eventually((tmp_path / "log").read_text, within=10, what="it runs")

        with pytest.raises(TimeoutError, match=r"still runs after 0\.05 s\n.*log:\n    up"):
            await child.wait(0.05)


async def test_a_command_that_does_not_exist_fails_at_the_start(tmp_path: Path) -> None:
    child = Process("child", ["/does/not/exist"], log=tmp_path / "log", watch=lambda _t, _o: None)

    with pytest.raises(FileNotFoundError):
        await child.start()

    await child.close()


async def test_a_child_can_be_started_again(tmp_path: Path) -> None:
    async with python("print('once')", tmp_path / "log") as child:
        await child.wait(10)

        await child.start()
        await child.wait(10)

    assert (tmp_path / "log").read_text() == "once\nonce\n"


async def test_cancelling_the_owner_ends_the_child(tmp_path: Path) -> None:
    started = asyncio.Event()
    child = python(SLEEP, tmp_path / "log")

    async def own() -> None:
        async with child:
            started.set()
            await asyncio.Event().wait()

    owner = asyncio.create_task(own())
    await started.wait()
    owner.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await owner

    assert not child.running
