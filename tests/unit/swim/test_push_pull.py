"""Push/pull: what we tell, what we believe, what refuses a whole state, and when exchanges happen."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.errors import JoinError
from gossip.swim.exchange import PushPullExchange
from gossip.swim.members import Status
from gossip.wire.messages import Dead, PushPull, PushPullNode, Suspect
from tests.rigs import PORT, VSN, SwimRig, address_of, alive, answer, info_of, ip_of


def row(name: str, state: int = Status.ALIVE, incarnation: int = 1, **fields: Any) -> PushPullNode:
    given: dict[str, Any] = {"addr": ip_of(name), "port": PORT, "meta": b"", "vsn": VSN}
    return PushPullNode(name=name, state=state, incarnation=incarnation, **(given | fields))


def merge(
    rig: SwimRig, *rows: PushPullNode, user_state: bytes = b"", join: bool = False,
    dialed: bool = True, ignore_old: bool = False,
) -> None:  # fmt: skip
    state = PushPull(join, list(rows), user_state)
    rig.m.state_exchange.merge(state, rig.now, join=join, ignore_old=ignore_old, dialed=dialed)


def rig_at(status: Status | None, incarnation: int = 5, **settings: Any) -> SwimRig:
    """A rig in which ann has this status, and bob is alive."""
    rig = SwimRig(**settings)
    rig.learn("bob")
    if status is not None:
        rig.hear(alive("ann", incarnation))
    if status is Status.SUSPECT:
        rig.hear(Suspect(incarnation, "ann", "bob"))
    elif status is not None and status is not Status.ALIVE:
        rig.hear(Dead(incarnation, "ann", "ann" if status is Status.LEFT else "bob"))
    rig.quiet()
    return rig


# What we tell


def test_our_state_names_everybody_the_gone_included() -> None:
    rig = rig_at(Status.LEFT)
    rig.hear(alive("cat", 2, meta=b"tags"), Dead(2, "cat", "bob"))
    rig.delegate.state = b"clocks"

    state = rig.m.state_exchange.own_state(join=True)

    assert state == PushPull(
        True,
        [
            row("me"),
            row("bob"),
            row("ann", Status.LEFT, 5),
            row("cat", Status.DEAD, 2, meta=b"tags"),
        ],
        b"clocks",
    )


# What we believe, record by record


def test_an_alive_record_is_an_alive_message() -> None:
    rig = SwimRig()
    rig.quiet()

    merge(rig, row("ann", incarnation=7, meta=b"tags"))

    assert rig.status("ann") is Status.ALIVE
    assert rig.record("ann").info == info_of("ann", meta=b"tags")
    assert rig.news() == [alive("ann", 7, meta=b"tags")]


def test_port_zero_means_our_own_port() -> None:
    rig = SwimRig()

    merge(rig, row("ann", port=0))

    assert rig.record("ann").info.port == PORT


@pytest.mark.parametrize("state", [Status.SUSPECT, Status.DEAD])
def test_the_death_of_others_is_no_more_than_a_suspicion_of_ours(state: Status) -> None:
    rig = rig_at(Status.ALIVE)

    merge(rig, row("ann", state, 5))

    assert rig.status("ann") is Status.SUSPECT
    assert rig.news() == [Suspect(5, "ann", "me")]
    rig.hear(alive("ann", 6))  # and it has the chance to refute
    assert rig.status("ann") is Status.ALIVE


def test_a_left_record_is_a_farewell() -> None:
    rig = rig_at(Status.ALIVE)

    merge(rig, row("ann", Status.LEFT, 5))

    assert rig.status("ann") is Status.LEFT
    assert rig.news() == [Dead(5, "ann", "ann")]
    assert rig.delegate.calls == [("left", "ann")]


@pytest.mark.parametrize("state", [Status.SUSPECT, Status.DEAD, Status.LEFT])
def test_nobody_is_learned_who_is_not_alive(state: Status) -> None:
    rig = SwimRig()
    rig.quiet()

    merge(rig, row("ann", state))

    assert rig.status("ann") is None
    assert rig.news() == []


@pytest.mark.parametrize("state", list(Status))
@pytest.mark.parametrize("held", [Status.ALIVE, Status.SUSPECT, Status.DEAD, Status.LEFT])
def test_older_records_change_nothing(held: Status, state: Status) -> None:
    rig = rig_at(held)

    merge(rig, row("ann", state, 4))

    assert rig.status("ann") is held
    assert rig.record("ann").incarnation == 5
    assert rig.news() == []


@pytest.mark.parametrize(
    ("state", "incarnation", "meta", "refuted_with"),
    [
        (Status.ALIVE, 1, b"", None),
        (Status.ALIVE, 1, b"before", 2),
        (Status.ALIVE, 9, b"", 10),
        (Status.SUSPECT, 1, b"", 2),
        (Status.DEAD, 9, b"", 10),
        (Status.LEFT, 9, b"", 10),
    ],
)
def test_r25_what_peers_remember_of_us_from_before_a_restart_is_answered(
    state: Status, incarnation: int, meta: bytes, refuted_with: int | None
) -> None:
    rig = rig_at(None)

    merge(rig, row("me", state, incarnation, meta=meta), join=True)

    assert rig.m.own.status is Status.ALIVE
    assert rig.news() == ([alive("me", refuted_with)] if refuted_with else [])


@pytest.mark.parametrize("addr", [b"", b"abc", bytes(4), b"\xe0\0\0\1"])
def test_h1_records_with_useless_addresses_are_skipped_and_counted(addr: bytes) -> None:
    rig = SwimRig()

    merge(rig, row("ann", addr=addr), row("bob"))

    assert rig.status("ann") is None
    assert rig.status("bob") is Status.ALIVE
    assert rig.stats["addresses_refused"] == 1


def test_s20_records_that_exceed_our_limits_are_left_out_and_counted() -> None:
    rig = SwimRig()
    exchange = rig.m.state_exchange.dial(address_of("ann"), rig.now, join=False)

    answer(
        exchange,
        rig.stream_codec,
        [row("x" * 256), row("ann"), row("bob", meta=bytes(513))],
        rig.now,
    )

    assert {record.info.name for record in rig.m.table} == {"me", "ann"}
    assert rig.stats["records_skipped"] == 2


def test_the_layer_above_gets_its_part_after_the_members_are_known() -> None:
    rig = SwimRig()

    merge(rig, row("ann"), user_state=b"clocks", join=True, ignore_old=True)

    assert rig.delegate.merged == [(b"clocks", True, True)]


def test_an_empty_part_is_not_handed_on() -> None:
    rig = SwimRig()

    merge(rig, row("ann"))

    assert rig.delegate.merged == []


# What refuses a state as a whole


def refused(rig: SwimRig, *rows: PushPullNode, **options: Any) -> str:
    """Merge a state that has to be refused without a trace; returns why."""
    before = {record.info.name: (record.status, record.incarnation) for record in rig.m.table}
    with pytest.raises(JoinError) as error:
        merge(rig, *rows, user_state=b"clocks", **options)
    after = {record.info.name: (record.status, record.incarnation) for record in rig.m.table}
    assert after == before
    assert rig.delegate.merged == []
    assert rig.stats["merges_refused"] == 1
    return str(error.value)


@pytest.mark.parametrize(
    "vsn",
    [
        b"",
        bytes(6),
        bytes((1, 5, 6, 2, 5, 5)),  # speaks what nobody else understands
        bytes((3, 5, 3, 2, 5, 5)),  # does not understand what we speak
        bytes((1, 1, 1, 2, 5, 5)),
        bytes((1, 5, 2, 2, 5, 6)),
        bytes((1, 5, 2, 2, 3, 3)),
    ],
)
def test_r32_one_member_with_versions_that_do_not_fit_refuses_the_state(vsn: bytes) -> None:
    rig = rig_at(None)

    reason = refused(rig, row("ann", vsn=vsn), row("cat"))

    assert "the pool understands" in reason


@pytest.mark.parametrize("state", [Status.SUSPECT, Status.DEAD, Status.LEFT])
def test_r32_even_if_it_is_gone(state: Status) -> None:
    rig = rig_at(None)

    assert "'ann' speaks memberlist 0" in refused(rig, row("ann", state, vsn=bytes(6)), row("cat"))


def test_r32_ranges_are_those_of_the_alive_only() -> None:
    rig = rig_at(None)

    merge(rig, row("ann", Status.DEAD, vsn=bytes((2, 2, 2, 5, 5, 5))))

    assert rig.stats["merges_refused"] == 0


@pytest.mark.parametrize("serf", [2, 3, 4, 5])
def test_every_serf_protocol_may_join(serf: int) -> None:
    rig = rig_at(None)

    merge(rig, row("ann", vsn=bytes((1, 5, 2, 2, 5, serf))))

    assert rig.status("ann") is Status.ALIVE


def test_a_leaving_node_alone_with_the_departed_can_still_merge() -> None:
    rig = SwimRig()
    rig.m.leave(rig.now)

    merge(rig, row("ann", Status.LEFT))


def test_r24_one_member_that_the_application_refuses_refuses_the_state() -> None:
    rig = rig_at(None)
    rig.delegate.refused["ann"] = "ann is of the pool west, this is east"

    reason = refused(rig, row("cat"), row("ann"), join=True)

    assert reason == "ann is of the pool west, this is east"
    assert rig.m.take_notices() == [reason]


def test_the_application_is_asked_once_about_all_newcomers_of_a_join_and_what_they_are() -> None:
    rig = rig_at(Status.ALIVE)
    rig.delegate.asked.clear()
    rig.delegate.refused["dan"] = "dan may not be here"

    refused(rig, row("ann"), row("cat"), row("dan", Status.LEFT), join=True)

    assert rig.delegate.asked == [[("cat", Status.ALIVE), ("dan", Status.LEFT)]]


def test_in_a_periodic_exchange_only_the_refused_member_is_left_out() -> None:
    rig = rig_at(None)
    rig.delegate.refused["ann"] = "not welcome"

    merge(rig, row("cat"), row("ann"))

    assert rig.status("cat") is Status.ALIVE
    assert rig.m.table.get("ann") is None
    assert rig.stats["members_refused"] == 1


def test_members_admitted_before_are_not_asked_about_again() -> None:
    rig = rig_at(Status.ALIVE)
    rig.delegate.refused["ann"] = "not any more"

    merge(rig, row("ann", incarnation=5), row("cat"))

    assert rig.status("cat") is Status.ALIVE


def test_r14_a_join_finds_our_name_in_use_at_another_address() -> None:
    rig = SwimRig()
    rig.quiet()

    reason = refused(rig, row("me", addr=ip_of("other")), row("cat"), join=True)

    assert reason.startswith("the name 'me' is in use by a member at ")
    assert rig.delegate.conflicts == []


@pytest.mark.parametrize("options", [{"join": False}, {"join": True, "dialed": False}])
def test_otherwise_our_name_elsewhere_is_a_conflict(options: dict[str, Any]) -> None:
    rig = SwimRig()

    merge(rig, row("me", addr=ip_of("other")), row("cat"), **options)

    assert len(rig.delegate.conflicts) == 1
    assert rig.status("cat") is Status.ALIVE


@pytest.mark.parametrize("state", [Status.DEAD, Status.LEFT, Status.SUSPECT])
def test_our_name_from_a_former_life_elsewhere_does_not_stop_a_join(state: Status) -> None:
    rig = SwimRig()
    rig.quiet()

    merge(rig, row("me", state, 4, addr=ip_of("other")), join=True)

    assert rig.news() == [alive("me", 5)]


# When exchanges happen


def dials_at(rig: SwimRig, seconds: float) -> list[float]:
    """Times of the exchanges that begin within so many seconds."""
    end, times = rig.now + seconds, list[float]()
    while rig.now < end:
        rig.advance(0.1)
        for dial in rig.dials():
            if isinstance(dial, PushPullExchange):
                times.append(round(rig.now, 1))
    return times


def test_states_are_exchanged_with_an_alive_member_on_the_interval() -> None:
    rig = SwimRig(push_pull_interval=30.0)
    rig.learn("ann", "bob")
    rig.hear(Dead(1, "bob", "bob"))
    rig.m.prober.stop()

    first, second, third = dials_at(rig, 90)

    assert 100 <= first <= 130.1
    assert second - first == pytest.approx(30, abs=0.11)
    assert third - second == pytest.approx(30, abs=0.11)
    assert first < 130.1


def test_an_exchange_tells_our_state_and_is_no_join() -> None:
    rig = SwimRig(push_pull_interval=1.0)
    rig.learn("ann")
    rig.m.prober.stop()
    rig.advance(1.0)

    (dial,) = rig.dials()

    assert isinstance(dial, PushPullExchange)
    assert (dial.address, dial.join, dial.ignore_old) == (address_of("ann"), False, False)


@pytest.mark.parametrize(
    ("members", "factor"), [(32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (129, 4)]
)
def test_larger_clusters_exchange_more_rarely(members: int, factor: int) -> None:
    rig = SwimRig(push_pull_interval=10.0)
    rig.learn(*[f"node-{number}" for number in range(members - 1)])
    rig.m.prober.stop()
    rig.advance(10.0)
    rig.dials()

    first, second = dials_at(rig, 10.0 * factor * 2 + 0.1)[:2]

    assert second - first == pytest.approx(10.0 * factor, abs=0.11)


def test_no_exchanges_without_others_or_when_switched_off() -> None:
    alone, off = SwimRig(push_pull_interval=1.0), SwimRig(push_pull_interval=0.0)
    off.learn("ann")
    off.m.prober.stop()

    assert dials_at(alone, 10) == []
    assert dials_at(off, 10) == []


def test_a_join_is_followed_by_one_more_exchange_soon() -> None:
    rig = SwimRig()
    rig.m.prober.stop()

    merge(rig, row("ann"), join=True)
    merge(rig, row("ann"), join=True)  # two seeds answered

    (time,) = dials_at(rig, 30)
    assert 100.2 <= time <= 100.6


@pytest.mark.parametrize(("late", "asks"), [(0.7, False), (1.0, False), (1.1, True), (600.0, True)])
def test_r09_after_a_long_stall_the_others_are_asked_how_they_saw_us(
    late: float, *, asks: bool
) -> None:
    rig = SwimRig()
    rig.learn("ann")
    rig.m.prober.stop()

    rig.m.stalled(late, rig.now)

    assert len(dials_at(rig, 5)) == asks


def test_a_member_learned_of_in_a_larger_pool_makes_some_exchange_soon() -> None:
    exchanging = 0
    for seed in range(60):
        rig = SwimRig(seed=seed, push_pull_interval=0.0)
        rig.learn(*(f"n{number}" for number in range(31)))
        rig.advance(2.0)
        rig.m.take_dials()

        rig.learn("newcomer")  # the 33rd member, so one node in four

        rig.advance(1.0)
        exchanging += any(isinstance(d, PushPullExchange) for d in rig.m.take_dials())

    assert 5 <= exchanging <= 27  # 60 / 4 is 15


def test_in_a_very_small_pool_gossip_alone_tells_of_a_newcomer() -> None:
    rig = SwimRig(push_pull_interval=0.0)

    rig.learn(*(f"n{number}" for number in range(7)))
    rig.advance(0.6)

    assert [d for d in rig.m.take_dials() if isinstance(d, PushPullExchange)] == []


def test_l4_a_member_that_was_dead_and_is_back_tells_its_clocks_in_an_exchange_with_it() -> None:
    rig = SwimRig(push_pull_interval=0.0)
    rig.learn("ann", "bob")
    rig.hear(Dead(1, "ann", "bob"))

    rig.hear(alive("ann", 2))
    rig.advance(0.6)

    dials = [d for d in rig.m.take_dials() if isinstance(d, PushPullExchange)]
    assert [dial.address for dial in dials] == [address_of("ann")]


def test_there_is_no_such_exchange_with_one_that_is_gone_again() -> None:
    rig = SwimRig(push_pull_interval=0.0)
    rig.learn("ann", "bob")
    rig.hear(Dead(1, "ann", "bob"))
    rig.hear(alive("ann", 2))

    rig.hear(Dead(2, "ann", "bob"))
    rig.advance(0.6)

    assert [d for d in rig.m.take_dials() if isinstance(d, PushPullExchange)] == []


def test_in_a_large_pool_eight_nodes_or_so_exchange_states_with_whoever_is_back() -> None:
    exchanging = 0
    for seed in range(60):
        rig = SwimRig(seed=seed, push_pull_interval=0.0)
        rig.learn(*(f"n{number}" for number in range(31)))
        rig.advance(2.0)
        rig.hear(Dead(1, "n5", "n6"))
        rig.m.take_dials()

        rig.hear(alive("n5", 2))

        rig.advance(0.6)
        exchanging += any(isinstance(d, PushPullExchange) for d in rig.m.take_dials())

    assert 5 <= exchanging <= 27  # 60 / 4 is 15
