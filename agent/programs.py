"""Running a program: its input, the end of its output, its time, and the end of all that it started.

The program leads a process group of its own, so that all it started ends with it when its time is over, or
the run is cancelled. Its output is read from a pipe of ours: one that it handed to a process outside of the
group cannot hold us up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

    from agent.check_runners.output import Tail

__all__ = ["run_program"]

T = TypeVar("T")
KILL_WAIT = 5.0
"""Seconds that a killed program is waited for: one that the kernel holds, on a dead disk, ends later."""


async def run_program(
    args: Sequence[str],
    output: Tail,
    *,
    within: float | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a program until it has ended, and nobody can write to its output any more.

    Args:
        args: the program and its arguments; no shell reads them.
        output: gets what it writes, errors included.
        within: seconds until the whole process group is killed; None is for ever.
        stdin: what it may read.
        env: added to our environment.

    Returns:
        Its exit code, below 0 the number of the signal that ended it.

    Raises:
        TimeoutError: its time was over.
        OSError: it cannot be run.
    """
    async with _Reader.piped(output) as (reader, pipe):
        process = await _start(args, pipe, with_stdin=bool(stdin), env=env)
        feeding = asyncio.ensure_future(_feed(process, stdin))
        try:
            async with asyncio.timeout(within):
                code = await process.wait()
                await reader.ended
            return code
        finally:
            feeding.cancel()
            await _end(process, reader)


async def _start(
    args: Sequence[str], pipe: int, *, with_stdin: bool, env: Mapping[str, str] | None
) -> asyncio.subprocess.Process:
    starting = asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.PIPE if with_stdin else asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        env=None if env is None else os.environ | env,
    )
    try:
        return await _uncut(starting, _kill)
    finally:
        os.close(pipe)  # the other end ends when the last process that has it does


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    """Give a program its input; it need not read it."""
    if process.stdin is None:
        return
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(data)
            await process.stdin.drain()
    finally:
        process.stdin.close()


async def _end(process: asyncio.subprocess.Process, reader: _Reader) -> None:
    """Kill what is left of the group, if anything is."""
    if process.returncode is None or not reader.ended.done():
        await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), KILL_WAIT)


async def _uncut(work: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[None]]) -> T:
    """Await what takes a moment and must not be left half done: cancelled, it is finished and undone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await undo(await task)
        raise


class _Reader(asyncio.Protocol):
    """Our end of the pipe that a program writes to.

    Attributes:
        ended: done when nobody can write any more.
    """

    def __init__(self, output: Tail) -> None:
        self._output = output
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    @contextlib.asynccontextmanager
    async def piped(cls, output: Tail) -> AsyncIterator[tuple[_Reader, int]]:
        """An end of ours, and the file descriptor of the other, which the caller closes."""
        ours, theirs = os.pipe()
        connecting = asyncio.get_running_loop().connect_read_pipe(
            lambda: cls(output), os.fdopen(ours, "rb", 0)
        )

        async def undo(connected: tuple[asyncio.ReadTransport, _Reader]) -> None:
            connected[0].close()
            os.close(theirs)

        transport, reader = await _uncut(connecting, undo)
        try:
            yield reader, theirs
        finally:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Keep the end of it."""
        self._output.add(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The last writer is gone."""
        if not self.ended.done():
            self.ended.set_result(None)
