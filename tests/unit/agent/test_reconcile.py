"""serfHealth: what gossip says about members, written into the catalog."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest

from agent.reconcile import ALIVE, FAILED, Reconciler, wanted
from agent.store.entries import CheckEntry, Deregistration, NodeEntry, Registration, ServiceEntry
from agent.store.store import Store
from gossip.events import (
    Gap,
    Member,
    MemberEvent,
    MemberFailed,
    MemberLeft,
    MemberReaped,
    MemberStatus,
)
from tests.helpers_agent import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NODE_TAGS = {"role": "node", "dc": "dc1"}
NODE_ID = "aaaaaaaa-0000-0000-0000-000000000001"
SERVER_TAGS = {"role": "consul", "dc": "dc1", "port": "8300", "raft_vsn": "3", "build": "1.8.7:x"}


def member(name: str = "web", status: MemberStatus = MemberStatus.ALIVE, **changes: Any) -> Member:
    values: dict[str, Any] = {"addr": "10.0.0.1", "port": 8301, "tags": NODE_TAGS} | changes
    return Member(
        name=name,
        status=status,
        **values,
        protocol_min=1,
        protocol_max=5,
        protocol_cur=2,
        delegate_min=2,
        delegate_max=5,
        delegate_cur=4,
    )


def failed(name: str = "web", **changes: Any) -> Member:
    return member(name, MemberStatus.FAILED, **changes)


def left(name: str = "web", **changes: Any) -> Member:
    return member(name, MemberStatus.LEFT, **changes)


@asynccontextmanager
async def catalog() -> AsyncIterator[Store]:
    store = Store(None)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def follow(store: Store, one: Member) -> int:
    """Write what a member asks for; returns the index of the catalog."""
    write = wanted(one, store.catalog, "dc1")
    match write:
        case Registration():
            await store.register(write)
        case Deregistration():
            await store.deregister(write)
    return store.index


def serf_check(store: Store, node: str = "web") -> tuple[str, str] | None:
    found = store.catalog.check(node, "serfHealth")
    return None if found is None else (found.status, found.output)


async def test_a_member_that_is_alive_is_a_node_whose_check_passes() -> None:
    async with catalog() as store:
        await follow(store, member(tags=NODE_TAGS | {"id": NODE_ID}))
        (node,) = store.catalog.nodes()
        assert (node.node, node.address, node.id) == ("web", "10.0.0.1", NODE_ID)
        assert serf_check(store) == ("passing", ALIVE)
        assert store.catalog.services() == {}


async def test_a_server_has_the_consul_service_at_its_port() -> None:
    async with catalog() as store:
        await follow(store, member(tags=SERVER_TAGS))
        (one,) = store.catalog.instances("consul")
        assert (one.service.id, one.service.port, one.service.tags) == ("consul", 8300, ())
        assert one.service.meta["version"] == "1.8.7"


async def test_what_the_catalog_says_already_is_not_written_again() -> None:
    async with catalog() as store:
        for one in (member(tags=SERVER_TAGS), failed(tags=SERVER_TAGS), member(tags=SERVER_TAGS)):
            index = await follow(store, one)
            for _ in range(3):
                assert wanted(one, store.catalog, "dc1") is None
            assert store.index == index


async def test_a_new_address_or_port_of_a_server_is_written() -> None:
    async with catalog() as store:
        await follow(store, member(tags=SERVER_TAGS))
        await follow(store, member(tags=SERVER_TAGS | {"port": "8399"}))
        assert store.catalog.instances("consul")[0].service.port == 8399
        await follow(store, member(tags=SERVER_TAGS | {"port": "8399"}, addr="10.0.0.2"))
        assert store.catalog.nodes()[0].address == "10.0.0.2"


async def test_what_others_registered_about_a_node_stays_while_it_lives_and_when_it_fails() -> None:
    async with catalog() as store:
        node = NodeEntry(
            node="web", address="10.0.0.9", meta={"a": "b"}, tagged_addresses={"wan": "1.1.1.1"}
        )
        own = ServiceEntry(node="web", id="db", service="db")
        check = CheckEntry(node="web", check_id="c", name="c", service_id="db")
        await store.register(Registration(node=node, service=own, checks=(check,)))

        await follow(store, member())
        known = store.catalog.nodes()[0]
        assert (known.address, known.meta, known.tagged_addresses) == (
            "10.0.0.1",
            node.meta,
            node.tagged_addresses,
        )
        before = store.catalog.node_checks("web")[0]
        await follow(store, failed())
        assert serf_check(store) == ("critical", FAILED)
        assert store.catalog.nodes()[0] == known
        assert store.catalog.node_checks("web")[0] == before
        assert len(store.catalog.instances("db")) == 1


async def test_a_failed_member_that_the_catalog_does_not_know_is_ignored() -> None:
    async with catalog() as store:
        assert wanted(failed(), store.catalog, "dc1") is None


async def test_a_member_that_left_is_removed_with_everything_on_it() -> None:
    async with catalog() as store:
        await follow(store, member(tags=SERVER_TAGS))
        await follow(store, left("WEB", tags=SERVER_TAGS))
        assert store.catalog.counts() == {"nodes": 0, "services": 0, "checks": 0}
        assert wanted(left(), store.catalog, "dc1") is None


@pytest.mark.parametrize(
    "tags", [{}, {"role": "node"}, {"role": "node", "dc": "dc2"}, {"role": "other", "dc": "dc1"}]
)
async def test_members_that_are_no_agents_of_the_datacenter_do_not_count(tags: Any) -> None:
    async with catalog() as store:
        for status in MemberStatus:
            assert wanted(member(status=status, tags=tags), store.catalog, "dc1") is None


async def test_a_member_about_to_leave_is_left_alone() -> None:
    async with catalog() as store:
        await follow(store, member())
        for status in (MemberStatus.LEAVING, MemberStatus.NONE):
            assert wanted(member(status=status), store.catalog, "dc1") is None


# The passes and the events


class FakePool:
    """As much of a `Cluster` as the reconciler asks for."""

    def __init__(self, *members: Member) -> None:
        self.fired: list[tuple[str, bytes]] = []
        self.table = {one.name: one for one in members}
        self.events: asyncio.Queue[MemberEvent | Gap] = asyncio.Queue()
        self.config = member("lead")

    def members(self) -> list[Member]:
        return list(self.table.values())

    def member(self, name: str) -> Member | None:
        return self.table.get(name)

    async def fire(self, name: str, payload: bytes, *, coalesce: bool) -> None:
        assert not coalesce
        self.fired.append((name, payload))

    def subscribe(self, *, kinds: tuple[type, ...]) -> FakePool:
        assert set(kinds) == set(get_args(MemberEvent))
        return self

    def close(self) -> None:
        pass

    async def __anext__(self) -> MemberEvent | Gap:
        return await self.events.get()


@asynccontextmanager
async def reconciling(
    *members: Member, interval: float = 1000.0, isolated: bool = False
) -> AsyncIterator[tuple[FakePool, Store, Reconciler]]:
    pool = FakePool(*members)
    async with catalog() as store:
        reconciler = Reconciler(
            pool,  # type: ignore[arg-type]
            store,
            "dc1",
            is_isolated=lambda: isolated,
            interval=interval,
        )
        yield pool, store, reconciler


async def until(store: Store, nodes: set[str]) -> None:
    await eventually(lambda: {node.node for node in store.catalog.nodes()} == nodes)


async def test_a_pass_over_all_members_comes_first_and_events_after_it() -> None:
    async with reconciling(member("a"), member("b")) as (pool, store, reconciler):
        running = asyncio.ensure_future(reconciler.run())
        await until(store, {"a", "b"})
        assert pool.fired == [("consul:new-leader", b"lead")]
        pool.table["a"] = left("a")
        pool.events.put_nowait(MemberLeft(left("a")))
        await until(store, {"b"})
        pool.table["b"] = failed("b")
        pool.events.put_nowait(MemberFailed(failed("b")))
        await eventually(lambda: serf_check(store, "b") == ("critical", FAILED))
        del pool.table["b"]
        pool.events.put_nowait(MemberReaped(failed("b")))
        await until(store, set())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_late_event_does_not_undo_what_came_after_it() -> None:
    async with reconciling(member("a")) as (pool, store, reconciler):
        running = asyncio.ensure_future(reconciler.run())
        await until(store, {"a"})
        pool.events.put_nowait(MemberFailed(failed("a")))  # it is alive again by now
        pool.events.put_nowait(MemberReaped(left("a")))
        pool.table["b"] = member("b")
        pool.events.put_nowait(MemberFailed(member("b")))
        await until(store, {"a", "b"})
        assert serf_check(store, "a") == ("passing", ALIVE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_events_that_were_lost_are_made_up_for_by_the_next_pass() -> None:
    async with reconciling(member("a"), interval=0.01) as (pool, store, reconciler):
        running = asyncio.ensure_future(reconciler.run())
        await until(store, {"a"})
        pool.table["b"] = member("b")
        pool.events.put_nowait(Gap(1))
        await until(store, {"a", "b"})
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_node_that_gossip_does_not_know_goes_with_the_second_pass() -> None:
    async with reconciling(member("a"), member("b")) as (pool, store, reconciler):
        await reconciler.full_pass()
        external = NodeEntry(node="external", address="x")
        own = CheckEntry(node="external", check_id="own", name="own")
        await store.register(Registration(node=external, checks=(own,)))
        del pool.table["b"]
        await reconciler.full_pass()
        await until(store, {"a", "b", "external"})
        await reconciler.full_pass()
        await until(store, {"a", "external"})


async def test_a_node_that_comes_back_between_two_passes_stays() -> None:
    async with reconciling(member("a"), member("b")) as (pool, store, reconciler):
        await reconciler.full_pass()
        for _ in range(3):
            gone = pool.table.pop("b")
            await reconciler.full_pass()
            pool.table["b"] = gone
            await reconciler.full_pass()
        await until(store, {"a", "b"})


async def test_nobody_goes_while_we_are_alone_and_should_not_be() -> None:
    async with reconciling(member("a"), member("b"), isolated=True) as (pool, store, reconciler):
        await reconciler.full_pass()
        del pool.table["b"]
        for _ in range(3):
            await reconciler.full_pass()
        await until(store, {"a", "b"})


async def test_passes_over_a_quiet_pool_move_no_index() -> None:
    members = [member(f"n{i}") for i in range(600)]
    members[0] = replace(members[0], tags=SERVER_TAGS)
    async with reconciling(*members) as (_, store, reconciler):
        await reconciler.full_pass()
        index = store.index
        assert store.catalog.counts() == {"nodes": 600, "services": 1, "checks": 600}
        for _ in range(3):
            await reconciler.full_pass()
        assert store.index == index


async def test_our_own_leaving_takes_nothing_with_it() -> None:
    async with reconciling(member("lead", tags=SERVER_TAGS)) as (pool, store, reconciler):
        await reconciler.full_pass()
        pool.table["lead"] = left("lead", tags=SERVER_TAGS)
        await reconciler.full_pass()
        await until(store, {"lead"})


async def test_another_server_that_leads_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    rival = SERVER_TAGS | {"bootstrap": "1"}
    async with reconciling(
        member("lead", tags=rival), member("gone", MemberStatus.LEFT, tags=rival)
    ) as (
        pool,
        _,
        reconciler,
    ):
        await reconciler.full_pass()
        assert "bootstrap mode" not in caplog.text
        pool.table["rival"] = member("rival", tags=rival)
        await reconciler.full_pass()
        assert "only one may be other=rival" in caplog.text


async def test_a_disk_that_fails_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with reconciling(member("a")) as (_, store, reconciler):
        store._open = False
        await reconciler.full_pass()
        assert "the catalog is closed" in caplog.text
        store._open = True
        await reconciler.full_pass()
        await until(store, {"a"})
