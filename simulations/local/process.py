"""One child process that never outlives us.

Three things end it: `Process.stop` or `Process.kill`; leaving the `async with` of whoever owns it,
which an exception and Ctrl-C do too; and, when we are killed outright, the kernel (Linux's parent
death signal). Each child leads a session of its own, so a Ctrl-C at the terminal reaches only us and
whatever the child starts is ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["Output", "Process"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

Output = bytes
"""What a child wrote since the last time, not necessarily whole lines."""


class Process:
    """A child started from an argument list, with its standard output and error in one log file.

    Driven by its owner: ``await start()``, then any of the verbs, and always ``await close()`` (or
    ``async with``). It may be started again after it ended; the log goes on in the same file.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        watch: Callable[[float, Output], None] | None = None,
        commanded: bool = False,
        enter: Callable[[], None] | None = None,
    ) -> None:
        """Describe the child without starting it.

        Args:
            name: how messages call it.
            command: program and arguments.
            log: file that its output is appended to.
            environment: variables added to ours.
            watch: called with the monotonic time and what the child just wrote. The output then
                passes through a pipe and us, instead of going straight into the file.
            commanded: give it a standard input that `send` writes to; otherwise it has none.
            enter: called in the child before it becomes the program, to put it into a namespace.
        """
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self._environment = {**os.environ, **environment} if environment else None
        self._watch = watch
        self._commanded = commanded
        self._enter = enter
        self._child: asyncio.subprocess.Process | None = None
        self._pipe: int | None = None
        self._log_file = -1
        self._group_ended = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Started and not known to have ended; a paused process is running."""
        return self._child is not None and self._child.returncode is None

    @property
    def exit_status(self) -> int | None:
        """Exit status, the negative signal number, or None while it runs."""
        return None if self._child is None else self._child.returncode

    async def start(self) -> None:
        """Start it; raises RuntimeError when it runs already and OSError when it cannot be run."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already as process {self.pid}")
        self._close_output()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        target = log
        if self._watch is not None:
            self._pipe, target = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._pipe, False)
            asyncio.get_running_loop().add_reader(self._pipe, self._read_output)
            self._log_file = log
        try:
            self._child = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE if self._commanded else asyncio.subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                env=self._environment,
                start_new_session=True,
                preexec_fn=lambda: _become(parent, self._enter),
            )
        except OSError:
            self._close_output()
            raise
        finally:
            os.close(target)
        self._group_ended = False

    def send(self, line: str) -> None:
        """Write one line to its standard input; a child that has just ended does not read it."""
        if self._child is None or self._child.stdin is None:
            raise RuntimeError(f"{self.name} was not started with a standard input")
        self._child.stdin.write(line.encode() + b"\n")

    def signal(self, number: int) -> None:
        """Send a signal to it alone; one that has ended gets none."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP) until `resume`."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again after `pause`."""
        self.signal(signal.SIGCONT)

    async def wait(self, within: float) -> int:
        """Wait for its end and return the exit status; raises TimeoutError after `within` seconds."""
        if self._child is None:
            raise RuntimeError(f"{self.name} has not been started")
        try:
            async with asyncio.timeout(within):
                return await self._child.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{self.name} (process {self.pid}) still runs after {within:g} s{self.tail()}"
            ) from None

    async def kill(self) -> int:
        """End it and all it started at once (SIGKILL); returns the exit status when it is gone."""
        if not self._group_ended:  # once only: later the number may be somebody else's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._group_ended = True
        # A killed process is gone in milliseconds unless the kernel is stuck in a system call.
        status = await self.wait(30)
        while self._read_output():
            pass
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()
        return status

    async def stop(self, within: float = 5.0) -> int:
        """Ask it to end (SIGTERM), kill it after `within` seconds; returns the exit status."""
        self.signal(signal.SIGTERM)
        self.resume()
        if self.running:
            with contextlib.suppress(TimeoutError):
                await self.wait(within)
        return await self.kill()

    async def close(self) -> None:
        """Kill it if it runs and release what it held; safe to call again."""
        try:
            if self._child is not None:
                await self.kill()
        finally:
            self._close_output()

    def tail(self, lines: int = 15) -> str:
        """The end of its log for an error message, each line on its own and indented."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
                end = log.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            end = []
        shown = "".join(f"\n    {line}" for line in end) or " (its log is empty)"
        return f"\n  end of {self.name}'s log:{shown}"

    def _read_output(self) -> bool:
        """Take what it wrote; tells whether there may be more."""
        if self._pipe is None or self._watch is None:
            return False
        now = time.monotonic()
        try:
            data = os.read(self._pipe, 1 << 20)
        except BlockingIOError:
            return False
        if not data:
            self._close_output()
            return False
        os.write(self._log_file, data)
        self._watch(now, data)
        return True

    def _close_output(self) -> None:
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            os.close(self._log_file)
            self._pipe = None


def _become(parent: int, enter: Callable[[], None] | None) -> None:
    """Runs in the child between fork and exec: have the kernel kill it when the parent is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
    if enter is not None:
        enter()
