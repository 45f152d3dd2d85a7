"""A check that runs a program: its exit code is the status, what it prints the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.check_runners.output import Tail
from agent.check_runners.periodic import Result
from agent.durations import format_duration
from agent.programs import run_program
from agent.store.entries import Status

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

__all__ = ["run_script"]

_BY_EXIT_CODE = {0: Status.PASSING, 1: Status.WARNING}


async def run_script(args: Sequence[str], within: float, stats: Counter[str]) -> Result:
    """Run it once.

    Args:
        args: the program and its arguments; no shell reads them.
        within: seconds until the whole process group is killed.
        stats: counts ``timeouts``.
    """
    tail = Tail()
    try:
        code = await run_program(args, tail, within=within)
    except TimeoutError:
        stats["timeouts"] += 1
        text = f"Timed out ({format_duration(within)}) running check"
        seen = tail.captured()
        return Result(Status.CRITICAL, f"{text}\n\n{seen}" if seen else text)
    except OSError as error:
        return Result(Status.CRITICAL, f"cannot run {args[0]}: {error.strerror or error}")
    return Result(_BY_EXIT_CODE.get(code, Status.CRITICAL), tail.captured())
