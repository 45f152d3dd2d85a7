"""Programs that agents run: their input and environment; the rest is tested with the checks that run some."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from agent.check_runners.output import Tail
from agent.programs import run_program
from tests.helpers_agent import eventually
from tests.helpers_processes import is_alive, pid_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = b"x" * 1_000_000


async def shell(text: str, *, stdin: bytes = b"", **env: str) -> tuple[int, str]:
    output = Tail()
    async with asyncio.timeout(60):
        code = await run_program(["sh", "-c", text], output, stdin=stdin, env=env or None)
    return code, output.text()


async def test_it_reads_what_it_is_given_and_finds_its_end() -> None:
    assert await shell("wc -c", stdin=LARGE) == (0, "1000000\n")


async def test_it_need_not_read_it() -> None:
    assert await shell("exec <&-; echo done", stdin=LARGE) == (0, "done\n")
    assert await shell("head -c 2", stdin=LARGE) == (0, "xx")


async def test_its_environment_is_ours_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    assert await shell("echo $OURS $MORE", MORE="2") == (0, "1 2\n")


async def test_the_exit_code_tells_the_signal_that_ended_it() -> None:
    assert (await shell("exit 3"))[0] == 3
    assert (await shell("kill -9 $$"))[0] == -9


async def test_a_cancelled_run_ends_its_group_while_its_input_is_unread(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run = asyncio.ensure_future(shell(f"sleep 1000 & echo $! >{file}; wait", stdin=LARGE))
    child = await pid_in(file)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await eventually(lambda: not is_alive(child))


async def test_a_time_that_is_over_ends_it() -> None:
    with pytest.raises(TimeoutError):
        await run_program(["sleep", "1000"], Tail(), within=0.2, stdin=LARGE)


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_run_that_is_cancelled_while_it_starts_leaves_nothing_behind(
    factory: Callable[[], asyncio.AbstractEventLoop], turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr("agent.programs.subprocess.Popen", Popen)

    async def work() -> None:
        run = asyncio.ensure_future(shell("sleep 1000 & wait", stdin=b"x"))
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await eventually(lambda: all(one.returncode is not None for one in started))
        assert not any(is_alive(one.pid) for one in started)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work())
