"""Seeds: joining through them, and finding the pool again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from agent import seeds
from agent.config import Ports
from gossip.errors import JoinError
from gossip.events import Member, MemberStatus
from tests.helpers_agent import TestAgent, eventually, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOG = logging.getLogger("agent.lan")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "FIRST_PAUSE", 0.05)


async def isolated(agent: TestAgent) -> str:
    return str((await agent.get("/v1/agent/self")).json["Stats"]["agent"]["isolated"])


async def test_r17_a_node_that_lost_everybody_says_so_and_finds_them_through_its_seeds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack:
        async with running("a") as a:
            port = a.agent.cluster.local_address[1]
            b = await stack.enter_async_context(running("b", retry_join=(a.gossip,)))
            await b.agent.join_configured()
            await eventually(lambda: len(b.agent.cluster.members()) == 2)
            assert await isolated(b) == "false"
        await eventually(lambda: b.agent.seeds.isolated, seconds=20)
        assert await isolated(b) == "true"
        await eventually(lambda: "no other member is alive, trying seeds=" in caplog.text)
        # Serf itself would wait for its reconnect interval of 30 s.
        await stack.enter_async_context(running("another", ports=Ports(http=0, serf_lan=port)))

        async def found() -> bool:
            return await isolated(b) == "false"

        await eventually(found)
        assert "another" in {member.name for member in b.agent.cluster.members()}


async def test_r17_a_seed_that_never_answered_is_isolation_and_our_own_address_is_none() -> None:
    settings: dict[str, Any] = {"retry_join": ("127.0.0.1:1",), "retry_interval": 60}
    async with running("a", **settings) as a:
        assert await isolated(a) == "false"
        await a.agent.join_configured()
        await eventually(lambda: a.agent.seeds.isolated)
    async with running("b") as probe:
        own = probe.gossip
        port = probe.agent.cluster.local_address[1]
    async with running("b", ports=Ports(http=0, serf_lan=port), retry_join=(own,)) as b:
        await b.agent.join_configured()
        await eventually(lambda: b.agent.seeds._pause > 0.05)  # it had a look
        assert not b.agent.seeds.isolated


async def test_r17_a_restarted_agent_that_finds_nobody_of_its_last_run_is_isolated(
    tmp_path: Path,
) -> None:
    async with running("a") as a:
        async with running("b", data_dir=str(tmp_path)) as b:
            await b.agent.join(a.gossip)
            await eventually(lambda: b"alive: a " in snapshot_of(tmp_path))
        async with running("b", data_dir=str(tmp_path)) as b:
            await eventually(lambda: len(b.agent.cluster.members()) == 2)
            assert await isolated(b) == "false"
            port = a.agent.cluster.local_address[1]
    async with running("b", data_dir=str(tmp_path)) as b:
        assert await isolated(b) == "true"
        async with running("a", ports=Ports(http=0, serf_lan=port)):
            await eventually(lambda: not b.agent.seeds.isolated)


async def test_r16_seeds_and_the_members_of_the_last_run_are_both_tried(tmp_path: Path) -> None:
    (tmp_path / "serf").mkdir()
    settings: dict[str, Any] = {"data_dir": str(tmp_path), "retry_interval": 0.05}
    async with running("seed") as seed, running("known") as known:
        snapshot_file(tmp_path).write_text(f"alive: known {known.gossip}\n")
        async with running("b", retry_join=(seed.gossip,), **settings) as b:
            await b.agent.join_configured()
            await eventually(lambda: len(b.agent.cluster.members()) == 3)
        assert known.agent.cluster.node.members.get("seed") is not None


def snapshot_file(data_dir: Path) -> Path:
    return data_dir / "serf" / "local.snapshot"


def snapshot_of(data_dir: Path) -> bytes:
    return snapshot_file(data_dir).read_bytes()


class Pool:
    """What `Seeds` asks of a cluster, with members as a test sets them."""

    local_address = ("10.0.0.1", 8301)
    members_version = 1
    rejoining = False

    def __init__(self, *alive: str) -> None:
        self.alive = ["10.0.0.1", *alive]
        self.tried: list[list[str]] = []
        self.ignored_old: list[bool] = []
        self.config = self
        self.name = "10.0.0.1"

    def members(self) -> list[Member]:
        return [Member(ip, ip, 8301, {}, MemberStatus.ALIVE, 1, 5, 2, 2, 5, 4) for ip in self.alive]

    async def join(self, addresses: Sequence[str], *, ignore_old_events: bool = True) -> int:
        self.tried.append(list(addresses))
        self.ignored_old.append(ignore_old_events)
        raise JoinError("nobody")

    async def members_changed(self, version: int) -> int:
        return version


def keeper_of(pool: Pool, *addresses: str) -> seeds.Seeds:
    settings = seeds.SeedSettings(retry_join=addresses)
    return seeds.Seeds(pool, settings, log=LOG)  # type: ignore[arg-type]


async def test_r16_seeds_that_are_alive_members_are_left_alone() -> None:
    addresses = ("10.0.0.1", "10.0.0.2:8301", "n3/10.0.0.3", "10.0.0.4", "a:b:c")
    keeper = keeper_of(Pool("10.0.0.2", "10.0.0.3"), *addresses)
    assert await keeper._missing() == ["10.0.0.4", "a:b:c"]


async def test_r16_missing_seeds_are_tried_again_and_again_in_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seeds, "CHECK_INTERVAL", 0.02)
    pool = Pool("10.0.0.2")
    keeper = keeper_of(pool, "10.0.0.2", "10.0.0.9")
    task = asyncio.ensure_future(keeper.stay_joined())
    await eventually(lambda: len(pool.tried) >= 3)
    task.cancel()
    assert pool.tried[0] == ["10.0.0.9"]
    assert not keeper.isolated


async def test_seeds_that_are_found_again_bring_the_events_of_the_time_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seeds, "CHECK_INTERVAL", 0.02)
    pool = Pool("10.0.0.2")
    keeper = keeper_of(pool, "10.0.0.9")
    task = asyncio.ensure_future(keeper.stay_joined())
    await eventually(lambda: bool(pool.ignored_old))
    task.cancel()
    assert not pool.ignored_old[0]


async def test_r17_attempts_in_isolation_grow_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr("agent.seeds.asyncio.sleep", sleep)
    monkeypatch.setattr("agent.seeds.random.uniform", lambda _a, _b: 1.0)
    keeper = keeper_of(Pool(), "10.0.0.9")
    task = asyncio.ensure_future(keeper.stay_joined())
    while len(pauses) < 14:
        await real(0)
    task.cancel()
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.4]
    assert pauses[13] == 60
