"""What checks say, and when it counts; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.changes import Changes
from agent.check_runners.periodic import Result
from agent.check_runners.runners import Runners
from agent.checks import Check, Checks, Source
from agent.decode import Body
from agent.definitions import check_definition
from agent.local_files import State
from agent.store.entries import ServiceEntry, Status
from gossip.errors import GossipError
from tests.virtual_time import in_virtual_time

WEB = ServiceEntry(node="one", id="web1", service="web", tags=("a",))


class Rig:
    """Checks of a node called one."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.runners = Runners()
        self.checks = Checks("one", self.changes, self.runners)

    def add(self, state: State | None = None, **values: Any) -> Check:
        definition = check_definition(Body({"Name": "x", "TTL": "10s"} | values))
        service = WEB if definition.service_id else None
        self.checks.add(definition, service, Source.CLIENT, state)
        return self["x"]

    def __getitem__(self, check_id: str) -> Check:
        check = self.checks.get(check_id)
        assert check is not None
        return check

    def says(self) -> tuple[str, str]:
        entry = self["x"].entry
        return str(entry.status), entry.output

    def found(self, *statuses: Status) -> None:
        for status in statuses:
            self.checks._report(self["x"], Result(status, "o"))

    def urgent(self) -> list[bool]:
        """Whether each pending change is, which are settled by that."""
        pending = self.changes.pending()
        for change in pending:
            self.changes.settle(change)
        return [change.urgent for change in pending]


def test_a_ttl_check_is_critical_until_it_is_told_of_and_when_it_is_not_any_more() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        assert rig.says() == ("critical", "")
        rig.checks.tell("x", Status.PASSING, "hello")
        assert rig.says() == ("passing", "hello")
        await asyncio.sleep(9.9)
        rig.checks.tell("x", Status.WARNING, "hm")
        await asyncio.sleep(9.9)
        assert rig.says() == ("warning", "hm")
        await asyncio.sleep(0.2)
        assert rig.says() == (
            "critical",
            "TTL expired (last output before timeout follows): hm",
        )
        rig.checks.tell("x", Status.PASSING, "")
        assert rig.says() == ("passing", "")
        await asyncio.sleep(10.1)
        assert rig.says() == ("critical", "TTL expired")

    in_virtual_time(work())


def test_the_time_of_a_ttl_check_begins_with_its_registration_and_ends_once() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        await asyncio.sleep(10.1)
        assert rig.says() == ("critical", "TTL expired")
        version = rig.changes.version
        await asyncio.sleep(600)
        assert rig.changes.version == version

    in_virtual_time(work())


def test_a_removed_check_says_nothing_any_more() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        rig.checks.remove("x")
        version = rig.changes.version
        await asyncio.sleep(60)
        assert (len(rig.checks), rig.changes.version) == (0, version)

    in_virtual_time(work())


def test_a_check_that_is_defined_anew_keeps_what_it_says_and_its_last_output() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        rig.checks.tell("x", Status.PASSING, "hello")
        await asyncio.sleep(9)
        rig.add(TTL="20s", Notes="new", Status="critical")
        assert rig.says() == ("passing", "hello")
        assert rig["x"].entry.notes == "new"
        await asyncio.sleep(19)
        assert rig.says() == ("passing", "hello")
        await asyncio.sleep(2)
        expired = ("critical", "TTL expired (last output before timeout follows): hello")
        assert rig.says() == expired
        rig.add()
        await asyncio.sleep(11)
        assert rig.says() == expired

    in_virtual_time(work())


def test_what_a_check_said_before_a_restart_holds_until_its_ttl_is_over() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add(State(Status.WARNING, "before"))
        assert rig.says() == ("warning", "before")
        await asyncio.sleep(10.1)
        assert rig.says()[1] == "TTL expired (last output before timeout follows): before"

    in_virtual_time(work())


def test_long_notes_are_cut_as_consul_cuts_them() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        rig.checks.tell("x", Status.PASSING, "y" * 5000)
        assert rig.says()[1] == "y" * 4096 + " ... (captured 4096 of 5000 bytes)"

    in_virtual_time(work())


@pytest.mark.parametrize("check_id", ["x", "nope", ""])
def test_only_checks_with_a_ttl_are_told_of(check_id: str) -> None:
    async def work() -> None:
        rig = Rig()
        rig.add(TTL="", TCP="127.0.0.1:1", Interval="1h")
        with pytest.raises(GossipError) as caught:
            rig.checks.tell(check_id, Status.PASSING, "")
        assert str(caught.value) == f'CheckID "{check_id}" does not have associated TTL'
        rig.checks.stop()

    in_virtual_time(work())


def test_results_count_once_enough_of_them_came_in_a_row() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add(SuccessBeforePassing=2, FailuresBeforeCritical=3)
        rig.found(Status.PASSING, Status.CRITICAL, Status.PASSING)
        assert rig.says()[0] == "critical"
        rig.found(Status.WARNING)
        assert rig.says()[0] == "warning"
        rig.found(Status.CRITICAL, Status.CRITICAL, Status.PASSING)
        assert rig.says()[0] == "warning"
        rig.found(Status.CRITICAL, Status.CRITICAL, Status.CRITICAL)
        assert rig.says()[0] == "critical"

    in_virtual_time(work())


def test_a_new_status_is_urgent_a_new_output_is_not_and_the_same_is_no_change() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add()
        assert rig.urgent() == [True]
        rig.checks.tell("x", Status.PASSING, "a")
        assert rig.urgent() == [True]
        rig.checks.tell("x", Status.PASSING, "b")
        assert rig.urgent() == [False]
        rig.checks.tell("x", Status.PASSING, "b")
        assert rig.urgent() == []
        rig.add()
        assert rig.urgent() == []

    in_virtual_time(work())


def test_a_service_is_overdue_when_it_is_critical_for_longer_than_its_check_tolerates() -> None:
    async def work() -> None:
        rig = Rig()
        values: dict[str, Any] = {
            "TTL": "1h",
            "ServiceID": "web1",
            "DeregisterCriticalServiceAfter": "2m",
        }
        rig.add(**values)
        await asyncio.sleep(119)
        assert rig.checks.overdue() == set()
        rig.add(**values)  # which is no sign of health
        await asyncio.sleep(2)
        assert rig.checks.overdue() == {"web1"}
        rig.checks.tell("x", Status.WARNING, "")
        assert rig.checks.overdue() == set()
        rig.checks.tell("x", Status.CRITICAL, "")
        assert rig.checks.overdue() == set()
        await asyncio.sleep(121)
        assert rig.checks.overdue() == {"web1"}
        rig.checks.stop()

    in_virtual_time(work())


def test_checks_show_their_service_as_it_is_now() -> None:
    async def work() -> None:
        rig = Rig()
        rig.add(ServiceID="web1")
        assert (rig["x"].entry.service_name, rig["x"].entry.service_tags) == ("web", ("a",))
        rig.checks.rebind(ServiceEntry(node="one", id="web1", service="www", tags=("b",)))
        assert (rig["x"].entry.service_name, rig["x"].entry.service_tags) == ("www", ("b",))

    in_virtual_time(work())
