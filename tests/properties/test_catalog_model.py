"""Any sequence of writes: the mirror says what the tables say, and indexes move with the answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decode import Body, DecodeError
from agent.definitions import service_entry
from agent.http.errors import HttpError
from agent.http.registration import check_of, node_of
from agent.store.catalog import Catalog
from agent.store.entries import (
    CheckEntry,
    Deregistration,
    NodeEntry,
    Registration,
    ServiceEntry,
    Status,
    StoreError,
)
from agent.store.rows import load
from agent.store.sqlite import Committed, SqliteEngine
from agent.store.watch import ANY_STATE, NODES, SERVICES, Topic, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store.entries import Write

T = TypeVar("T")

NAMES = ("a", "b", "A")
IDS = ("", "aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-0000-0000-0000-000000000002")
node_names = st.sampled_from(NAMES)
ids = st.sampled_from(("1", "2"))
nodes = st.builds(
    NodeEntry, node=node_names, address=st.sampled_from(("x", "y", "")), id=st.sampled_from(IDS)
)
services = st.builds(
    ServiceEntry,
    node=st.just(""),
    id=ids,
    service=st.sampled_from(("web", "db", "WEB", "")),
    tags=st.sampled_from(((), ("v1",), ("v1", "v2"))),
    port=st.integers(0, 1),
)
checks = st.builds(
    CheckEntry,
    node=st.just(""),
    check_id=st.sampled_from(("c", "d", "")),
    name=st.just("c"),
    status=st.sampled_from(Status),
    service_id=st.sampled_from(("", "1", "2")),
)
writes: st.SearchStrategy[Write] = st.builds(
    Registration,
    node=nodes,
    service=st.none() | services,
    checks=st.lists(checks, max_size=2).map(tuple),
    keep_node=st.booleans(),
) | st.builds(
    Deregistration,
    node=node_names,
    service_id=st.sampled_from(("", "1", "2")),
    check_id=st.sampled_from(("", "c")),
)


@dataclass
class Query:
    """What is asked, and the topic that stands for its answer."""

    topic: Topic
    read: Callable[[Catalog], Any]


def tags(catalog: Catalog) -> dict[str, set[str]]:
    found = catalog.services()
    return {name: {tag for one in found[name] for tag in one.tags} for name in found}


def rows(name: str, catalog: Catalog) -> list[Any]:
    return [(one.node, one.service) for one in catalog.instances(name)]


QUERIES = [
    Query(NODES, Catalog.nodes),
    Query(SERVICES, tags),
    Query(ANY_STATE, Catalog.checks),
    *(Query(Topic("state", status), methodcaller("checks", status)) for status in Status),
    *(Query(Topic("node", name), methodcaller("node", name)) for name in ("a", "b")),
    *(
        Query(Topic("checks-of-node", name), methodcaller("node_checks", name))
        for name in ("a", "b")
    ),
    *(Query(Topic("service", name), partial(rows, name)) for name in ("web", "db")),
    *(Query(Topic("health", name), methodcaller("instances", name)) for name in ("web", "db")),
    *(
        Query(Topic("checks-of-service", name), methodcaller("service_checks", name))
        for name in ("web", "db")
    ),
]


def answers(catalog: Catalog) -> list[Any]:
    return [query.read(catalog) for query in QUERIES]


@settings(max_examples=150, deadline=None)
@given(st.lists(writes, max_size=15))
def test_the_mirror_follows_the_tables_and_indexes_follow_the_answers(
    sequence: list[Write],
) -> None:
    engine, catalog, watch = SqliteEngine(None), Catalog(), Watch()
    watch.start_at(engine.open().index)
    try:
        before, indexes = answers(catalog), [watch.index(query.topic) for query in QUERIES]
        for write in sequence:
            (outcome,) = engine.commit([write])
            assert isinstance(outcome, Committed | StoreError)
            if isinstance(outcome, Committed) and outcome.changes:
                watch.changed(catalog.apply(outcome.changes), outcome.index)
            after, moved = answers(catalog), [watch.index(query.topic) for query in QUERIES]
            for query, old, new, was, is_now in zip(
                QUERIES, before, after, indexes, moved, strict=True
            ):
                if old != new:
                    assert isinstance(outcome, Committed)
                    assert is_now == outcome.index > was, query.topic
                elif query.topic != SERVICES:  # where tags of several instances are one list
                    assert is_now == was, query.topic
                assert is_now >= was
            before, indexes = after, moved

            fresh = Catalog()
            assert engine._db is not None
            fresh.load(load(engine._db))
            assert answers(fresh) == after
            assert fresh.counts() == catalog.counts()
            # Once more, it says nothing new.
            (again,) = engine.commit([write])
            assert isinstance(again, StoreError) or (
                again.changes == [] and again.index == engine._index
            )
    finally:
        engine.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
KEYS = (
    "Node", "Address", "ID", "NodeMeta", "TaggedAddresses", "Service", "Tags", "Port", "Weights",
    "Meta", "EnableTagOverride", "CheckID", "Name", "Status", "ServiceID", "Definition", "Header",
    "Interval", "HTTP", "Output",
)  # fmt: skip


def unless_refused(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except DecodeError:
        return None
    except HttpError as error:
        if error.status != 400:
            raise
        return None


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_body_is_stored_or_refused(values: dict[str, Any]) -> None:
    body = Body(values)
    node = unless_refused(lambda: node_of(body))
    service = unless_refused(lambda: service_entry(body, "n", "Service"))
    check = unless_refused(lambda: check_of(body, "n"))
    engine = SqliteEngine(None)
    engine.open()
    try:
        (outcome,) = engine.commit(
            [
                Registration(
                    node=node or NodeEntry(node="n", address="x"),
                    service=service,
                    checks=() if check is None else (check,),
                )
            ]
        )
        assert isinstance(outcome, Committed) or "could not be written" not in str(outcome)
    finally:
        engine.close()
