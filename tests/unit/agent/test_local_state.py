"""Services and checks of an agent: registration, restarts, reloads, maintenance; timers in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent import local_state as module
from agent.changes import Kind
from agent.decode import Body
from agent.definitions import check_definition, service_definition
from agent.local_files import Folder, State
from agent.local_state import LocalState
from agent.maintenance import UnknownServiceError, maintain_node, maintain_service
from agent.store.entries import Status
from gossip.errors import GossipError, LimitError
from tests.helpers_agent import agent_config
from tests.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent.config import AgentConfig
    from agent.definitions import CheckDefinition, ServiceDefinition

TTL = {"TTL": "10s"}


def service(name: str = "web", **values: Any) -> ServiceDefinition:
    return service_definition(Body({"Name": name} | values))


def check(name: str = "mem", **values: Any) -> CheckDefinition:
    return check_definition(Body({"Name": name} | TTL | values))


def script(name: str = "run", **values: Any) -> CheckDefinition:
    return check(name, TTL="", Args=["true"], Interval="1h", **values)


def config(
    services: list[ServiceDefinition] | None = None,
    checks: list[CheckDefinition] | None = None,
    **settings: Any,
) -> AgentConfig:
    return agent_config(services=tuple(services or ()), checks=tuple(checks or ()), **settings)


@asynccontextmanager
async def started(
    used: AgentConfig | None = None, folder: Path | None = None
) -> AsyncIterator[LocalState]:
    state = LocalState(used or config(), folder)
    try:
        await state.start()
        yield state
    finally:
        await state.stop()


def ids(state: LocalState) -> tuple[list[str], list[str]]:
    return sorted(state.services), sorted(one.entry.check_id for one in state.checks)


def says(state: LocalState, check_id: str) -> tuple[str, str]:
    found = state.checks.get(check_id)
    assert found is not None
    return str(found.entry.status), found.entry.output


# Registration


async def test_a_service_comes_with_its_checks_and_goes_with_all_of_them() -> None:
    async with started() as state:
        await state.register_service(service(Checks=[TTL, TTL]))
        await state.register_check(check(ServiceID="web"))
        await state.register_check(check("disk"))
        await maintain_service(state, "web", enable=True)
        assert ids(state) == (
            ["web"],
            ["_service_maintenance:web", "disk", "mem", "service:web:1", "service:web:2"],
        )
        assert state.services["web"].entry.node == "one"
        await state.deregister_service("web")
        assert ids(state) == ([], ["disk"])


async def test_checks_missing_from_a_new_definition_stay_unless_they_are_to_be_replaced() -> None:
    async with started() as state:
        await state.register_service(service(Checks=[TTL, TTL]))
        await state.register_check(check(ServiceID="web"))
        await maintain_service(state, "web", enable=True)
        await state.register_service(service(Check=TTL))
        assert len(state.checks) == 5
        state.tell("service:web", Status.PASSING, "kept")
        await state.register_service(service(Check=TTL), replace_checks=True)
        assert ids(state)[1] == ["_service_maintenance:web", "service:web"]
        assert says(state, "service:web") == ("passing", "kept")


async def test_what_is_not_there_is_deregistered_without_a_mistake_and_what_has_no_id_is_one() -> (
    None
):
    async with started() as state:
        await state.deregister_service("nope")
        await state.deregister_check("nope")
        with pytest.raises(GossipError, match=r"^ServiceID missing$"):
            await state.deregister_service("")
        with pytest.raises(GossipError, match=r"^CheckID missing$"):
            await state.deregister_check("")


async def test_a_check_of_an_unknown_service_is_refused() -> None:
    async with started() as state:
        with pytest.raises(GossipError, match=r'^ServiceID "nope" does not exist$'):
            await state.register_check(check(ServiceID="nope"))
        assert ids(state) == ([], [])


async def test_scripts_of_clients_need_their_own_switch() -> None:
    async with started(config(enable_local_script_checks=True)) as state:
        for work in (
            state.register_check(script()),
            state.register_service(service(Check={"Args": ["true"], "Interval": "1h"})),
        ):
            with pytest.raises(GossipError, match="Scripts are disabled on this agent from remote"):
                await work
        assert ids(state) == ([], [])
    async with started(config(enable_script_checks=True)) as state:
        await state.register_check(script())
        assert ids(state) == ([], ["run"])


async def test_there_is_room_for_so_many_services_and_checks_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_SERVICES", 1)
    monkeypatch.setattr(module, "MAX_CHECKS", 2)
    async with started() as state:
        await state.register_service(service(Check=TTL))
        await state.register_service(service(Check=TTL))
        with pytest.raises(LimitError, match="this agent has 1 services"):
            await state.register_service(service("api"))
        with pytest.raises(LimitError, match="may have 2 checks"):
            await state.register_service(service(Checks=[TTL, TTL]))
        await state.register_check(check())
        with pytest.raises(LimitError, match="may have 2 checks"):
            await state.register_check(check("disk"))
        await state.register_check(check())
        assert state.stats()["refused"] == 3


async def test_every_change_is_to_be_told_to_the_catalog_once() -> None:
    async with started() as state:
        await state.register_service(service(Check=TTL))
        assert [(one.kind, one.id) for one in state.changes.pending()] == [
            (Kind.SERVICE, "web"),
            (Kind.CHECK, "service:web"),
        ]
        for change in state.changes.pending():
            state.changes.settle(change)
        await state.register_service(service(Check=TTL))
        assert len(state.changes) == 0
        await state.register_service(service(Check=TTL, Port=1))
        assert len(state.changes) == 1
        await state.deregister_service("web")
        assert {(one.kind, one.id) for one in state.changes.pending()} == {
            (Kind.SERVICE, "web"),
            (Kind.CHECK, "service:web"),
        }


async def test_tags_that_the_catalog_has_are_taken_over_without_another_change() -> None:
    async with started() as state:
        await state.register_service(service(Check=TTL, EnableTagOverride=True))
        version = state.changes.version
        state.take_tags("web", ("blue",))
        assert state.services["web"].entry.tags == ("blue",)
        found = state.checks.get("service:web")
        assert found is not None
        assert (found.entry.service_tags, state.changes.version) == (("blue",), version)


# Restarts


async def test_clients_registrations_are_there_after_a_restart_with_what_ttl_checks_said(
    tmp_path: Path,
) -> None:
    async with started(folder=tmp_path) as state:
        await state.register_service(service(Tags=["a"], Check=TTL))
        await state.register_check(check())
        await state.register_check(check("gone"))
        state.tell("service:web", Status.PASSING, "hello")
        state.tell("gone", Status.PASSING, "")
        await state.deregister_check("gone")
        await maintain_node(state, enable=True, reason="why")
    async with started(folder=tmp_path) as state:
        assert ids(state) == (["web"], ["_node_maintenance", "mem", "service:web"])
        assert says(state, "service:web") == ("passing", "hello")
        assert says(state, "mem") == ("critical", "")
        maintenance = state.checks.get("_node_maintenance")
        assert maintenance is not None
        assert maintenance.entry.notes == "why"
        await state.register_check(check("gone"))
        assert says(state, "gone") == ("critical", "")


async def test_the_configuration_wins_over_what_clients_registered_before_the_restart(
    tmp_path: Path,
) -> None:
    async with started(folder=tmp_path) as state:
        await state.register_service(service(Port=1, Check=TTL))
        state.tell("service:web", Status.WARNING, "hm")
    defined = config([service(Port=2, Check=TTL)])
    async with started(defined, tmp_path) as state:
        assert state.services["web"].entry.port == 2
        assert says(state, "service:web") == ("warning", "hm")
    async with started(folder=tmp_path) as state:
        assert ids(state) == ([], [])


async def test_what_ttl_checks_said_too_long_ago_is_removed_by_the_next_start(
    tmp_path: Path,
) -> None:
    folder = tmp_path / Folder.STATES.value
    async with started(folder=tmp_path) as state:
        await state.register_check(check())
        for name in ("mem", "gone"):
            state._files.save_state(name, State(Status.PASSING, ""), -60)
    assert len(list(folder.iterdir())) == 2
    async with started(folder=tmp_path) as state:
        assert says(state, "mem") == ("critical", "")
    assert list(folder.iterdir()) == []


async def test_what_cannot_be_restored_is_named_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(config(enable_script_checks=True), tmp_path) as state:
        await state.register_service(service())
        await state.register_check(check(ServiceID="web"))
        await state.register_check(script())
        await state._files.save({(Folder.SERVICES, "web"): None})
    for warnings in (2, 0):
        caplog.clear()
        async with started(folder=tmp_path) as state:
            assert ids(state) == ([], [])
        assert len(caplog.messages) == warnings


async def test_a_registration_that_the_disk_does_not_take_is_none(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("in the way")
    async with started(folder=tmp_path) as state:
        with pytest.raises(GossipError, match="cannot keep it on the disk"):
            await state.register_service(service())
        assert ids(state) == ([], [])


# The configuration


async def test_a_reload_adds_changes_and_removes_and_leaves_the_rest_alone() -> None:
    kept = service("kept", Check=TTL)
    before = config([kept, service("web", Check=TTL), service("old")], [check(), check("disk")])
    async with started(before) as state:
        await state.register_service(service("mine"))
        await state.register_check(check("note", ServiceID="old"))
        state.tell("service:kept", Status.PASSING, "k")
        state.tell("service:web", Status.PASSING, "w")
        runner = state.checks.get("service:kept")
        state.follow(config([kept, service("web", Port=1, Check=TTL), service("new")], [check()]))
        assert ids(state) == (
            ["kept", "mine", "new", "web"],
            ["mem", "service:kept", "service:web"],
        )
        assert state.checks.get("service:kept") is runner
        assert says(state, "service:web") == ("passing", "w")
        assert state.services["web"].entry.port == 1


async def test_a_reload_takes_back_what_a_client_defined_over_it(tmp_path: Path) -> None:
    defined = config([service(Port=1)])
    async with started(defined, tmp_path) as state:
        await state.register_service(service(Port=2))
        assert state.services["web"].entry.port == 2
        state.follow(defined)
        assert state.services["web"].entry.port == 1
    async with started(folder=tmp_path) as state:
        assert ids(state) == ([], [])


async def test_scripts_of_clients_end_when_a_reload_turns_them_off(tmp_path: Path) -> None:
    async with started(config(enable_script_checks=True), tmp_path) as state:
        await state.register_check(script())
        state.follow(config())
        assert ids(state) == ([], [])
    async with started(config(enable_script_checks=True), tmp_path) as state:
        assert ids(state) == ([], [])


async def test_a_check_of_a_service_that_nobody_defined_is_named_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with started(
        config([service()], [check(ServiceID="web"), check("x", ServiceID="nope")])
    ) as s:
        assert ids(s) == (["web"], ["mem"])
    (message,) = caplog.messages
    assert "id=x service=nope" in message


async def test_the_configuration_may_check_a_service_that_a_client_registered(
    tmp_path: Path,
) -> None:
    async with started(folder=tmp_path) as state:
        await state.register_service(service())
    async with started(config(checks=[check(ServiceID="web")]), tmp_path) as state:
        assert ids(state) == (["web"], ["mem"])
        found = state.checks.get("mem")
        assert found is not None
        assert found.entry.service_name == "web"


# Maintenance


async def test_maintenance_is_a_critical_check_with_the_reason_and_twice_is_as_good_as_once() -> (
    None
):
    async with started() as state:
        await state.register_service(service())
        await maintain_node(state, enable=True)
        await maintain_service(state, "web", enable=True, reason="upgrade")
        await maintain_service(state, "web", enable=True, reason="another")
        node = state.checks.get("_node_maintenance")
        web = state.checks.get("_service_maintenance:web")
        assert node is not None
        assert web is not None
        assert (node.entry.name, node.entry.status) == ("Node Maintenance Mode", "critical")
        assert node.entry.notes == (
            "Maintenance mode is enabled for this node, but no reason was provided."
            " This is a default message."
        )
        assert (web.entry.name, web.entry.notes) == ("Service Maintenance Mode", "upgrade")
        for _ in range(2):
            await maintain_node(state, enable=False)
            await maintain_service(state, "web", enable=False)
        assert ids(state)[1] == []


async def test_maintenance_of_an_unknown_service_is_a_mistake() -> None:
    async with started() as state:
        with pytest.raises(UnknownServiceError, match=r'^No service registered with ID "nope"$'):
            await maintain_service(state, "nope", enable=True)


# Services that are critical for too long


def test_a_service_that_is_critical_for_too_long_is_deregistered() -> None:
    async def work() -> None:
        async with started() as state:
            limit = {"DeregisterCriticalServiceAfter": "10m", "TTL": "1m"}
            await state.register_service(service(Check=limit))
            await state.register_service(service("api", Check=limit))
            await state.register_check(check("node", TTL="1m"))
            for _ in range(22):
                state.tell("service:api", Status.WARNING, "")
                assert "web" in state.services
                await asyncio.sleep(29)
            assert ids(state) == (["api"], ["node", "service:api"])
            assert state.stats()["reaped"] == 1

    in_virtual_time(work())


def test_a_service_that_the_disk_does_not_let_go_of_is_tried_again_and_counted_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with started() as state:
            limit = {"DeregisterCriticalServiceAfter": "1m", "TTL": "1m"}
            await state.register_service(service(Check=limit))
            monkeypatch.setattr(state._files, "save", refuse)
            await asyncio.sleep(300)
            assert ids(state)[0] == ["web"]
            assert state.stats()["reaped"] == 0
            assert "deregistered" not in caplog.text
            monkeypatch.undo()
            await asyncio.sleep(60)
            assert ids(state)[0] == []
            assert state.stats()["reaped"] == 1
            assert caplog.text.count("deregistered") == 1

    async def refuse(_changes: object) -> None:
        raise GossipError("cannot keep it on the disk: it is full")

    in_virtual_time(work())


async def test_counts_are_consuls() -> None:
    async with started(config(enable_script_checks=True)) as state:
        await state.register_service(service(Check=TTL))
        await state.register_check(script())
        await state.register_check(check("tcp", TTL="", TCP="127.0.0.1:1", Interval="1h"))
        assert state.counts() == {
            "check_monitors": "1",
            "check_ttls": "1",
            "checks": "3",
            "services": "1",
        }
