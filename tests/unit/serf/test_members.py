"""Serf's status of a member: what membership reports and what intents say, joined into one."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.config import Config
from gossip.events import Event, MemberStatus
from gossip.serf.intents import RecentIntents
from gossip.serf.members import MemberRegistry, describe_member
from gossip.swim.members import NodeInfo, Record, Status
from gossip.wire.serf import JoinIntent, LeaveIntent, encode_tags
from tests.rigs import PORT, VSN, info_of

ALIVE, LEAVING, LEFT, FAILED = (
    MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.LEFT, MemberStatus.FAILED,
)  # fmt: skip


class Rig:
    """A registry, and one record ``ann`` about which membership reports."""

    def __init__(self, **settings: Any) -> None:
        self.intents = RecentIntents(300.0)
        self.emitted: list[Event] = []
        self.registry = MemberRegistry(
            Config.lan("me", **settings),
            self.intents,
            lambda event, _now: self.emitted.append(event),
        )
        self.record = Record(info_of("ann"), 0.0)

    def report(self, status: Status, now: float = 10.0) -> None:
        """Membership says that ann became this."""
        self.record.status = status
        if status is Status.ALIVE:
            self.registry.joined(self.record, now)
        else:
            self.registry.gone(self.record, now)

    def intend(self, intent: JoinIntent | LeaveIntent, now: float = 20.0) -> None:
        member = self.registry.get("ann")
        assert member is not None
        if isinstance(intent, JoinIntent):
            self.registry.apply_join(member, intent)
        else:
            self.registry.apply_leave(member, intent, now)

    @property
    def status(self) -> MemberStatus | None:
        member = self.registry.get("ann")
        return None if member is None else member.status

    def told(self) -> list[str]:
        kinds = [type(event).__name__.removeprefix("Member").lower() for event in self.emitted]
        self.emitted.clear()
        return kinds


def rig_at(status: MemberStatus, **settings: Any) -> Rig:
    """A rig in which ann has this status since time 10."""
    rig = Rig(**settings)
    rig.report(Status.ALIVE)
    if status is LEAVING:
        rig.intend(LeaveIntent(1, "ann"), 10.0)
    elif status is LEFT:
        rig.report(Status.LEFT)
    elif status is FAILED:
        rig.report(Status.DEAD)
    rig.told()
    assert rig.status is status
    return rig


# What membership reports


def test_somebody_new_is_alive_with_a_join_event() -> None:
    rig = Rig()

    rig.report(Status.ALIVE)

    assert rig.status is ALIVE
    assert rig.told() == ["joined"]
    assert rig.registry.counts[ALIVE] == 1


@pytest.mark.parametrize(
    ("intent", "status"), [(JoinIntent(7, "ann"), ALIVE), (LeaveIntent(7, "ann"), LEAVING)]
)
def test_an_intent_that_came_before_its_member_is_applied_to_it(
    intent: JoinIntent | LeaveIntent, status: MemberStatus
) -> None:
    rig = Rig()
    rig.intents.offer(intent, 5.0)

    rig.report(Status.ALIVE)

    member = rig.registry.get("ann")
    assert member is not None
    assert (rig.status, member.status_ltime) == (status, 7)
    assert rig.told() == ["joined"]


@pytest.mark.parametrize("before", [FAILED, LEFT])
def test_somebody_back_is_alive_with_a_join_event(before: MemberStatus) -> None:
    rig = rig_at(before)
    rig.record.info = info_of("ann", meta=encode_tags({"role": "db"}))

    rig.report(Status.ALIVE)

    assert rig.status is ALIVE
    assert rig.told() == ["joined"]
    assert rig.registry.views()[0].tags == {"role": "db"}


def test_intents_do_not_apply_to_somebody_who_is_back() -> None:
    rig = rig_at(LEFT)
    rig.intents.offer(LeaveIntent(7, "ann"), 5.0)

    rig.report(Status.ALIVE)

    assert rig.status is ALIVE


@pytest.mark.parametrize(
    ("before", "report", "after", "told"),
    [
        (ALIVE, Status.DEAD, FAILED, ["failed"]),
        (LEAVING, Status.DEAD, LEFT, ["left"]),
        (LEAVING, Status.LEFT, LEFT, ["left"]),
        (FAILED, Status.DEAD, FAILED, []),
        (FAILED, Status.LEFT, FAILED, []),
        (LEFT, Status.DEAD, LEFT, []),
        (LEFT, Status.LEFT, LEFT, []),
    ],
)
def test_a_departure_is_a_failure_unless_it_was_announced(
    before: MemberStatus, report: Status, after: MemberStatus, told: list[str]
) -> None:
    rig = rig_at(before)

    rig.report(report)

    assert rig.status is after
    assert rig.told() == told


def test_s18_a_farewell_is_believed_before_its_intent_comes_unlike_in_serf() -> None:
    rig = rig_at(ALIVE)

    rig.report(Status.LEFT)
    status = rig.status
    rig.intend(LeaveIntent(7, "ann"))

    assert status is LEFT
    assert rig.status is LEFT
    assert rig.told() == ["left"]


def test_news_about_somebody_unknown_is_nothing() -> None:
    rig = Rig()

    rig.report(Status.DEAD)
    rig.registry.updated(rig.record, 10.0)

    assert rig.status is None
    assert rig.told() == []


def test_new_tags_are_an_update_event_with_the_new_tags() -> None:
    rig = rig_at(ALIVE)
    rig.record.info = info_of("ann", meta=encode_tags({"role": "db"}))

    rig.registry.updated(rig.record, 11.0)

    assert rig.status is ALIVE
    assert [event.member.tags for event in rig.emitted if hasattr(event, "member")] == [
        {"role": "db"}
    ]
    assert rig.told() == ["updated"]


# What intents say


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(ALIVE, LEAVING, []), (LEAVING, LEAVING, []), (FAILED, LEFT, ["left"]), (LEFT, LEFT, [])],
)
def test_a_leave_intent_announces_and_makes_left_of_failed(
    before: MemberStatus, after: MemberStatus, told: list[str]
) -> None:
    rig = rig_at(before)

    rig.intend(LeaveIntent(9, "ann"))

    member = rig.registry.get("ann")
    assert member is not None
    assert (rig.status, member.status_ltime) == (after, 9)
    assert rig.told() == told


@pytest.mark.parametrize(
    ("before", "after"), [(ALIVE, ALIVE), (LEAVING, ALIVE), (FAILED, FAILED), (LEFT, LEFT)]
)
def test_a_join_intent_takes_an_announcement_back(
    before: MemberStatus, after: MemberStatus
) -> None:
    rig = rig_at(before)

    rig.intend(JoinIntent(9, "ann"))

    member = rig.registry.get("ann")
    assert member is not None
    assert (rig.status, member.status_ltime) == (after, 9)
    assert rig.told() == []


# Forgetting


@pytest.mark.parametrize(
    ("status", "timeout"), [(FAILED, "reconnect_timeout"), (LEFT, "tombstone_timeout")]
)
def test_r23_the_gone_are_forgotten_after_their_timeout(status: MemberStatus, timeout: str) -> None:
    rig = rig_at(status, **{timeout: 60.0})

    rig.registry.reap(70.0)
    early = rig.told()
    rig.registry.reap(70.1)

    assert early == []
    assert rig.told() == ["reaped"]
    assert rig.status is None
    assert sum(rig.registry.counts.values()) == 0


def test_another_timeout_holds_for_those_who_failed_before_it() -> None:
    rig = rig_at(FAILED, reconnect_timeout=60.0)  # failed at 10

    rig.registry.reconnect_timeout = 5.0
    rig.registry.reap(15.1)

    assert rig.status is None


@pytest.mark.parametrize("status", [ALIVE, LEAVING])
def test_who_is_there_is_never_forgotten(status: MemberStatus) -> None:
    rig = rig_at(status, reconnect_timeout=0.0, tombstone_timeout=0.0)

    rig.registry.reap(10_000.0)

    assert rig.status is status


def test_the_time_of_departure_counts_from_the_last_one() -> None:
    rig = rig_at(FAILED, tombstone_timeout=60.0)  # failed at 10
    rig.intend(LeaveIntent(9, "ann"), 50.0)  # and left at 50

    rig.registry.reap(80.0)

    assert rig.status is LEFT


# Views


def test_a_view_shows_address_tags_and_versions() -> None:
    info = info_of("ann", addr=b"\x0a\1\2\3", meta=encode_tags({"a": "1"}))

    member = describe_member(info, LEAVING)

    assert (member.name, member.addr, member.port) == ("ann", "10.1.2.3", PORT)
    assert member.tags == {"a": "1"}
    assert member.status is LEAVING
    versions = (
        member.protocol_min, member.protocol_max, member.protocol_cur,
        member.delegate_min, member.delegate_max, member.delegate_cur,
    )  # fmt: skip
    assert versions == (1, 5, 2, 2, 5, 5)


@pytest.mark.parametrize(
    "meta", [b"\xff", b"\xff\xc1", b"\xff\x93\1\2\3", b"\xff\x81\xa1k", b"\xff\xdf"]
)
def test_s20_a_member_whose_tags_do_not_parse_has_none(meta: bytes) -> None:
    assert describe_member(info_of("ann", meta=meta), ALIVE).tags == {}


def test_a_meta_that_is_no_tags_is_a_role() -> None:
    assert describe_member(info_of("ann", meta=b"db"), ALIVE).tags == {"role": "db"}


def test_odd_versions_are_shown_as_zeros() -> None:
    assert describe_member(NodeInfo("ann", b"\x0a\1\2\3", 1, b"", VSN[:3]), ALIVE).protocol_max == 0


def test_a_view_is_made_once_per_change_and_the_version_tells_of_changes() -> None:
    rig = rig_at(ALIVE)
    before = rig.registry.views(), rig.registry.version

    same = rig.registry.views(), rig.registry.version
    rig.report(Status.DEAD)
    after = rig.registry.views(), rig.registry.version

    assert same[0][0] is before[0][0]
    assert same[1] == before[1]
    assert after[0][0] is not before[0][0]
    assert after[1] > before[1]


def test_the_counts_follow_every_change() -> None:
    rig = Rig()
    for report in (Status.ALIVE, Status.DEAD, Status.ALIVE, Status.LEFT, Status.ALIVE):
        rig.report(report)
        counts = {status: count for status, count in rig.registry.counts.items() if count}
        assert counts == {rig.status: 1}

    assert [m.info.name for m in rig.registry.with_status(ALIVE)] == ["ann"]
    assert rig.registry.with_status(FAILED) == []
    assert list(rig.registry.names(ALIVE)) == ["ann"]
