"""The catalog as one: what a write changes, what it leaves alone, and that it outlives the process."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import BusyError
from agent.store import store as store_module
from agent.store.entries import (
    CheckEntry,
    Deregistration,
    DiskError,
    NodeEntry,
    Registration,
    ServiceEntry,
    Status,
    StoreError,
)
from agent.store.store import Store
from agent.store.watch import ANY_STATE, NODES, SERVICES, Topic
from gossip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NODE = NodeEntry(node="web-1", address="10.0.0.1", meta={"rack": "3"})
WEB = ServiceEntry(
    node="", id="web", service="web", tags=("b", "a"), port=80, tagged_addresses={"lan": ("x", 1)}
)
ALIVE = CheckEntry(node="", check_id="serfHealth", name="Serf", status=Status.PASSING)
PING = CheckEntry(node="", check_id="ping", name="Ping", service_id="web", definition={"TCP": "x"})
ALL = Registration(node=NODE, service=WEB, checks=(ALIVE, PING))


@asynccontextmanager
async def opened(path: Path | None = None) -> AsyncIterator[Store]:
    store = Store(path)
    try:
        await store.start()
        yield store
    finally:
        await store.close()


def everything(store: Store) -> list[Any]:
    catalog = store.catalog
    return [catalog.nodes(), catalog.services(), catalog.checks(), catalog.node("web-1")]


def check(store: Store, check_id: str) -> CheckEntry:
    return next(one for one in store.catalog.checks() if one.check_id == check_id)


# What a write changes


async def test_a_registration_is_there_when_it_returns_with_one_index_for_all_of_it() -> None:
    async with opened() as store:
        index = await store.register(ALL)

        (instance,) = store.catalog.instances("web")
        assert instance.node == replace(NODE, create_index=index, modify_index=index)
        assert (instance.service.node, instance.service.tags) == ("web-1", ("b", "a"))
        assert [one.check_id for one in instance.checks] == ["serfHealth", "ping"]
        assert {one.modify_index for one in instance.checks} == {instance.service.create_index}
        assert index == store.index == 2


async def test_the_store_tells_a_check_which_service_it_is_about() -> None:
    async with opened() as store:
        lying = replace(PING, service_name="other", service_tags=("x",))
        await store.register(replace(ALL, checks=(lying,)))
        assert (check(store, "ping").service_name, check(store, "ping").service_tags) == (
            "web",
            ("b", "a"),
        )

        index = await store.register(Registration(node=NODE, service=replace(WEB, tags=("c",))))
        assert check(store, "ping").service_tags == ("c",)
        assert check(store, "ping").modify_index == index


async def test_what_is_known_already_moves_no_index_and_wakes_nobody() -> None:
    async with opened() as store:
        index = await store.register(ALL)
        waiting = asyncio.ensure_future(store.watch.outlast(NODES, index, 60))
        for _ in range(3):
            assert await store.register(ALL) == index
            assert await store.deregister(Deregistration(node="nobody")) == index
            assert await store.deregister(Deregistration(node="web-1", check_id="none")) == index
        assert (store.watch.index(NODES), store.watch.waiting) == (index, 1)
        waiting.cancel()


async def test_a_changed_part_keeps_the_index_of_its_creation_and_leaves_the_rest() -> None:
    async with opened() as store:
        first = await store.register(ALL)
        critical = replace(ALIVE, status=Status.CRITICAL)
        second = await store.register(replace(ALL, checks=(critical, PING)))

        assert second == first + 1
        changed = check(store, "serfHealth")
        assert (changed.create_index, changed.modify_index) == (first, second)
        assert check(store, "ping").modify_index == first
        assert store.catalog.nodes()[0].modify_index == first


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (Registration(node=replace(NODE, node="")), "Must provide node and address"),
        (Registration(node=replace(NODE, address="")), "Must provide node and address"),
        (Registration(node=replace(NODE, id="x")), "Bad node ID: 'x' is not a UUID"),
        (replace(ALL, service=replace(WEB, service="")), "Must provide service name with ID"),
        (replace(ALL, service=None), 'Missing service registration on node "web-1"'),
        (replace(ALL, checks=(ALIVE, replace(PING, check_id=""))), "Must provide check ID or name"),
        (Deregistration(node=""), "Must provide node"),
    ],
)
async def test_a_write_that_makes_no_sense_changes_nothing(write: Any, text: str) -> None:
    async with opened() as store:
        with pytest.raises(StoreError) as caught:
            await (
                store.deregister(write)
                if isinstance(write, Deregistration)
                else store.register(write)
            )
        assert text in str(caught.value)
        assert everything(store) == [[], {}, [], None]
        assert store.index == 1


async def test_one_bad_write_among_many_is_undone_alone() -> None:
    async with opened() as store:
        bad = replace(ALL, node=replace(NODE, node="bad"), service=None)
        results = await asyncio.gather(
            *(store.register(Registration(node=replace(NODE, node=f"n{i}"))) for i in range(20)),
            store.register(bad),
            *(store.register(Registration(node=replace(NODE, node=f"m{i}"))) for i in range(20)),
            return_exceptions=True,
        )
        assert [one for one in results if isinstance(one, int)] == list(range(2, 42))
        assert isinstance(results[20], StoreError)
        assert {node.node for node in store.catalog.nodes()} == {
            f"{letter}{i}" for letter in "nm" for i in range(20)
        }


async def test_what_is_no_text_is_refused_alone() -> None:
    async with opened() as store:
        results = await asyncio.gather(
            *(
                store.register(Registration(node=replace(NODE, node=name)))
                for name in ("one", "half\ud800", "two")
            ),
            return_exceptions=True,
        )
        assert [str(one) for one in results] == ["2", "the catalog stores text only, in UTF-8", "3"]
        assert store.index == 3


async def test_a_write_that_breaks_a_rule_nobody_thought_of_fails_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as store:
        odd = replace(PING, definition={"x": object()})  # no JSON
        results = await asyncio.gather(
            store.register(replace(ALL, checks=(odd,))),
            store.register(ALL),
            return_exceptions=True,
        )
        assert [str(one) for one in results] == ["the catalog cannot store this", "2"]
        assert len(store.catalog.checks()) == 2
    assert "TypeError" in caplog.text


async def test_a_service_goes_with_its_checks_a_check_alone_and_a_node_with_everything() -> None:
    async with opened() as store:
        await store.register(ALL)
        await store.deregister(
            Deregistration(node="WEB-1", service_id="web", check_id="serfHealth")
        )
        assert store.catalog.services() == {}
        assert [one.check_id for one in store.catalog.checks()] == ["serfHealth"]

        await store.register(ALL)
        await store.deregister(Deregistration(node="web-1", check_id="ping"))
        assert [one.check_id for one in store.catalog.checks()] == ["serfHealth"]

        await store.register(ALL)
        await store.deregister(Deregistration(node="web-1"))
        assert everything(store) == [[], {}, [], None]


async def test_names_of_nodes_and_services_are_the_same_in_any_case() -> None:
    async with opened() as store:
        await store.register(ALL)
        again = await store.register(replace(ALL, node=replace(NODE, node="WEB-1")))
        assert again == store.index == 2
        assert [node.node for node in store.catalog.nodes()] == ["web-1"]
        assert len(store.catalog.instances("WEB")) == 1
        assert len(store.catalog.service_checks("Web")) == 1
        assert len(store.catalog.node_checks("Web-1")) == 2
        assert store.catalog.check("Web-1", "ping") == check(store, "ping")
        assert store.catalog.check("web-1", "Ping") is None
        assert store.catalog.check("web-2", "ping") is None


async def test_a_node_that_comes_with_the_id_of_another_was_renamed() -> None:
    node_id = "aaaaaaaa-0000-0000-0000-000000000001"
    async with opened() as store:
        created = await store.register(replace(ALL, node=replace(NODE, id=node_id)))
        index = await store.register(
            Registration(node=NodeEntry(node="web-2", address="10.0.0.2", id=node_id))
        )
        (node,) = store.catalog.nodes()
        assert (node.node, node.create_index, node.modify_index) == ("web-2", created, index)
        assert store.catalog.services() == {}


async def test_a_node_is_kept_as_it_is_when_asked_for() -> None:
    async with opened() as store:
        await store.register(ALL)
        other = NodeEntry(node="web-1", address="10.9.9.9")
        await store.register(Registration(node=other, service=WEB, keep_node=True))
        assert store.catalog.nodes()[0].address == "10.0.0.1"
        assert store.index == 2


async def test_what_a_write_does_not_know_of_a_node_is_kept_when_asked_for() -> None:
    async with opened() as store:
        full = replace(NODE, meta={"a": "b"}, tagged_addresses={"wan": "1.1.1.1"})
        plain = Registration(node=replace(NODE, address="10.9.9.9"), keep_details=True)
        # Decided by the order in which they are written, not by what was there when they were made.
        await asyncio.gather(store.register(Registration(node=full)), store.register(plain))
        (node,) = store.catalog.nodes()
        assert (node.address, node.meta) == ("10.9.9.9", full.meta)
        assert node.tagged_addresses == full.tagged_addresses


async def test_writes_that_nobody_waits_for_any_more_are_done_and_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "MAX_WAITING", 10)
    async with opened() as store:
        tasks = [
            asyncio.ensure_future(
                store.register(Registration(node=replace(NODE, node=f"n{number}")))
            )
            for number in range(12)
        ]
        await asyncio.sleep(0)
        for task in tasks[:5]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in results[10:]] == [BusyError] * 2
        assert store.refused == 2
        await store.register(ALL)
        assert len(store.catalog.nodes()) == 11


# Who is woken


@pytest.mark.parametrize(
    ("write", "woken"),
    [
        (replace(ALL, checks=(replace(ALIVE, output="new"),)), {ANY_STATE, "health", "on-node"}),
        (replace(ALL, checks=(replace(PING, output="x"),)), {ANY_STATE, "health", "on-node", "of"}),
        (replace(ALL, service=replace(WEB, port=81)), {"service", "health", "node"}),
        (
            replace(ALL, service=replace(WEB, tags=())),
            {"service", "health", "node", SERVICES, ANY_STATE, "on-node", "of"},
        ),
        (
            replace(ALL, node=replace(NODE, address="10.0.0.2")),
            {NODES, "node", "service", "health"},
        ),
        (Registration(node=NodeEntry(node="other", address="x")), {NODES}),
        (
            Deregistration(node="web-1"),
            {NODES, "node", "service", "health", SERVICES, ANY_STATE, "on-node", "of"},
        ),
    ],
)
async def test_a_write_wakes_those_whose_answer_changed_and_nobody_else(
    write: Any, woken: set[Any]
) -> None:
    topics: dict[Any, Topic] = {
        NODES: NODES,
        SERVICES: SERVICES,
        ANY_STATE: ANY_STATE,
        "node": Topic("node", "web-1"),
        "service": Topic("service", "web"),
        "health": Topic("health", "web"),
        "of": Topic("checks-of-service", "web"),
        "on-node": Topic("checks-of-node", "web-1"),
        "foreign": Topic("service", "db"),
    }
    async with opened() as store:
        index = await store.register(ALL)
        waiting = {
            name: asyncio.ensure_future(store.watch.outlast(topic, index, 60))
            for name, topic in topics.items()
        }
        await asyncio.sleep(0)
        if isinstance(write, Deregistration):
            await store.deregister(write)
        else:
            await store.register(write)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert {name for name, task in waiting.items() if task.done()} == woken
        for task in waiting.values():
            task.cancel()
        await asyncio.gather(*waiting.values(), return_exceptions=True)
        assert store.watch.waiting == 0


async def test_a_query_gives_what_there_is_when_its_time_is_over() -> None:
    async with opened() as store:
        index = await store.register(ALL)
        assert await store.index_of(NODES, exceeding=index, wait=0.01) == index
        assert await store.index_of(NODES, exceeding=index - 1, wait=60) == index
        assert await store.index_of(NODES) == index


async def test_a_query_about_what_is_not_there_is_woken_when_it_comes() -> None:
    async with opened() as store:
        waiting = asyncio.ensure_future(
            store.index_of(Topic("service", "web"), exceeding=1, wait=60)
        )
        await asyncio.sleep(0)
        await store.register(Registration(node=NODE))
        assert not waiting.done()
        await store.register(ALL)
        assert await waiting == store.index
        assert len(store.catalog.instances("web")) == 1


# Outliving the process


async def test_everything_is_there_after_a_restart_and_indexes_go_on(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "catalog.db"
    async with opened(path) as store:
        await store.register(ALL)
        await store.register(Registration(node=replace(NODE, node="gone")))
        last = await store.deregister(Deregistration(node="gone"))
        before = everything(store)
    assert path.stat().st_mode & 0o777 == 0o600
    async with opened(path) as store:
        assert everything(store) == before
        assert store.index == last
        # A client that waits with an index from before has missed nothing, and waits on.
        assert store.watch.index(NODES) == store.watch.index(Topic("service", "web")) == last
        assert await store.register(ALL) == last
        assert await store.register(Registration(node=replace(NODE, node="new"))) == last + 1


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write() -> None:
        async with opened() as store:
            await store.register(ALL)

    monkeypatch.chdir(tmp_path)
    asyncio.run(write())
    assert list(tmp_path.iterdir()) == []


def damage_header(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be sure of it " * 100)


def damage_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def damage_row(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE nodes SET body = '{}'")
    db.close()


def drop_table(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE last")
    db.close()


def orphan(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM nodes")
    db.close()


@pytest.mark.parametrize(
    "damage", [orphan, damage_header, damage_pages, cut, damage_row, drop_table]
)
async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "catalog.db"
    async with opened(path) as store:
        await store.register(ALL)
    damage(path)
    with pytest.raises(ConfigError, match=r"catalog\.db is damaged: .*Move the file .* away"):
        async with opened(path):
            pass


async def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program's"):
        async with opened(path):
            pass
    assert path.read_bytes() == before


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    async with opened(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(ConfigError, match=r"newer version of this agent \(2\)"):
        async with opened(path):
            pass


async def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be opened"):
        async with opened(tmp_path / "file" / "catalog.db"):
            pass


async def test_a_full_catalog_refuses_writes_and_goes_on_answering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.sqlite.MAX_BYTES", 40 * 4096)
    async with opened(tmp_path / "catalog.db") as store:
        index = await store.register(ALL)
        large = Registration(node=replace(NODE, node="big", meta={"x": "y" * 500_000}))
        small = Registration(node=replace(NODE, node="small"))
        results = await asyncio.gather(
            store.register(small), store.register(large), return_exceptions=True
        )
        assert results[0] == index + 1
        assert "database or disk is full" in str(results[1])
        assert [node.node for node in store.catalog.nodes()] == ["small", "web-1"]
        assert await store.deregister(Deregistration(node="small")) == index + 2


async def test_a_disk_that_hangs_stops_no_reader_and_the_writes_that_wait_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "MAX_WAITING", 3)
    release, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    async with opened() as store:
        await store.register(ALL)
        commit = store._engine.commit

        def hang(writes: Any) -> Any:
            loop.call_soon_threadsafe(began.set)
            assert release.wait(10)
            return commit(writes)

        monkeypatch.setattr(store._engine, "commit", hang)
        first = asyncio.ensure_future(store.register(Registration(node=replace(NODE, node="n"))))
        await began.wait()
        others = [
            asyncio.ensure_future(store.register(Registration(node=replace(NODE, node=f"n{i}"))))
            for i in range(5)
        ]
        await asyncio.sleep(0)
        assert store.stats()["waiting_writes"] == 3
        # What is not on the disk is nobody's to see.
        assert [node.node for node in store.catalog.nodes()] == ["web-1"]
        release.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(one) for one in results] == [int] * 4 + [BusyError] * 2
        assert store.stats()["refused_writes"] == 2


async def test_an_error_nobody_thought_of_fails_the_writes_and_not_those_after_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened() as store:
        with monkeypatch.context() as broken:
            broken.setattr(store._engine, "commit", lambda _writes: 1 // 0)
            with pytest.raises(DiskError, match="could not be written"):
                await store.register(ALL)
        assert await store.register(ALL) == 2
        assert store.stats()["failed_writes"] == 1
    assert "ZeroDivisionError" in caplog.text


async def test_a_closed_store_finishes_what_waits_and_takes_no_more() -> None:
    store = Store(None)
    await store.start()
    last = asyncio.ensure_future(store.register(ALL))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert await last == 2
    with pytest.raises(StoreError, match="the catalog is closed"):
        await store.register(ALL)


async def test_a_disk_that_hangs_holds_up_the_end_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.store.store.CLOSE_TIMEOUT", 0.05)
    store = Store(None)
    await store.start()
    hangs = threading.Event()
    monkeypatch.setattr(store._engine, "commit", lambda _writes: hangs.wait(60))
    try:
        writes = [asyncio.ensure_future(store.register(ALL)) for _ in range(2)]
        await asyncio.sleep(0)
        await store.close()

        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [str(error) for error in results] == ["the disk of the catalog does not answer"] * 2
        assert "given up writes=2" in caplog.text
    finally:
        hangs.set()
