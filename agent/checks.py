"""The checks of this agent: how each is made, what it says, and who makes it.

    definition --runner--> result --as many in a row as it takes--> status, output --> changes

A status that a run brings may have to repeat before it counts; what a client tells a TTL check counts at
once. Nothing here waits or writes: `agent.local_state` owns the order of things and the files.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from agent.changes import Kind
from agent.check_runners.output import cut
from agent.check_runners.ttl import TtlClock
from agent.local_files import State
from agent.logs import Value
from agent.store.entries import CheckEntry, Status
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.changes import Changes
    from agent.check_runners.periodic import Result
    from agent.check_runners.runners import Runner, Runners
    from agent.definitions import CheckDefinition
    from agent.store.entries import ServiceEntry

__all__ = ["Check", "Checks", "Source"]

log = logging.getLogger(__name__)


class Source(Enum):
    """Who defined a service or a check."""

    CONFIG = auto()
    """A file of the configuration: there as long as the file says so."""
    CLIENT = auto()
    """A client, over HTTP: there until it is deregistered."""


@dataclass(slots=True)
class Check:
    """One check.

    Attributes:
        definition: how it is made.
        entry: what the catalog is told of it.
        source: who defined it.
        runner: makes it; None when nobody does.
        note: what a client said last about it, if it has a TTL.
        critical_since: on the loop's clock; None while it is not critical.
        passed: results in a row that were not critical.
        failed: results in a row that were.
    """

    definition: CheckDefinition
    entry: CheckEntry
    source: Source
    runner: Runner | None = None
    note: str = ""
    critical_since: float | None = None
    passed: int = 0
    failed: int = 0


class Checks:
    """The checks of one agent, by ID.

    Args:
        node: name of the agent's node.
        changes: is told what changed.
        runners: make them.
    """

    def __init__(self, node: str, changes: Changes, runners: Runners) -> None:
        self._node = node
        self._changes = changes
        self._runners = runners
        self._by_id: dict[str, Check] = {}
        self._by_service: dict[str, dict[str, Check]] = {}
        self._clock = asyncio.get_running_loop().time

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Check]:
        return iter(list(self._by_id.values()))

    def get(self, check_id: str) -> Check | None:
        """The check with this ID."""
        return self._by_id.get(check_id)

    def of(self, service_id: str) -> list[Check]:
        """The checks of a service."""
        return list(self._by_service.get(service_id, {}).values())

    def add(
        self,
        definition: CheckDefinition,
        service: ServiceEntry | None,
        source: Source,
        state: State | None = None,
    ) -> None:
        """Add a check, or define one anew, which keeps what it says.

        Args:
            definition: how it is made.
            service: that it is about.
            source: who defined it.
            state: what it says, if that is known from before.
        """
        old = self._by_id.get(definition.id)
        if old is not None:
            state = State(old.entry.status, old.entry.output)
            self._forget(old)
        state = state or State(definition.status, "")
        entry = CheckEntry(
            node=self._node,
            check_id=definition.id,
            name=definition.name,
            status=state.status,
            notes=definition.notes,
            output=state.output,
            service_id=definition.service_id,
            service_name=service.service if service else "",
            service_tags=service.tags if service else (),
            type=definition.kind,
        )
        check = Check(definition, entry, source)
        check.note = old.note if old else state.output
        if entry.status is Status.CRITICAL:
            since = old.critical_since if old else None
            check.critical_since = self._clock() if since is None else since
        self._by_id[definition.id] = check
        self._by_service.setdefault(definition.service_id, {})[definition.id] = check
        check.runner = self._runners.start(
            definition, lambda result: self._report(check, result), lambda: self._expire(check)
        )
        if old is None or old.entry != entry:
            self._changes.note(Kind.CHECK, definition.id)

    def remove(self, check_id: str) -> None:
        """Remove a check that is there."""
        self._forget(self._by_id[check_id])
        self._changes.note(Kind.CHECK, check_id)

    def rebind(self, service: ServiceEntry) -> None:
        """Have the checks of a service show its name and tags as they are now."""
        for check in self.of(service.id):
            check.entry = replace(
                check.entry, service_name=service.service, service_tags=service.tags
            )

    def tell(self, check_id: str, status: Status, output: str) -> tuple[State, float]:
        """Take what a client says about a check with a TTL, whose time begins anew.

        Returns:
            What it says now, and for how many seconds.

        Raises:
            GossipError: there is none with that ID.
        """
        check = self._by_id.get(check_id)
        if check is None or not isinstance(check.runner, TtlClock):
            raise GossipError(f'CheckID "{check_id}" does not have associated TTL')
        check.note = cut(output)
        self._set(check, status, check.note)
        check.runner.restart()
        return State(status, check.note), check.definition.ttl

    def overdue(self) -> set[str]:
        """Services that have been critical for longer than their checks tolerate."""
        now = self._clock()
        return {
            check.definition.service_id
            for check in self._by_id.values()
            if check.definition.service_id
            and (limit := check.definition.deregister_after)
            and check.critical_since is not None
            and now - check.critical_since > limit
        }

    def stop(self) -> None:
        """Make none of them any more."""
        for check in self._by_id.values():
            if check.runner is not None:
                check.runner.stop()

    def _forget(self, check: Check) -> None:
        if check.runner is not None:
            check.runner.stop()
        check_id, service_id = check.definition.id, check.definition.service_id
        del self._by_id[check_id]
        of_service = self._by_service[service_id]
        del of_service[check_id]
        if not of_service:
            del self._by_service[service_id]

    def _expire(self, check: Check) -> None:
        last = f" (last output before timeout follows): {check.note}" if check.note else ""
        self._set(check, Status.CRITICAL, f"TTL expired{last}")

    def _report(self, check: Check, result: Result) -> None:
        """Take what a run found, once enough runs in a row found the same."""
        if result.status is Status.CRITICAL:
            check.failed, check.passed = check.failed + 1, 0
            counts = check.failed >= check.definition.critical_after
        else:
            check.passed, check.failed = check.passed + 1, 0
            counts = check.passed >= check.definition.passing_after
        if counts:
            self._set(check, result.status, result.output)

    def _set(self, check: Check, status: Status, output: str) -> None:
        old = check.entry
        if (old.status, old.output) == (status, output):
            return
        check.entry = replace(old, status=status, output=output)
        if status is not old.status:
            level = logging.INFO if status is Status.PASSING else logging.WARNING
            log.log(level, "check is now %s id=%s", status, Value(old.check_id))
        if status is not Status.CRITICAL:
            check.critical_since = None
        elif check.critical_since is None:
            check.critical_since = self._clock()
        self._changes.note(Kind.CHECK, old.check_id, urgent=old.status is not status)
