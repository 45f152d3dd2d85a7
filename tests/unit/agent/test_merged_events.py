"""Events for Serf's streams are merged by the clock of the loop, as Serf's agent merges them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from agent.rpc.merged import PERIOD, QUIET, MemberChange, MergedEvents
from gossip.events import (
    Event,
    MemberJoined,
    MemberStatus,
    MemberUpdated,
    QueryReceived,
    UserEvent,
)
from gossip.serf.members import describe_member
from gossip.subscriptions import Subscription
from tests.rigs import info_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ANN, BOB = (describe_member(info_of(name), MemberStatus.ALIVE) for name in ("ann", "bob"))
QUERY = QueryReceived(1, 1, "uptime", b"", "ann", 0.0)


def user(number: int, *, coalesce: bool) -> UserEvent:
    return UserEvent(number, "deploy", b"", coalesce)


class FakeCluster:
    """Publishes what a test says."""

    def __init__(self) -> None:
        self.subscription: Subscription[Event] | None = None

    def subscribe(self, *, limit: int, on_missed: Callable[[], None]) -> Subscription[Event]:
        self.subscription = Subscription(limit, lambda _: None, on_missed)
        return self.subscription

    def publish(self, *events: Event) -> None:
        assert self.subscription is not None
        for event in events:
            self.subscription.publish(event)


class Rig:
    """Merged events under a loop whose clock moves as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        self.cluster = FakeCluster()
        cluster: Any = self.cluster
        self.merged = MergedEvents(cluster, lambda: None)
        self.shown: list[Any] = []
        self._tasks = [
            asyncio.ensure_future(self.merged.run()),
            asyncio.ensure_future(self._follow(self.merged.subscribe(64, lambda: None))),
        ]

    async def _follow(self, subscription: Subscription[Any]) -> None:
        async for item in subscription:
            self.shown.append(item)

    async def publish(self, *events: Event) -> None:
        self.cluster.publish(*events)
        await self.pass_on(0)

    async def pass_on(self, seconds: float) -> list[Any]:
        """Let time pass; gives what was shown since the last look."""
        self.now += seconds
        for _ in range(8):  # from the source to the merger to the follower
            await asyncio.sleep(0)
        shown, self.shown = self.shown, []
        return shown

    async def close(self) -> None:
        self.merged.close()
        await asyncio.gather(*self._tasks)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    await rig.close()


async def test_members_are_shown_together_after_a_quiet_second(rig: Rig) -> None:
    await rig.publish(MemberJoined(ANN))
    early = await rig.pass_on(QUIET * 0.9)
    await rig.publish(MemberJoined(BOB))
    early += await rig.pass_on(QUIET * 0.9)

    assert early == []
    assert await rig.pass_on(QUIET * 0.2) == [MemberChange(MemberJoined, (ANN, BOB))]


async def test_members_in_motion_are_shown_after_three_seconds(rig: Rig) -> None:
    shown = []
    for _ in range(5):
        await rig.publish(MemberUpdated(ANN))
        shown.append(await rig.pass_on(PERIOD / 4))

    change = MemberChange(MemberUpdated, (ANN,))
    assert shown == [[], [], [], [change], []]


async def test_user_events_do_not_wait_for_members_in_motion(rig: Rig) -> None:
    await rig.publish(user(1, coalesce=True), user(2, coalesce=True), MemberJoined(ANN))
    await rig.pass_on(QUIET * 0.9)
    await rig.publish(MemberJoined(BOB))

    assert await rig.pass_on(QUIET * 0.2) == [user(2, coalesce=True)]


async def test_what_may_not_be_merged_passes_at_once(rig: Rig) -> None:
    events: list[Event] = [user(1, coalesce=False), QUERY, user(2, coalesce=False)]
    rig.cluster.publish(MemberJoined(ANN), *events)

    assert await rig.pass_on(0) == events


async def test_with_the_cluster_the_subscriptions_end(rig: Rig) -> None:
    assert len(rig.merged) == 1
    assert rig.cluster.subscription is not None

    rig.cluster.subscription.close()
    await rig.pass_on(0)

    assert len(rig.merged) == 0
