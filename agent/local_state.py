"""The services and checks of this agent: what its files and its clients defined.

    configuration --start, reload-->  services, checks  --> changes, for whoever tells the catalog
    clients  --register--> files -------^      ^--- runners: what each check says

What a client registers is on the disk before it counts, and is registered again by the next start. What the
configuration defines wins over that, and goes when the configuration does not define it any more. A reload
leaves alone what it does not change.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.changes import Changes, Kind
from agent.check_runners.runners import Runners
from agent.checks import Checks, Source
from agent.definitions import (
    MAINTENANCE,
    MAX_CHECKS,
    MAX_SERVICES,
)
from agent.local_files import Folder, LocalFiles, check_data, service_data
from agent.logs import Value
from gossip.errors import GossipError, LimitError
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

    from agent.config import AgentConfig
    from agent.definitions import CheckDefinition, ServiceDefinition
    from agent.local_files import Key, State
    from agent.store.entries import ServiceEntry, Status

__all__ = ["LocalService", "LocalState"]

log = logging.getLogger(__name__)

REAP_INTERVAL = 30.0
"""Seconds between two looks for services that have been critical for too long."""
SCRIPTS_OFF = (
    "Scripts are disabled on this agent from remote calls;"
    " to enable, configure 'enable_script_checks' to true"
)


@dataclass(slots=True, frozen=True)
class LocalService:
    """One service of this agent.

    Attributes:
        definition: as it was given; its checks are kept by themselves.
        entry: what the catalog is told of it.
        source: who defined it.
    """

    definition: ServiceDefinition
    entry: ServiceEntry
    source: Source


class LocalState:
    """The services and checks of one agent. Everything runs on the loop that made it.

    Args:
        config: of the agent.
        data_dir: where they are kept; None keeps nothing.

    Attributes:
        services: by ID.
        checks: likewise.
        changes: what the catalog has not been told.
        reaped: services that were deregistered because they were critical for too long.
        refused: registrations that would have been one too many.
    """

    def __init__(self, config: AgentConfig, data_dir: Path | None) -> None:
        self.services: dict[str, LocalService] = {}
        self.changes = Changes()
        self.reaped = self.refused = 0
        self._config = config
        self._runners = Runners()
        self.checks = Checks(config.node_name, self.changes, self._runners)
        self._files = LocalFiles(data_dir)
        self._turn = asyncio.Lock()
        self._tasks = Tasks(log)
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    # Life

    async def start(self) -> None:
        """Take what the configuration defines and what clients had registered, services first."""
        stored = await self._files.load()
        gone = self._follow_services(self._config)
        for service_id, service in stored.services.items():
            if service_id not in self.services:
                self._add_service(service, Source.CLIENT)
        gone |= self._follow_checks(self._config, stored.states)
        for check_id, check in stored.checks.items():
            if self.checks.get(check_id) is not None:
                continue
            if problem := self._unusable(check):
                log.warning("check not restored id=%s error=%s", Value(check_id), Value(problem))
                gone[Folder.CHECKS, check_id] = None
            else:
                self._add_check(check, Source.CLIENT, stored.states.get(check_id))
        of_nobody = [key for key in stored.states if not self.checks.get(key)]
        gone |= {(Folder.STATES, key): None for key in (*of_nobody, *stored.expired)}
        self._files.save_soon(gone)
        self._tasks.spawn(self._reap())

    async def stop(self) -> None:
        """Make no more checks, and write what is left. Idempotent."""
        await self._tasks.cancel()
        self.checks.stop()
        await self._runners.close()
        await self._files.close()

    def follow(self, config: AgentConfig) -> None:
        """Take over what another configuration defines; see `agent.reload`."""
        self._config = config
        gone = self._follow_services(config) | self._follow_checks(config, {})
        for check in self.checks:
            if check.source is Source.CLIENT and (problem := self._unusable(check.definition)):
                log.warning("check removed id=%s error=%s", Value(check.entry.check_id), problem)
                gone |= self._remove_check(check.entry.check_id)
        self._files.save_soon(gone)

    def _follow_services(self, config: AgentConfig) -> dict[Key, None]:
        """Have the services of the configuration, and no others that it had; gives the files to remove."""
        wanted = {one.service.id: one for one in config.services}
        gone: dict[Key, None] = {}
        for service_id, service in list(self.services.items()):
            if service.source is Source.CONFIG and service_id not in wanted:
                gone |= self._remove_service(service_id)
        for service_id, definition in wanted.items():
            old = self.services.get(service_id)
            if old is None or (old.source, old.definition) != (Source.CONFIG, definition):
                self._add_service(definition, Source.CONFIG)
                gone[Folder.SERVICES, service_id] = None
        return gone

    def _follow_checks(self, config: AgentConfig, states: Mapping[str, State]) -> dict[Key, None]:
        """The same for its checks, and those of its services."""
        of_services = {one.service.id: one.checks for one in config.services}  # the last one counts
        wanted = {check.id: check for checks in of_services.values() for check in checks}
        wanted |= {check.id: check for check in config.checks}
        gone: dict[Key, None] = {}
        for check in self.checks:
            if check.source is Source.CONFIG and check.entry.check_id not in wanted:
                gone |= self._remove_check(check.entry.check_id)
        for check_id, definition in wanted.items():
            old = self.checks.get(check_id)
            if definition.service_id and definition.service_id not in self.services:
                log.warning(
                    "check of an unknown service not added id=%s service=%s",
                    Value(check_id),
                    Value(definition.service_id),
                )
            elif old is None or (old.source, old.definition) != (Source.CONFIG, definition):
                self._add_check(definition, Source.CONFIG, states.get(check_id))
                gone[Folder.CHECKS, check_id] = None
        return gone

    def counts(self) -> dict[str, str]:
        """How many there are, under Consul's names."""
        kinds = [check.definition.kind for check in self.checks]
        counts = {
            "check_monitors": kinds.count("script"),
            "check_ttls": kinds.count("ttl"),
            "checks": len(kinds),
            "services": len(self.services),
        }
        return {name: str(count) for name, count in counts.items()}

    def stats(self) -> dict[str, int]:
        """What happened so far, and what waits."""
        return dict(self._runners.stats) | {
            "failed_writes": self._files.failed,
            "pending_changes": len(self.changes),
            "dropped_changes": self.changes.dropped,
            "reaped": self.reaped,
            "refused": self.refused,
        }

    # Services

    async def register_service(
        self, definition: ServiceDefinition, *, replace_checks: bool = False
    ) -> None:
        """Add a service with its checks, or define it anew.

        Args:
            definition: of a client.
            replace_checks: its checks that are not in the definition go; by default they stay.

        Raises:
            LimitError: there are too many.
            GossipError: it could not be kept on the disk, or a check of it is a script and these are off.
        """
        service = definition.service
        async with self._turn:
            self._check_room(service.id, definition.checks)
            for check in definition.checks:
                self._check_usable(replace(check, service_id=""))
            kept = {check.id for check in definition.checks}
            extra = [
                check.definition.id
                for check in self.checks.of(service.id)
                if replace_checks
                and check.definition.id not in kept
                and check.definition.kind != MAINTENANCE
            ]
            changes: dict[Key, Mapping[str, Any] | None] = {}
            for check_id in extra:
                changes |= dict.fromkeys(_check_files(check_id))
            changes[Folder.SERVICES, service.id] = service_data(definition)
            changes |= {(Folder.CHECKS, check.id): check_data(check) for check in definition.checks}
            await self._files.save(changes)
            for check_id in extra:
                if self.checks.get(check_id) is not None:  # a reload may have been faster
                    self.checks.remove(check_id)
            self._add_service(definition, Source.CLIENT)
            for check in definition.checks:
                self._add_check(check, Source.CLIENT)

    async def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks; one that is not there is no mistake.

        Raises:
            GossipError: the ID is empty, or the disk does not let go of it.
        """
        if not service_id:
            raise GossipError("ServiceID missing")
        async with self._turn:
            if service_id not in self.services:
                log.warning("deregistration of an unknown service id=%s", Value(service_id))
                return
            await self._files.save(dict.fromkeys(self._service_files(service_id)))
            if service_id in self.services:  # a reload may have been faster
                self._remove_service(service_id)

    async def service_changed(self, service_id: str, deadline: float) -> bool:
        """Wait until a service is defined anew or removed; False at the deadline on the loop's clock."""
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(service_id, set())
        waiters.add(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[service_id]
        return True

    def take_tags(self, service_id: str, tags: tuple[str, ...]) -> None:
        """Take over the tags that the catalog has, for a service that lets others change them."""
        old = self.services[service_id]
        entry = replace(old.entry, tags=tags)
        self.services[service_id] = replace(old, entry=entry)
        self.checks.rebind(entry)
        self._wake(service_id)

    # Checks

    async def register_check(self, definition: CheckDefinition) -> None:
        """Add a check, or define it anew.

        Raises:
            LimitError: there are too many.
            GossipError: it is of a service that is not there, it could not be kept on the disk, or it is a
                script and these are off.
        """
        async with self._turn:
            self._check_room(None, [definition])
            self._check_usable(definition)
            await self._files.save({(Folder.CHECKS, definition.id): check_data(definition)})
            self._check_usable(definition)  # a reload may have been faster
            self._add_check(definition, Source.CLIENT)

    async def deregister_check(self, check_id: str) -> None:
        """Remove a check; one that is not there is no mistake.

        Raises:
            GossipError: the ID is empty, or the disk does not let go of it.
        """
        if not check_id:
            raise GossipError("CheckID missing")
        async with self._turn:
            if self.checks.get(check_id) is None:
                log.warning("deregistration of an unknown check id=%s", Value(check_id))
                return
            await self._files.save(dict.fromkeys(_check_files(check_id)))
            if self.checks.get(check_id) is not None:  # a reload may have been faster
                self.checks.remove(check_id)

    def tell(self, check_id: str, status: Status, output: str) -> None:
        """Take what a client says about a check with a TTL, whose time begins anew.

        Raises:
            GossipError: there is none with that ID.
        """
        state, seconds = self.checks.tell(check_id, status, output)
        self._files.save_state(check_id, state, seconds)

    # What all of them use

    def _check_room(self, service_id: str | None, checks: Iterable[CheckDefinition]) -> None:
        more = service_id is not None and service_id not in self.services
        if more and len(self.services) >= MAX_SERVICES:
            self.refused += 1
            raise LimitError(f"this agent has {MAX_SERVICES} services, which is the limit")
        new = sum(self.checks.get(check.id) is None for check in checks)
        if new and len(self.checks) + new > MAX_CHECKS:
            self.refused += 1
            raise LimitError(f"this agent may have {MAX_CHECKS} checks, and this would be more")

    def _check_usable(self, check: CheckDefinition) -> None:
        if problem := self._unusable(check):
            raise GossipError(problem)

    def _unusable(self, check: CheckDefinition) -> str:
        """Why a client's check cannot be made; empty when it can."""
        if check.kind == "script" and not self._config.enable_script_checks:
            return SCRIPTS_OFF
        if check.service_id and check.service_id not in self.services:
            return f'ServiceID "{check.service_id}" does not exist'
        return ""

    def _add_service(self, definition: ServiceDefinition, source: Source) -> None:
        entry = replace(definition.service, node=self._config.node_name)
        for warning in definition.warnings:
            log.warning("%s service=%s", warning, Value(entry.id))
        old = self.services.get(entry.id)
        self.services[entry.id] = LocalService(definition, entry, source)
        self.checks.rebind(entry)
        if old is None or old.entry != entry:
            self._note(entry.id)

    def _add_check(
        self, definition: CheckDefinition, source: Source, state: State | None = None
    ) -> None:
        for warning in definition.warnings:
            log.warning("%s check=%s", warning, Value(definition.id))
        service = self.services.get(definition.service_id)
        self.checks.add(definition, service.entry if service else None, source, state)

    def _remove_service(self, service_id: str) -> dict[Key, None]:
        """Forget a service with its checks, and give the files to remove."""
        files = dict.fromkeys(self._service_files(service_id))
        for check in self.checks.of(service_id):
            self.checks.remove(check.entry.check_id)
        del self.services[service_id]
        self._note(service_id)
        return files

    def _note(self, service_id: str) -> None:
        self.changes.note(Kind.SERVICE, service_id)
        self._wake(service_id)

    def _wake(self, service_id: str) -> None:
        for waiter in self._waiters.get(service_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _remove_check(self, check_id: str) -> dict[Key, None]:
        self.checks.remove(check_id)
        return dict.fromkeys(_check_files(check_id))

    def _service_files(self, service_id: str) -> list[Key]:
        checks = self.checks.of(service_id)
        files = [key for check in checks for key in _check_files(check.entry.check_id)]
        return [(Folder.SERVICES, service_id), *files]

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(REAP_INTERVAL)
            for service_id in sorted(self.checks.overdue()):
                with suppress(GossipError):  # the disk; told in the log, and tried again
                    await self.deregister_service(service_id)
                    self.reaped += 1
                    log.warning(
                        "service critical for too long, deregistered id=%s", Value(service_id)
                    )


def _check_files(check_id: str) -> list[Key]:
    return [(Folder.CHECKS, check_id), (Folder.STATES, check_id)]
