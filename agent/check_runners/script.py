"""A check that runs a program: its exit code is the status, what it prints the output.

The program leads a process group of its own, so that all it started ends with it when its time is over,
the check is deregistered or the agent stops. Its output is read from a pipe of ours: one that it handed to
a process outside of the group cannot hold us up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from agent.check_runners.output import Tail
from agent.check_runners.periodic import Result
from agent.durations import format_duration
from agent.store.entries import Status

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Sequence

__all__ = ["run_script"]

_BY_EXIT_CODE = {0: Status.PASSING, 1: Status.WARNING}


async def run_script(args: Sequence[str], within: float, stats: Counter[str]) -> Result:
    """Run it once.

    Args:
        args: the program and its arguments; no shell reads them.
        within: seconds until the whole process group is killed.
        stats: counts ``timeouts``.
    """
    try:
        async with _Output.piped() as (output, pipe):
            process = await _start(args, pipe)
            try:
                async with asyncio.timeout(within):
                    code = await process.wait()
                    await output.ended
            except TimeoutError:
                stats["timeouts"] += 1
                text = f"Timed out ({format_duration(within)}) running check"
                seen = output.tail.captured()
                return Result(Status.CRITICAL, f"{text}\n\n{seen}" if seen else text)
            finally:
                await _end(process, output)
            return Result(_BY_EXIT_CODE.get(code, Status.CRITICAL), output.tail.captured())
    except OSError as error:
        return Result(Status.CRITICAL, f"cannot run {args[0]}: {error.strerror or error}")


async def _start(args: Sequence[str], pipe: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    finally:
        os.close(pipe)  # the other end ends when the last process that has it does


async def _end(process: asyncio.subprocess.Process, output: _Output) -> None:
    """Kill what is left of the group, if anything is."""
    if process.returncode is None or not output.ended.done():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


class _Output(asyncio.Protocol):
    """Our end of the pipe that a program writes to.

    Attributes:
        tail: the end of what it wrote.
        ended: done when nobody can write any more.
    """

    def __init__(self) -> None:
        self.tail = Tail()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    @contextlib.asynccontextmanager
    async def piped(cls) -> AsyncIterator[tuple[_Output, int]]:
        """An end of ours, and the file descriptor of the other, which the caller closes."""
        theirs, ours = (ends := os.pipe())[1], os.fdopen(ends[0], "rb", 0)
        transport, output = await asyncio.get_running_loop().connect_read_pipe(cls, ours)
        try:
            yield output, theirs
        finally:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Keep the end of it."""
        self.tail.add(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The last writer is gone."""
        if not self.ended.done():
            self.ended.set_result(None)
