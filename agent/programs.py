"""Running a program: its input, the end of its output, its time, and the end of all that it started.

The program leads a process group of its own, so that all it started ends with it when its time is over, or
the run is cancelled. Its output is read from a pipe of ours: one that it handed to a process outside of the
group cannot hold us up longer than the time that the run has; one without end waits for it, as Go's `exec` does.

A thread of its own starts the program and waits for it. The loops' own ways to start one fork: they copy
the tables of all our memory, during which the loop stands still for milliseconds each time, and they are
not told when a run is cancelled in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

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
    async with _input(stdin) as theirs_in, _output(output) as (theirs_out, ended):
        program = await _start(args, theirs_in, theirs_out, env)
        try:
            async with asyncio.timeout(within):
                code = await asyncio.shield(program.ended)
                await ended
            return code
        finally:
            if not (program.ended.done() and ended.done()):
                await _kill(program)


@dataclass(slots=True)
class _Program:
    """One that was started; `ended` gets its exit code."""

    process: subprocess.Popen[bytes]
    ended: asyncio.Future[int]


async def _start(
    args: Sequence[str], stdin: IO[bytes] | None, output: IO[bytes], env: Mapping[str, str] | None
) -> _Program:
    loop = asyncio.get_running_loop()
    started: asyncio.Future[_Program] = loop.create_future()

    def host() -> None:
        try:
            process = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if env is None else os.environ | env,
            )
        except Exception as error:  # noqa: BLE001 - for whoever waits
            loop.call_soon_threadsafe(started.set_exception, error)
            return
        program = _Program(process, loop.create_future())
        loop.call_soon_threadsafe(started.set_result, program)
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # nobody waits any more, and the loop is closed
            loop.call_soon_threadsafe(program.ended.set_result, code)

    threading.Thread(target=host, name=f"program {args[0]}", daemon=True).start()
    try:
        return await _uncut(started, _kill)
    finally:
        # The program alone has these ends now: ours notice when it has closed them.
        output.close()
        if stdin is not None:
            stdin.close()


async def _kill(program: _Program) -> None:
    """Kill what is left of the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(program.ended), KILL_WAIT)


async def _uncut(work: Awaitable[T], undo: Callable[[T], Awaitable[None]]) -> T:
    """Await what takes a moment and must not be left half done: cancelled, it is finished and undone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await undo(await task)
        raise


# Pipes: one end is the loop's, the other is for the program, as a file that may be closed twice


@contextlib.asynccontextmanager
async def _input(data: bytes) -> AsyncIterator[IO[bytes] | None]:
    """What a program reads data from, all of which it need not read; None when there is none."""
    if not data:
        yield None
        return
    theirs, ours = map(os.fdopen, os.pipe(), ("rb", "wb"), (0, 0))
    with theirs:
        connecting = asyncio.get_running_loop().connect_write_pipe(_Writer, ours)
        try:
            transport, writer = await _uncut(connecting, _abort)
        except OSError:
            ours.close()
            raise
        transport.write(data)
        transport.close()  # once all is written
        try:
            yield theirs
        finally:
            if not writer.lost:
                transport.abort()


@contextlib.asynccontextmanager
async def _output(tail: Tail) -> AsyncIterator[tuple[IO[bytes], asyncio.Future[None]]]:
    """What a program writes its output to, and a future for when nobody can write any more."""
    ours, theirs = map(os.fdopen, os.pipe(), ("rb", "wb"), (0, 0))
    with theirs:
        connecting = asyncio.get_running_loop().connect_read_pipe(lambda: _Reader(tail), ours)
        try:
            transport, reader = await _uncut(connecting, _close)
        except OSError:
            ours.close()
            raise
        try:
            yield theirs, reader.ended
        finally:
            transport.close()


async def _abort(connected: tuple[asyncio.WriteTransport, asyncio.BaseProtocol]) -> None:
    connected[0].abort()


async def _close(connected: tuple[asyncio.ReadTransport, asyncio.BaseProtocol]) -> None:
    connected[0].close()


class _Writer(asyncio.BaseProtocol):
    """Knows when its transport has ended, which must not be aborted any more."""

    def __init__(self) -> None:
        self.lost = False

    def connection_lost(self, _exc: Exception | None) -> None:
        """All is written, or nobody reads it."""
        self.lost = True


class _Reader(asyncio.Protocol):
    """Keeps the end of what a program writes.

    Attributes:
        ended: done when nobody can write any more.
    """

    def __init__(self, output: Tail) -> None:
        self._output = output
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Keep the end of it."""
        self._output.add(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The last writer is gone."""
        if not self.ended.done():
            self.ended.set_result(None)
