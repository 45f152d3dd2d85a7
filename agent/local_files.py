"""Services and checks that were registered over HTTP, and what TTL checks were told, across restarts.

    <data_dir>/services/<SHA-256 of the ID>          a definition
    <data_dir>/checks/<SHA-256 of the ID>            likewise
    <data_dir>/checks/state/<SHA-256 of the ID>      status, output, and until when they hold

Every file is replaced as a whole, and readable by its owner only: definitions may hold secrets. They are
written one after the other in a thread of their own; a disk that does not answer holds up nothing else.
A file that cannot be used is named in the log, and left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from agent.decode import Body
from agent.definitions import MAINTENANCE, check_definition, service_definition, status_of
from agent.durations import format_duration
from agent.logs import Value
from agent.registrations import service_fields
from gossip.errors import GossipError
from gossip.files import remove_private, write_private
from gossip.tasks import Tasks
from gossip.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.definitions import CheckDefinition, ServiceDefinition
    from agent.store.entries import Status

__all__ = ["Folder", "LocalFiles", "State", "Stored", "check_data", "service_data"]

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_FILES = 16384
"""Files that are read of one folder at a start."""
MAX_FILE = 1024 * 1024
"""Bytes; a definition takes as much as the body that it came in, and that is less."""


CLOSE_WAIT = 5.0
"""Seconds that a stop waits for the disk."""
BATCH = 64
"""States that are written before a registration, whose client waits, gets its turn."""


class Folder(Enum):
    """Where files are, below the data directory."""

    SERVICES = "services"
    CHECKS = "checks"
    STATES = "checks/state"


@dataclass(slots=True, frozen=True)
class State:
    """What a TTL check was told, until its time is over."""

    status: Status
    output: str


@dataclass(slots=True)
class Stored:
    """All that was kept, by ID; definitions in no order that matters.

    Attributes:
        services: definitions.
        checks: likewise.
        states: what TTL checks were told, as long as it holds.
        expired: IDs of checks whose state holds no longer; the files are still there.
    """

    services: dict[str, ServiceDefinition] = field(default_factory=dict)
    checks: dict[str, CheckDefinition] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)


Key: TypeAlias = tuple[Folder, str]
"""A folder and an ID."""


class LocalFiles:
    """The files of one agent.

    Args:
        data_dir: None keeps nothing.
        now: the time of day, which alone goes on while no agent runs.

    Attributes:
        failed: writes that failed.
    """

    def __init__(self, data_dir: Path | None, now: Callable[[], float] = time.time) -> None:
        self.failed = 0
        self._data_dir = data_dir
        self._now = now
        self._at_once: dict[Key, bytes | None] = {}
        self._soon: dict[Key, bytes | None] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._tasks = Tasks(log)

    # Reading

    async def load(self) -> Stored:
        """Read everything; what cannot be used is told in the log."""
        if self._data_dir is None:
            return Stored()
        return await asyncio.to_thread(self._load)

    def _load(self) -> Stored:
        stored = Stored()
        self._read_all(Folder.SERVICES, _read_service, stored.services)
        self._read_all(Folder.CHECKS, _read_check, stored.checks)
        states: dict[str, tuple[State, int]] = {}
        self._read_all(Folder.STATES, _read_state, states)
        now = self._now()
        stored.states = {key: state for key, (state, expires) in states.items() if expires >= now}
        stored.expired = [key for key in states if key not in stored.states]
        return stored

    def _read_all(
        self, folder: Folder, read: Callable[[Body], tuple[str, T]], found: dict[str, T]
    ) -> None:
        path = Path(self._data_dir or "", folder.value)
        try:
            files = sorted(islice(path.iterdir(), MAX_FILES + 1))
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("folder not read path=%s error=%s", Value(path), Value(error.strerror))
            return
        if len(files) > MAX_FILES:
            log.warning(
                "folder has more files than are read path=%s limit=%d", Value(path), MAX_FILES
            )
        for file in files[:MAX_FILES]:
            if file.name.startswith(".") or file.is_dir():
                continue  # left by a crash in the middle of a write; or the folder inside this one
            try:
                key, value = read(_body_of(file))
                if file.name == _name_of(key):
                    found[key] = value
                else:
                    log.warning("file ignored, its name is not that of its ID path=%s", Value(file))
            except (OSError, GossipError) as error:
                reason = getattr(error, "strerror", None) or error
                log.warning("file ignored path=%s error=%s", Value(file), Value(reason))

    # Writing

    async def save(self, changes: Mapping[Key, Mapping[str, Any] | None]) -> None:
        """Write files, or remove those of None; they are on the disk when this returns.

        Raises:
            GossipError: one could not be written.
        """
        if self._data_dir is None or not changes:
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        for key, data in changes.items():
            self._soon.pop(key, None)
            self._at_once[key] = _encode(data)
        self._wake_writer()
        await written

    def save_soon(self, changes: Mapping[Key, Mapping[str, Any] | None]) -> None:
        """The same, without anybody who waits; of changes of one file the last one counts."""
        if self._data_dir is None:
            return
        for key, data in changes.items():
            queue = self._at_once if key in self._at_once else self._soon
            queue[key] = _encode(data)
        self._wake_writer()

    def save_state(self, check_id: str, state: State, seconds: float) -> None:
        """Remember soon what a TTL check was told, which holds for so long."""
        data = {
            "CheckID": check_id,
            "Status": str(state.status),
            "Output": state.output,
            "Expires": int(self._now() + seconds),
        }
        self.save_soon({(Folder.STATES, check_id): data})

    async def close(self) -> None:
        """Write what is left, unless the disk takes too long for that. Idempotent."""
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer], timeout=CLOSE_WAIT)
            if not self._writer.done():
                log.warning("registrations not written before the stop files=%d", self._unwritten())
        await self._tasks.cancel()
        if self._worker is not None:
            self._worker.end(lambda: None)
            self._worker = None

    def _unwritten(self) -> int:
        return len(self._at_once) + len(self._soon)

    def _wake_writer(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = self._tasks.spawn(self._write_all())

    async def _write_all(self) -> None:
        while self._at_once or self._soon:
            waiting, self._waiting = self._waiting, []
            batch, self._at_once = self._at_once, {}
            if not batch:
                batch = {key: self._soon.pop(key) for key in list(islice(self._soon, BATCH))}
            problem = await self._write_in_thread(batch)
            for written in waiting:
                if written.done():  # whoever waited was cancelled
                    continue
                if problem is None:
                    written.set_result(None)
                else:
                    written.set_exception(GossipError(f"cannot keep it on the disk: {problem}"))

    def _write_in_thread(self, batch: Mapping[Key, bytes | None]) -> asyncio.Future[str | None]:
        """What `_write` gives."""
        if self._worker is None:
            self._worker = Worker("local-files")
        written: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        problems: list[str | None] = []

        def done(error: OSError | None) -> None:
            if not written.done():
                written.set_result(problems[0] if problems else str(error))

        self._worker.submit(lambda: problems.append(self._write(batch)), done)
        return written

    def _write(self, queue: Mapping[Key, bytes | None]) -> str | None:
        """Write all that can be written; what went wrong first, if anything did."""
        problem = None
        for key, data in queue.items():
            path = self._path(*key)
            try:
                if data is None:
                    remove_private(path)
                else:
                    write_private(path, data)
            except OSError as error:
                self.failed += 1
                problem = problem or error.strerror or str(error)
                log.warning("file not written path=%s error=%s", Value(path), Value(error.strerror))
        return problem

    def _path(self, folder: Folder, item_id: str) -> Path:
        return Path(self._data_dir or "", folder.value, _name_of(item_id))


def _name_of(item_id: str) -> str:
    return hashlib.sha256(item_id.encode()).hexdigest()


def service_data(definition: ServiceDefinition) -> dict[str, Any]:
    """A definition in the words that `service_definition` reads; its checks are written apart."""
    return {**service_fields(definition.service, "Name"), "Token": definition.token}


def check_data(check: CheckDefinition) -> dict[str, Any]:
    """A definition in the words that `check_definition` reads."""
    return {
        "CheckID": check.id,
        "Name": check.name,
        "Notes": check.notes,
        "ServiceID": check.service_id,
        "Status": str(check.status),
        "Maintenance": check.kind == MAINTENANCE,
        "TTL": format_duration(check.ttl),
        "Interval": format_duration(check.interval),
        "Timeout": format_duration(check.timeout),
        "Args": list(check.args),
        "HTTP": check.url,
        "Method": check.method,
        "Header": dict(check.headers),
        "Body": check.body,
        "TLSSkipVerify": check.skip_verify,
        "TCP": check.tcp,
        "DeregisterCriticalServiceAfter": format_duration(check.deregister_after),
        "SuccessBeforePassing": check.passing_after,
        "FailuresBeforeCritical": check.critical_after,
        "Token": check.token,
    }


def _encode(data: Mapping[str, Any] | None) -> bytes | None:
    return None if data is None else json.dumps(data).encode()


def _read_service(body: Body) -> tuple[str, ServiceDefinition]:
    definition = service_definition(body)
    return definition.service.id, definition


def _read_check(body: Body) -> tuple[str, CheckDefinition]:
    definition = check_definition(body)
    return definition.id, definition


def _read_state(body: Body) -> tuple[str, tuple[State, int]]:
    status = status_of(body.text("Status"), "it has no status of a check")
    return body.text("CheckID"), (State(status, body.text("Output")), body.number("Expires"))


def _body_of(file: Path) -> Body:
    with file.open("rb") as opened:
        data = opened.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise GossipError(f"it exceeds the limit of {MAX_FILE} bytes")
    return Body.parse(data)
