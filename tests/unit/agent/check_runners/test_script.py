"""Checks that run programs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from agent.check_runners.script import run_script
from agent.store.entries import Status
from tests.helpers_agent import eventually
from tests.helpers_processes import is_alive, pid_in

if TYPE_CHECKING:
    from pathlib import Path

    from agent.check_runners.periodic import Result

LONG = 60.0


async def shell(text: str, within: float = LONG) -> Result:
    return await run_script(["sh", "-c", text], within, Counter())


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, Status.PASSING), (1, Status.WARNING), (2, Status.CRITICAL), (255, Status.CRITICAL)],
)
async def test_the_exit_code_is_the_status(code: int, status: Status) -> None:
    assert (await shell(f"exit {code}")).status is status


async def test_a_program_that_a_signal_ends_is_critical() -> None:
    assert (await shell("kill -9 $$")).status is Status.CRITICAL


async def test_both_outputs_are_shown_together() -> None:
    assert await shell("echo out; echo err >&2") == (Status.PASSING, "out\nerr\n")


async def test_no_shell_reads_the_arguments() -> None:
    assert (await run_script(["echo", "$HOME;", "*"], LONG, Counter())).output == "$HOME; *\n"


async def test_of_a_long_output_the_end_is_kept() -> None:
    code = "import sys; sys.stdout.write('x' * 1_000_000 + 'end')"
    _, output = await run_script([sys.executable, "-c", code], LONG, Counter())
    assert output.startswith("Captured 4096 of 1000003 bytes\n...\nxxx")
    assert output.endswith("xend")
    assert len(output) < 4200


async def test_a_program_that_is_not_there_is_critical() -> None:
    assert await run_script(["/nonexistent/x"], LONG, Counter()) == (
        Status.CRITICAL,
        "cannot run /nonexistent/x: No such file or directory",
    )


async def test_a_program_reads_nothing() -> None:
    assert await shell("cat") == (Status.PASSING, "")


async def test_a_timeout_kills_the_whole_group_and_shows_what_was_said(tmp_path: Path) -> None:
    stats: Counter[str] = Counter()
    file = tmp_path / "pid"
    text = f"echo begun; (trap '' TERM; exec sleep 1000) & echo $! >{file}; wait"
    status, output = await run_script(["sh", "-c", text], 2, stats)
    assert (status, stats["timeouts"]) == (Status.CRITICAL, 1)
    assert output in {
        "Timed out (2s) running check\n\nbegun\n",
        "Timed out (2s) running check",
    }
    child = await pid_in(file)
    await eventually(lambda: not is_alive(child))


async def test_a_check_that_ends_takes_its_program_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run = asyncio.ensure_future(shell(f"sleep 1000 & echo $! >{file}; wait"))
    child = await pid_in(file)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await eventually(lambda: not is_alive(child))


async def test_a_process_outside_of_the_group_holds_nobody_up(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    found = await shell(f"setsid sleep 1000 & echo $! >{file}; wait", within=2)
    child = await pid_in(file)
    try:
        assert found.output == "Timed out (2s) running check"
        assert is_alive(child)
    finally:
        os.kill(child, 9)


async def test_runs_leave_no_file_descriptor_behind() -> None:
    await shell("true")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    for _ in range(5):
        await shell("echo x")
        await run_script(["/nonexistent/x"], LONG, Counter())
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208
