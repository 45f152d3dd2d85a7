"""When the catalog is told of what: with a catalog that is a dictionary, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from agent.changes import Kind
from agent.decode import Body
from agent.definitions import check_definition, service_definition
from agent.errors import BusyError
from agent.local_state import LocalState
from agent.store.entries import CheckEntry, NodeEntry, Registration, ServiceEntry, Status
from agent.sync.catalogs import Held, NobodyError, RefusedError
from agent.sync.schedule import PATIENCE, Syncer, scale
from gossip.errors import GossipError
from tests.helpers_agent import agent_config
from tests.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from agent.store.entries import Write

NODE = NodeEntry(node="one", address="127.0.0.1", id="", tagged_addresses={"lan": "127.0.0.1"})
UPDATE = 300.0


class FakeCatalog:
    """A catalog of one node, which may be out of reach or refuse what a write is about."""

    def __init__(self) -> None:
        self.node: NodeEntry | None = None
        self.services: dict[str, ServiceEntry] = {}
        self.checks: dict[str, CheckEntry] = {}
        self.writes: list[tuple[float, Write, str]] = []
        self.reads: list[float] = []
        self.broken: GossipError | None = None
        self.refuses: dict[str, RefusedError] = {}
        self.seconds = 0.0  # that a write takes

    async def held(self) -> Held:
        self.reads.append(now())
        self._reach()
        return Held(self.node, dict(self.services), dict(self.checks))

    async def write(self, write: Write, token: str = "") -> None:
        await asyncio.sleep(self.seconds)
        self._reach()
        self.writes.append((now(), write, token))
        if (name := about(write)) in self.refuses:
            raise self.refuses[name]
        if isinstance(write, Registration):
            self._register(write)
        elif write.service_id:
            del self.services[write.service_id]
            self.checks = {
                key: check
                for key, check in self.checks.items()
                if check.service_id != write.service_id
            }
        else:
            self.checks.pop(write.check_id, None)

    def _register(self, write: Registration) -> None:
        if self.node is None or not write.keep_node:
            self.node = write.node
        if write.service is not None:
            self.services[write.service.id] = replace(write.service, create_index=7, modify_index=8)
        for check in write.checks:
            self.checks[check.check_id] = replace(check, create_index=7, modify_index=9)

    def _reach(self) -> None:
        if self.broken is not None:
            raise self.broken

    @property
    def told(self) -> list[str]:
        """What the writes so far were about."""
        return [about(write) for _, write, _ in self.writes]


def about(write: Write) -> str:
    if isinstance(write, Registration):
        if write.service is not None:
            return write.service.id
        return write.checks[0].check_id if write.checks else "node"
    return f"-{write.service_id or write.check_id}"


def now() -> float:
    return asyncio.get_running_loop().time()


class Rig:
    """A state, a catalog, and what keeps them in step."""

    def __init__(self, *, members: int = 1, update: float = UPDATE, seed: int = 1) -> None:
        self.local = LocalState(agent_config(), None)
        self.catalog = FakeCatalog()
        self.node = NODE
        self.rng = random.Random(seed)
        self.sync = Syncer(
            self.local,
            self.catalog,
            node=lambda: self.node,
            members=lambda: members,
            update_interval=update,
            rng=self.rng,
        )

    async def service(self, name: str = "web", **values: Any) -> None:
        await self.local.register_service(service_definition(Body({"Name": name} | values)))

    async def check(self, name: str = "mem", **values: Any) -> None:
        definition = check_definition(Body({"Name": name, "TTL": "9999h"} | values))
        await self.local.register_check(definition)

    def says(self, output: str, status: Status = Status.CRITICAL, name: str = "mem") -> None:
        self.local.tell(name, status, output)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[FakeCatalog]:
    """A rig that has compared once, if it could."""
    await rig.local.start()
    task = asyncio.create_task(rig.sync.run())
    try:
        await moment()
        yield rig.catalog
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rig.local.stop()


async def moment() -> None:
    """Let happen what needs no time."""
    await asyncio.sleep(0.001)


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        in_virtual_time(test())

    return run


def gaps_of(times: list[float]) -> list[float]:
    return [late - early for early, late in pairwise(times)]


# When all is compared


@pytest.mark.parametrize(
    ("members", "factor"),
    [(1, 1), (128, 1), (129, 2), (256, 2), (257, 3), (512, 3), (1024, 4), (10_000, 8)],
)
def test_times_spread_with_the_logarithm_of_the_pool(members: int, factor: int) -> None:
    assert scale(members) == factor


@pytest.mark.parametrize("members", [1, 1024])
def test_all_is_compared_at_the_start_and_then_after_a_minute_and_a_random_part(
    members: int,
) -> None:
    async def rounds(seed: int) -> tuple[float, list[float]]:
        begin = now()
        async with running(Rig(members=members, seed=seed)) as catalog:
            await asyncio.sleep(3000)
            return begin, catalog.reads

    gaps = []
    for seed in range(8):
        begin, reads = in_virtual_time(rounds(seed))
        assert reads[0] == begin
        gaps += gaps_of(reads)
    assert all(60 <= gap <= 60 + 60 * scale(members) + 0.01 for gap in gaps)
    assert max(gaps) - min(gaps) > 50 * scale(members), "they are spread"


def test_the_same_seed_gives_the_same_times() -> None:
    async def rounds(seed: int) -> list[float]:
        async with running(Rig(seed=seed)) as catalog:
            await asyncio.sleep(2000)
            return catalog.reads

    first, second, other = (in_virtual_time(rounds(seed)) for seed in (1, 1, 2))
    assert first == second != other


@virtual
async def test_after_a_failure_all_is_compared_again_within_15_to_30_seconds() -> None:
    rig = Rig()
    rig.catalog.broken = GossipError("no answer")
    async with running(rig) as catalog:
        await rig.service()
        await asyncio.sleep(1000)
        gaps = gaps_of(catalog.reads)
        assert all(15 <= gap <= 30.01 for gap in gaps)
        assert max(gaps) - min(gaps) > 5

        catalog.broken = None
        await asyncio.sleep(30.1)

        assert catalog.told == ["node", "web"]


@virtual
async def test_a_server_that_appears_ends_the_waiting_within_three_seconds() -> None:
    rig = Rig()
    rig.catalog.broken = NobodyError("nobody")
    async with running(rig) as catalog:
        await rig.service()
        for _ in range(20):
            catalog.broken, before = None, len(catalog.reads)
            rig.sync.compare_soon()
            at = now()
            await asyncio.sleep(3.01)
            assert len(catalog.reads) == before + 1
            assert catalog.reads[-1] - at <= 3
            await asyncio.sleep(20)
        assert catalog.told == ["node", "web"]


@virtual
async def test_many_servers_that_appear_are_one_comparison() -> None:
    async with running(rig := Rig()) as catalog:
        for _ in range(50):
            rig.sync.compare_soon()
        await asyncio.sleep(50)
        assert len(catalog.reads) == 2


@virtual
async def test_a_server_that_appears_during_a_comparison_brings_another_one() -> None:
    rig = Rig()
    rig.catalog.seconds = 5.0
    async with running(rig) as catalog:
        rig.sync.compare_soon()  # while the node is being told
        await asyncio.sleep(5.1)
        assert len(catalog.reads) == 2


# What is told


@virtual
async def test_a_change_is_told_at_once_and_alone() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web")
        await rig.check("mem")
        await moment()
        assert catalog.told == ["node", "web", "mem"]

        rig.says("fine", Status.PASSING)
        await moment()

        assert catalog.told[3:] == ["mem"]
        assert (catalog.checks["mem"].status, catalog.checks["mem"].output) == ("passing", "fine")
        assert len(catalog.reads) == 1


@virtual
async def test_a_service_and_its_checks_are_one_registration() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web", Checks=[{"TTL": "1h"}, {"TTL": "1h"}])
        await moment()
        assert catalog.told == ["node", "web"]
        assert catalog.checks.keys() == {"service:web:1", "service:web:2"}


@virtual
async def test_checks_that_do_not_fit_with_their_service_follow_it() -> None:
    async with running(rig := Rig()) as catalog:
        notes = "n" * 40_000
        await rig.service("web", Checks=[{"TTL": "1h", "Notes": notes} for _ in range(3)])
        await moment()
        assert catalog.told == ["node", "web", "service:web:2", "service:web:3"]
        assert len(catalog.checks) == 3


@virtual
async def test_what_is_removed_is_told_to_be_gone() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web", Check={"TTL": "1h"})
        await rig.check("mem")
        await moment()

        await rig.local.deregister_service("web")
        await rig.local.deregister_check("mem")
        await moment()

        assert (catalog.services, catalog.checks) == ({}, {})
        assert "-web" in catalog.told
        assert "-mem" in catalog.told


@virtual
async def test_a_change_while_it_is_told_is_told_as_well() -> None:
    rig = Rig()
    rig.catalog.seconds = 1.0
    async with running(rig) as catalog:
        await rig.service("web")
        await asyncio.sleep(1.5)  # the node is told, the service on its way
        await rig.service("web", Tags=["new"])
        await asyncio.sleep(3)
        assert catalog.services["web"].tags == ("new",)
        assert len(rig.local.changes) == 0


@virtual
async def test_a_comparison_repairs_what_others_did() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web", Check={"TTL": "1h"})
        await rig.service("db")
        await rig.check("mem")
        await moment()
        consul = ServiceEntry(node="one", id="consul", service="consul")
        serf = CheckEntry(node="one", check_id="serfHealth", name="s")
        catalog.services |= {
            "web": replace(catalog.services["web"], port=99),
            "stray": ServiceEntry(node="one", id="stray", service="stray"),
            "consul": consul,
        }
        del catalog.services["db"], catalog.checks["mem"]
        catalog.checks |= {
            "serfHealth": serf,
            "of-stray": CheckEntry(node="one", check_id="of-stray", name="o", service_id="stray"),
            "lone": CheckEntry(node="one", check_id="lone", name="l"),
        }
        catalog.node = replace(NODE, meta={"k": "other"})
        catalog.writes.clear()

        await asyncio.sleep(121)

        assert sorted(catalog.told) == ["-lone", "-stray", "db", "mem", "node", "web"]
        assert catalog.services["web"].port == 0
        assert (catalog.services["consul"], catalog.checks["serfHealth"]) == (consul, serf)
        assert catalog.checks.keys() == {"serfHealth", "service:web", "mem"}
        assert catalog.node == NODE
        assert len(rig.local.changes) == 0


@virtual
async def test_what_is_the_same_already_is_not_written() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web", Tags=["a"], Meta={"k": "v"}, Check={"TTL": "1h"})
        await moment()
        written = len(catalog.writes)
        await asyncio.sleep(1000)
        assert len(catalog.reads) > 5
        assert len(catalog.writes) == written


@virtual
async def test_what_the_catalog_has_from_the_last_run_is_not_written_again() -> None:
    async with running(first := Rig()) as catalog:
        await first.service("web", Check={"TTL": "1h"})
        await moment()
    rig = Rig()
    rig.catalog = rig.sync._catalog = catalog
    catalog.writes.clear()
    await rig.service("web", Check={"TTL": "1h"})
    async with running(rig):
        assert catalog.writes == []
        assert len(rig.local.changes) == 0


@virtual
async def test_an_entry_goes_with_its_own_token() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.service("web", Token="of-web")
        await rig.check("mem", Token="of-mem")
        await moment()
        assert [token for *_, token in catalog.writes] == ["", "of-web", "of-mem"]


# Output


@virtual
async def test_output_alone_waits_for_half_to_one_and_a_half_intervals() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem", Status="critical")
        await moment()
        for round_ in range(5):
            begin = now()
            written = len(catalog.writes)
            while len(catalog.writes) == written:
                rig.says(f"{round_} at {now()}")
                await asyncio.sleep(10)
            assert len(catalog.writes) == written + 1
            assert UPDATE / 2 <= catalog.writes[-1][0] - begin <= UPDATE * 1.5
            # It is the newest output, not the one that began the wait.
            assert catalog.checks["mem"].output == rig_output(rig)
        rig.says("last")
        await asyncio.sleep(UPDATE * 1.5 + 1)
        assert catalog.checks["mem"].output == "last"
        assert catalog.writes[-1][0] not in catalog.reads, "its time wakes whoever tells"


def rig_output(rig: Rig) -> str:
    check = rig.local.checks.get("mem")
    assert check is not None
    return check.entry.output


@virtual
async def test_another_status_does_not_wait_and_takes_the_output_along() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem")
        await moment()
        rig.says("waits")
        await moment()
        assert catalog.checks["mem"].output == ""

        rig.says("now", Status.PASSING)
        await moment()

        assert (catalog.checks["mem"].status, catalog.checks["mem"].output) == ("passing", "now")
        written = len(catalog.writes)
        await asyncio.sleep(UPDATE * 2)
        assert len(catalog.writes) == written, "nothing is left that waits"


@virtual
async def test_output_waits_through_comparisons() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem")
        await moment()
        rig.says("waits")
        await asyncio.sleep(UPDATE / 2 - 1)
        assert len(catalog.reads) > 1
        assert catalog.checks["mem"].output == ""


@virtual
async def test_output_that_somebody_else_wrote_is_repaired_by_a_comparison() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem")
        await moment()
        catalog.checks["mem"] = replace(catalog.checks["mem"], output="not ours")
        await asyncio.sleep(121)
        assert catalog.checks["mem"].output == ""


@virtual
async def test_without_an_interval_output_does_not_wait() -> None:
    async with running(rig := Rig(update=0.0)) as catalog:
        await rig.check("mem")
        rig.says("at once")
        await moment()
        assert catalog.checks["mem"].output == "at once"


# Failures


@virtual
async def test_what_is_refused_holds_up_nothing_and_is_tried_by_each_comparison() -> None:
    rig = Rig()
    rig.catalog.refuses["bad"] = RefusedError("Permission denied", passing=False)
    async with running(rig) as catalog:
        await rig.service("bad")
        await rig.service("good")
        await moment()
        assert catalog.told == ["node", "bad", "good"]
        assert "good" in catalog.services

        await asyncio.sleep(59)
        assert catalog.told.count("bad") == 1
        await asyncio.sleep(62)
        assert catalog.told.count("bad") == 2
        assert rig.sync.stats["refused"] == 2

        del catalog.refuses["bad"]
        await asyncio.sleep(121)
        assert "bad" in catalog.services


@virtual
async def test_what_is_refused_for_the_moment_is_tried_again_sooner() -> None:
    rig = Rig()
    rig.catalog.refuses["web"] = RefusedError("disk full", passing=True)
    async with running(rig) as catalog:
        await rig.service("web")
        await moment()
        await asyncio.sleep(30.1)
        assert catalog.told.count("web") == 2


@virtual
async def test_changes_wait_while_the_catalog_is_out_of_reach() -> None:
    async with running(rig := Rig()) as catalog:
        catalog.broken = BusyError("too many")
        for name in "abc":
            await rig.service(name)
            await asyncio.sleep(1)
        assert rig.sync.stats["failures"] == 1, "they do not ask again"
        assert {change.id for change in rig.local.changes.pending()} == {"a", "b", "c"}
        catalog.broken = None
        await asyncio.sleep(30.1)
        assert catalog.services.keys() == {"a", "b", "c"}


@virtual
async def test_output_that_waited_long_enough_asks_nobody_who_is_out_of_reach() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem")
        await moment()
        rig.says("waits")
        await moment()
        catalog.broken = GossipError("no answer")
        await rig.service("web")
        await asyncio.sleep(UPDATE * 2)
        assert rig.sync.stats["failures"] == 1 + len(catalog.reads[1:]), "and one change"
        catalog.broken = None
        await asyncio.sleep(30.1 + UPDATE * 1.5)
        assert catalog.checks["mem"].output == "waits"


def test_a_failure_is_one_line_until_it_is_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.sync")

    async def fail() -> None:
        rig = Rig()
        rig.catalog.broken = NobodyError("nobody")
        async with running(rig) as catalog:
            await asyncio.sleep(200)
            catalog.broken = GossipError("no answer")
            await asyncio.sleep(200)
            catalog.broken = None
            await asyncio.sleep(400)

    in_virtual_time(fail())
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["INFO", "WARNING", "INFO"]
    assert "nobody" in lines[0][1]
    assert "no answer" in lines[1][1]


# Waiting for it


@virtual
async def test_told_waits_until_the_change_is_in_the_catalog() -> None:
    rig = Rig()
    rig.catalog.seconds = 0.5
    async with running(rig) as catalog:
        await asyncio.sleep(1)
        await asyncio.gather(*(tell(rig, catalog, name) for name in "abc"))


async def tell(rig: Rig, catalog: FakeCatalog, name: str) -> None:
    await rig.service(name)
    await rig.sync.told()
    assert name in catalog.services


@virtual
async def test_told_waits_for_no_catalog_that_is_out_of_reach_and_for_no_output() -> None:
    async with running(rig := Rig()) as catalog:
        await rig.check("mem")
        await rig.sync.told()
        begin = now()
        rig.says("later")
        await rig.sync.told()
        assert catalog.checks["mem"].output == ""
        catalog.broken = GossipError("no answer")
        await rig.service("web")
        await rig.sync.told()
        await rig.service("db")
        await rig.sync.told()
        assert now() == begin


@virtual
async def test_told_gives_up_on_a_slow_catalog() -> None:
    async with running(rig := Rig()) as catalog:
        catalog.seconds = 60.0
        begin = now()
        await rig.service("web")
        await rig.sync.told()
        assert now() - begin == pytest.approx(PATIENCE)


@virtual
async def test_told_does_not_wait_when_nobody_tells_any_more() -> None:
    rig = Rig()
    async with running(rig):
        pass
    begin = now()
    rig.local.changes.note(Kind.SERVICE, "web")
    await rig.sync.told()
    assert now() == begin
