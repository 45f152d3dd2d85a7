"""The engine: SQLite in a file or in memory, used by one thread.

The journal is a write-ahead log that is synced at every commit, so what was committed survives a killed
process and a lost power supply alike. Writes that wait together are committed together and share one
sync; one that fails is undone alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agent.store.entries import DiskError, StoreError
from agent.store.rows import APPLICATION, SCHEMA, VERSION, load
from agent.store.writes import Change, Transaction
from gossip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.store.entries import Entry, Write

__all__ = ["MAX_BYTES", "Committed", "Loaded", "Outcome", "SqliteEngine"]

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
"""Size of the catalog on disk, and of its mirror in memory within a small factor; writes beyond fail."""
PAGE = 4096
REMEDY = (
    "Move the file and those beside it (-wal, -shm) away and start again: nodes return by gossip, agents"
    " register their services again, and what else was registered has to be registered once more"
)
_OUTSIDE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors for which the file is not to blame."""


@dataclass(slots=True, frozen=True)
class Loaded:
    """What a catalog held when it was opened: the index of its last write, and all entries."""

    index: int
    entries: list[Entry]


@dataclass(slots=True, frozen=True)
class Committed:
    """What a write did; no changes when it was idempotent.

    Attributes:
        index: of the last write that changed anything, this one included.
        changes: in the order in which they were made.
    """

    index: int
    changes: Sequence[Change]


Outcome: TypeAlias = Committed | StoreError


class SqliteEngine:
    """One catalog. Every method runs on the same thread.

    Args:
        path: of its file; None keeps it in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._index = 0

    def open(self) -> Loaded:
        """Open the catalog, make it if it is not there, and read all of it.

        Raises:
            ConfigError: the file cannot be used; the text says why and what to do.
        """
        try:
            if self._path is not None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self._path or ":memory:", isolation_level=None)
            return self._open(self._db)
        except OSError as error:
            raise self._unusable(f"cannot be opened: {error.strerror or error}") from error
        except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUTSIDE:
                raise self._unusable(f"cannot be opened: {error}") from error
            reason = " ".join(str(error).split())
            raise self._unusable(f"is damaged: {reason}. {REMEDY}") from error

    def _open(self, db: sqlite3.Connection) -> Loaded:
        db.execute("PRAGMA busy_timeout = 2000")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        is_new = not tables and not version
        if not is_new and application != APPLICATION:
            raise self._unusable("is another program's database: name another data_dir")
        if version > VERSION:
            raise self._unusable(f"was written by a newer version of this agent ({version})")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA max_page_count = {MAX_BYTES // PAGE}")
        if is_new:
            marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
            db.executescript(f"BEGIN IMMEDIATE;{marks}{SCHEMA}COMMIT;")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise sqlite3.DatabaseError("something is on a node that is not there")
        (self._index,) = db.execute("SELECT write FROM last").fetchone()
        return Loaded(self._index, list(load(db)))

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do some writes in order and sync them; each has its own outcome."""
        db = self._db
        assert db is not None  # noqa: S101 - the store closes it last
        before = self._index
        try:
            db.execute("BEGIN IMMEDIATE")
            outcomes = [self._do(db, write) for write in writes]
            if self._index != before:
                db.execute("UPDATE last SET write = ?", (self._index,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._index = before
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("ROLLBACK")
            if len(writes) > 1:  # those that can be done are done
                return [outcome for write in writes for outcome in self.commit([write])]
            log.error("the catalog could not be written error=%s", error)
            return [DiskError(f"the catalog could not be written: {error}")]
        return outcomes

    def _do(self, db: sqlite3.Connection, write: Write) -> Outcome:
        transaction = Transaction(db, self._index + 1)
        db.execute("SAVEPOINT one")
        try:
            transaction.apply(write)
        except sqlite3.Error:
            raise  # the disk, or a catalog that is full: nothing of the batch is done
        except Exception as error:
            db.execute("ROLLBACK TO one")
            db.execute("RELEASE one")
            match error:
                case StoreError():
                    return error
                case UnicodeEncodeError():  # the name of a member, which gossip takes as bytes
                    return StoreError("the catalog stores text only, in UTF-8")
                case _:
                    log.exception("a write that cannot be stored")
                    return StoreError("the catalog cannot store this")
        db.execute("RELEASE one")
        if transaction.changes:
            self._index = transaction.index
        return Committed(self._index, transaction.changes)

    def _unusable(self, reason: str) -> ConfigError:
        return ConfigError(f"the catalog {self._path or 'in memory'} {reason}")
