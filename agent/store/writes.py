"""The rules of a write: what it changes in the tables, and what it leaves alone.

A write that says what the tables say already changes nothing, not even an index: servers repeat what they
know every minute, and each index that moved would wake whoever waits for it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from agent.store.entries import (
    CheckEntry,
    Deregistration,
    Entry,
    NodeEntry,
    Registration,
    ServiceEntry,
    StoreError,
    Write,
    folded,
)
from agent.store.rows import body_of, check_from, node_from, service_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["Change", "Removed", "Transaction"]

E = TypeVar("E", NodeEntry, ServiceEntry, CheckEntry)

_NODE = "SELECT body, create_index, modify_index FROM nodes WHERE node = ?"
_NODE_OF_ID = "SELECT body, create_index, modify_index FROM nodes WHERE id = ? AND id != ''"
_SERVICE = "SELECT body, create_index, modify_index FROM services WHERE node = ? AND id = ?"
_CHECK = "SELECT body, create_index, modify_index FROM checks WHERE node = ? AND id = ?"
_CHECKS_OF = "SELECT body, create_index, modify_index FROM checks WHERE node = ? AND service = ?"
_PUT_NODE = (
    "INSERT INTO nodes (node, id, body, create_index, modify_index) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (node) DO UPDATE SET id = excluded.id, body = excluded.body,"
    " create_index = excluded.create_index, modify_index = excluded.modify_index"
)
_PUT_SERVICE = (
    "INSERT INTO services (node, id, body, create_index, modify_index) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (node, id) DO UPDATE SET body = excluded.body,"
    " create_index = excluded.create_index, modify_index = excluded.modify_index"
)
_PUT_CHECK = (
    "INSERT INTO checks (node, id, service, body, create_index, modify_index)"
    " VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (node, id) DO UPDATE SET service = excluded.service, body = excluded.body,"
    " create_index = excluded.create_index, modify_index = excluded.modify_index"
)


@dataclass(slots=True, frozen=True)
class Removed:
    """A row that is gone, and with it what hung on it.

    Attributes:
        kind: of the entry.
        node: its name, folded.
        id: of the service or the check; empty for a node.
    """

    kind: type[Entry]
    node: str
    id: str = ""


Change: TypeAlias = NodeEntry | ServiceEntry | CheckEntry | Removed


@dataclass(slots=True)
class Transaction:
    """One write on its way into the tables.

    Attributes:
        db: inside a transaction of its own, which the caller ends.
        index: what the write gets if it changes anything.
        changes: in the order in which they were made.
    """

    db: sqlite3.Connection
    index: int
    changes: list[Change] = field(default_factory=list)

    def apply(self, write: Write) -> None:
        """Make the changes.

        Raises:
            StoreError: the write makes no sense here; the caller undoes what was done.
        """
        match write:
            case Registration():
                self._register(write)
            case Deregistration():
                self._deregister(write)

    # Registration

    def _register(self, write: Registration) -> None:
        if not write.node.node or not (write.node.address or write.keep_node):
            raise StoreError("Must provide node and address")
        key = folded(write.node.node)
        name = self._put_node(key, write)
        if write.service is not None:
            self._put_service(key, replace(write.service, node=name))
        for check in {check.check_id: check for check in write.checks}.values():  # the last counts
            self._put_check(key, replace(check, node=name))

    def _put_node(self, key: str, write: Registration) -> str:
        """Store a node; returns its name, whose first spelling stays."""
        node = write.node
        _check_id(node.id)
        old = self._find(node_from, _NODE, key)
        if old is not None and write.keep_node:
            return old.node
        if old is not None:
            node = replace(node, node=old.node)
        if old is not None and write.keep_details:
            node = replace(node, tagged_addresses=old.tagged_addresses, meta=old.meta)
        namesake = self._find(node_from, _NODE_OF_ID, node.id)
        if namesake is not None and folded(namesake.node) != key:
            # A node that was renamed: under its old name it will not be heard of again.
            self._remove(NodeEntry, "nodes", folded(namesake.node))
            old = old or namesake
        entry = self._news(node, old)
        if entry is not None:
            values = (key, entry.id, body_of(entry), entry.create_index, entry.modify_index)
            self.db.execute(_PUT_NODE, values)
        return node.node

    def _put_service(self, key: str, service: ServiceEntry) -> None:
        if not service.service:
            raise StoreError("Must provide service name with ID")
        old = self._find(service_from, _SERVICE, key, service.id)
        entry = self._news(service, old)
        if entry is None:
            return
        values = (key, entry.id, body_of(entry), entry.create_index, entry.modify_index)
        self.db.execute(_PUT_SERVICE, values)
        if old is not None and (old.service, old.tags) != (entry.service, entry.tags):
            for row in self.db.execute(_CHECKS_OF, (key, entry.id)).fetchall():
                self._put_check(key, check_from(row))

    def _put_check(self, key: str, check: CheckEntry) -> None:
        if not check.check_id:
            raise StoreError("Must provide check ID or name")
        service = None
        if check.service_id:
            service = self._find(service_from, _SERVICE, key, check.service_id)
            if service is None:
                raise StoreError(
                    f'failed inserting check: Missing service registration on node "{check.node}"'
                )
        check = replace(
            check,
            service_name=service.service if service else "",
            service_tags=service.tags if service else (),
        )
        entry = self._news(check, self._find(check_from, _CHECK, key, check.check_id))
        if entry is not None:
            indexes = (entry.create_index, entry.modify_index)
            values = (key, entry.check_id, entry.service_id or None, body_of(entry), *indexes)
            self.db.execute(_PUT_CHECK, values)

    def _news(self, entry: E, old: E | None) -> E | None:
        """The entry with the indexes that it is stored with; None when it says nothing new."""
        if old is not None:
            entry = replace(entry, create_index=old.create_index, modify_index=old.modify_index)
            if entry == old:
                return None
        created = self.index if old is None else old.create_index
        entry = replace(entry, create_index=created, modify_index=self.index)
        self.changes.append(entry)
        return entry

    def _find(
        self, make: Callable[[tuple[str, int, int]], E], query: str, *values: str
    ) -> E | None:
        row = self.db.execute(query, values).fetchone()
        return None if row is None else make(row)

    # Deregistration

    def _deregister(self, write: Deregistration) -> None:
        if not write.node:
            raise StoreError("Must provide node")
        key = folded(write.node)
        if write.service_id:
            self._remove(ServiceEntry, "services", key, write.service_id)
        elif write.check_id:
            self._remove(CheckEntry, "checks", key, write.check_id)
        else:
            self._remove(NodeEntry, "nodes", key)

    def _remove(self, kind: type[Entry], table: str, *key: str) -> None:
        where = " AND ".join(f"{column} = ?" for column in ("node", "id")[: len(key)])
        statement = f"DELETE FROM {table} WHERE {where}"  # noqa: S608 - names of ours
        if self.db.execute(statement, key).rowcount:
            self.changes.append(Removed(kind, *key))


def _check_id(text: str) -> None:
    try:
        is_good = not text or str(uuid.UUID(text)) == text.lower()
    except ValueError:
        is_good = False
    if not is_good:
        raise StoreError(f"Bad node ID: {text[:60]!r} is not a UUID")
