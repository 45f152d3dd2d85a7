"""The tables of the catalog and what stands in their rows.

A row has the columns that it is looked up by, its two indexes, and the rest of the entry as a JSON object:
entries may gain fields without the tables changing. The engine keeps the tables consistent: what is on a
node goes with the node, and the checks of a service with the service.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agent.store.entries import CheckEntry, Entry, NodeEntry, ServiceEntry, Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

__all__ = [
    "APPLICATION",
    "SCHEMA",
    "VERSION",
    "body_of",
    "check_from",
    "load",
    "node_from",
    "service_from",
]

APPLICATION = 0x67_6F_73_73
"""``PRAGMA application_id``: the letters "goss", by which ``file`` and we recognise a catalog."""
VERSION = 1
"""``PRAGMA user_version``: of these tables."""

SCHEMA = """
CREATE TABLE last (write INTEGER NOT NULL);
INSERT INTO last VALUES (1);
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,  -- in lower case, as in the other tables
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    create_index INTEGER NOT NULL,
    modify_index INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX nodes_by_id ON nodes (id) WHERE id != '';
CREATE TABLE services (
    node TEXT NOT NULL REFERENCES nodes ON DELETE CASCADE,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    create_index INTEGER NOT NULL,
    modify_index INTEGER NOT NULL,
    PRIMARY KEY (node, id)
) WITHOUT ROWID;
CREATE TABLE checks (
    node TEXT NOT NULL REFERENCES nodes ON DELETE CASCADE,
    id TEXT NOT NULL,
    service TEXT,  -- NULL for a check of the node
    body TEXT NOT NULL,
    create_index INTEGER NOT NULL,
    modify_index INTEGER NOT NULL,
    PRIMARY KEY (node, id),
    FOREIGN KEY (node, service) REFERENCES services (node, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX checks_by_service ON checks (node, service);
"""

_COLUMNS = frozenset({"create_index", "modify_index", "memo"})


def body_of(entry: Entry) -> str:
    """The JSON of an entry, without what its row has columns for."""
    body = {f.name: getattr(entry, f.name) for f in fields(entry) if f.name not in _COLUMNS}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def node_from(row: tuple[str, int, int]) -> NodeEntry:
    """The node of a row: body, create index, modify index."""
    return NodeEntry(**_body(row))


def service_from(row: tuple[str, int, int]) -> ServiceEntry:
    """The service of a row."""
    body = _body(row)
    body["tags"] = tuple(body["tags"])
    body["weights"] = tuple(body["weights"])
    body["tagged_addresses"] = {k: tuple(v) for k, v in body["tagged_addresses"].items()}
    return ServiceEntry(**body)


def check_from(row: tuple[str, int, int]) -> CheckEntry:
    """The check of a row."""
    body = _body(row)
    body["status"] = Status(body["status"])
    body["service_tags"] = tuple(body["service_tags"])
    return CheckEntry(**body)


def load(db: sqlite3.Connection) -> Iterator[Entry]:
    """Everything, nodes before what is on them.

    Raises:
        ValueError: a body is not what `body_of` wrote; so do KeyError, TypeError and AttributeError.
    """
    what = "body, create_index, modify_index"
    for row in db.execute(f"SELECT {what} FROM nodes"):  # noqa: S608 - no value of anybody's
        yield node_from(row)
    for row in db.execute(f"SELECT {what} FROM services"):  # noqa: S608
        yield service_from(row)
    for row in db.execute(f"SELECT {what} FROM checks"):  # noqa: S608
        yield check_from(row)


def _body(row: tuple[str, int, int]) -> dict[str, Any]:
    text, create_index, modify_index = row
    return {**json.loads(text), "create_index": create_index, "modify_index": modify_index}
