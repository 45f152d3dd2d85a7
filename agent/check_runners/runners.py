"""Who makes the checks of an agent, and how many run at the same time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from agent.check_runners.http import HttpClient
from agent.check_runners.names import Names
from agent.check_runners.periodic import Periodic, Result
from agent.check_runners.script import run_script
from agent.check_runners.tcp import connect
from agent.check_runners.ttl import TtlClock
from agent.logs import Value
from agent.store.entries import Status
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.check_runners.periodic import Probe
    from agent.definitions import CheckDefinition

__all__ = ["Runner", "Runners"]

log = logging.getLogger(__name__)

MAX_SCRIPTS = 32
"""Programs that run at the same time; the other checks wait for their turn."""
MAX_CONNECTIONS = 256
"""Likewise for HTTP and TCP checks; each takes a file descriptor."""
SCRIPT_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
"""Seconds, of checks that say nothing about it; of HTTP checks as well."""


class Runner(Protocol):
    """What makes one check."""

    def stop(self) -> None:
        """Make it no more."""


class Runners:
    """Makes the checks of one agent.

    Attributes:
        stats: ``runs``, ``timeouts`` of scripts, and ``waited``: runs for which there was no place at once.
    """

    def __init__(self) -> None:
        self.stats: Counter[str] = Counter(runs=0, timeouts=0, waited=0)
        self._names = Names()
        self._http = HttpClient(self._names)
        self._scripts = asyncio.Semaphore(MAX_SCRIPTS)
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._tasks = Tasks(log)

    async def close(self) -> None:
        """End all of them, programs that run included. Idempotent."""
        await self._tasks.cancel()
        await self._http.close()
        self._names.close()

    def start(
        self,
        check: CheckDefinition,
        report: Callable[[Result], None],
        expire: Callable[[], None],
    ) -> Runner | None:
        """Begin to make a check; None when nobody makes one of its kind.

        Args:
            check: how it is made.
            report: gets what each run found.
            expire: called when a TTL is over.
        """
        match check.kind:
            case "ttl":
                return TtlClock(check.ttl, expire)
            case "script" | "http" | "tcp":
                return Periodic(self._probe(check), check.interval, report, self._tasks)
            case _:
                return None

    def _probe(self, check: CheckDefinition) -> Probe:
        timeout = check.timeout or (SCRIPT_TIMEOUT if check.kind == "script" else CONNECT_TIMEOUT)

        async def probe() -> Result:
            places = self._scripts if check.kind == "script" else self._connections
            self.stats["waited"] += places.locked()
            async with places:
                self.stats["runs"] += 1
                return await self._run_safely(check, timeout)

        return probe

    async def _run_safely(self, check: CheckDefinition, within: float) -> Result:
        try:
            return await self._run(check, within)
        except Exception:  # a mistake of ours must not leave the check as it was for ever
            log.exception("check not made id=%s", Value(check.id))
            return Result(Status.CRITICAL, "internal error, told in the log of the agent")

    def _run(self, check: CheckDefinition, within: float) -> Awaitable[Result]:
        if check.kind == "script":
            return run_script(check.args, within, self.stats)
        if check.kind == "tcp":
            return connect(check.tcp, within, self._names)
        return self._http.ask(check, within)
