"""Processes of tests: whether one is there, and the output of one that has to end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.helpers_agent import eventually

__all__ = ["is_alive", "output_of", "pid_in"]


def is_alive(pid: int) -> bool:
    """Whether the process exists and is more than an entry that nobody has collected yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def pid_in(file: Path) -> int:
    """The number that a process writes into a file, once it is there."""
    return int(await eventually(lambda: file.exists() and file.read_text().strip()))


async def output_of(process: asyncio.subprocess.Process, within: float = 30.0) -> str:
    """What a process printed by its end; one that does not end in time is killed, and the test fails."""
    try:
        async with asyncio.timeout(within):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode()
