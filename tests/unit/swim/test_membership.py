"""What memberlist does with news about members: precedence, refutation, own life, conflicts, reaping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gossip.errors import ConfigError
from gossip.swim.members import Status
from gossip.wire.messages import Alive, Dead, Message, Suspect
from tests.rigs import PORT, STRANGER, VSN, SwimRig, address_of, alive, info_of, ip_of

if TYPE_CHECKING:
    from gossip.wire.address import Address

# Another member than ourselves: alive


def test_alive_about_an_unknown_member_is_a_join_and_is_passed_on() -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(alive("ann", 3, meta=b"tags"))

    assert rig.status("ann") is Status.ALIVE
    assert rig.record("ann").incarnation == 3
    assert rig.record("ann").info == info_of("ann", meta=b"tags")
    assert rig.delegate.calls == [("join", "ann")]
    assert rig.news() == [alive("ann", 3, meta=b"tags")]


@pytest.mark.parametrize("held", [Status.ALIVE, Status.SUSPECT, Status.DEAD, Status.LEFT])
@pytest.mark.parametrize(("incarnation", "accepted"), [(4, False), (5, False), (6, True)])
def test_alive_has_to_be_newer_than_what_is_held(
    held: Status, incarnation: int, *, accepted: bool
) -> None:
    rig = with_member("ann", held, 5)

    rig.hear(alive("ann", incarnation, meta=b"new"))

    assert rig.status("ann") is (Status.ALIVE if accepted else held)
    assert rig.record("ann").incarnation == (6 if accepted else 5)
    assert rig.record("ann").info.meta == (b"new" if accepted else b"")
    assert rig.news() == ([alive("ann", 6, meta=b"new")] if accepted else [])


def test_alive_of_the_same_incarnation_is_ignored_even_with_another_meta() -> None:
    rig = with_member("ann", Status.ALIVE, 5)

    rig.hear(alive("ann", 5, meta=b"other"))

    assert rig.record("ann").info.meta == b""
    assert rig.delegate.calls == []


@pytest.mark.parametrize(
    ("held", "meta", "told"),
    [
        (Status.ALIVE, b"", []),
        (Status.ALIVE, b"new", [("update", "ann")]),
        (Status.SUSPECT, b"", []),
        (Status.SUSPECT, b"new", [("update", "ann")]),
        (Status.DEAD, b"", [("join", "ann")]),
        (Status.DEAD, b"new", [("join", "ann")]),
        (Status.LEFT, b"new", [("join", "ann")]),
    ],
)
def test_an_accepted_alive_is_a_join_an_update_or_nothing(
    held: Status, meta: bytes, told: list[tuple[str, str]]
) -> None:
    rig = with_member("ann", held, 5)

    rig.hear(alive("ann", 6, meta=meta))

    assert rig.delegate.calls == told


def test_new_versions_alone_are_taken_over_without_an_event() -> None:
    rig = with_member("ann", Status.ALIVE, 5)

    rig.hear(alive("ann", 6, vsn=bytes((1, 5, 2, 2, 5, 4))))

    assert rig.record("ann").info.vsn == bytes((1, 5, 2, 2, 5, 4))
    assert rig.delegate.calls == []


def test_an_accepted_alive_ends_the_suspicion() -> None:
    rig = with_member("ann", Status.SUSPECT, 5)

    rig.hear(alive("ann", 6))

    assert "ann" not in rig.m._suspicions


# Another member than ourselves: suspect


@pytest.mark.parametrize("held", [None, Status.DEAD, Status.LEFT])
def test_suspect_about_somebody_unknown_or_gone_is_ignored(held: Status | None) -> None:
    rig = with_member("ann", held, 5)

    rig.hear(Suspect(9, "ann", "bob"))

    assert rig.status("ann") is held
    assert rig.news() == []


@pytest.mark.parametrize(("incarnation", "believed"), [(4, False), (5, True), (7, True)])
def test_suspect_needs_the_incarnation_that_is_held(incarnation: int, *, believed: bool) -> None:
    rig = with_member("ann", Status.ALIVE, 5)

    rig.hear(Suspect(incarnation, "ann", "bob"))

    assert rig.status("ann") is (Status.SUSPECT if believed else Status.ALIVE)
    assert rig.record("ann").incarnation == (incarnation if believed else 5)
    assert rig.news() == ([Suspect(incarnation, "ann", "bob")] if believed else [])
    assert rig.delegate.calls == []


def test_a_suspect_who_does_not_refute_is_declared_dead_by_us() -> None:
    rig = with_member("ann", Status.SUSPECT, 5)  # two members: the timeout is 4 s

    rig.advance(3.9)
    before = rig.status("ann")
    rig.advance(0.2)

    assert before is Status.SUSPECT
    assert rig.status("ann") is Status.DEAD
    assert rig.delegate.calls == [("dead", "ann")]
    assert Dead(5, "ann", "me") in rig.news()


def test_another_accuser_of_a_suspect_is_passed_on_once() -> None:
    rig = with_member("ann", Status.ALIVE, 5, others=("bob", "cat", "dan", "eve"))
    rig.hear(Suspect(5, "ann", "bob"))
    rig.quiet()

    rig.hear(Suspect(6, "ann", "cat"))
    told = rig.news()
    rig.quiet()
    rig.hear(Suspect(6, "ann", "cat"))

    assert told == [Suspect(6, "ann", "cat")]
    assert rig.news() == []
    assert rig.record("ann").incarnation == 5  # a confirmation does not move it


def test_a_stale_accuser_does_not_confirm_a_suspicion() -> None:
    rig = with_member("ann", Status.SUSPECT, 5, others=("bob", "cat", "dan", "eve"))

    rig.hear(Suspect(4, "ann", "cat"))

    assert rig.news() == []


def test_confirmations_beyond_those_wanted_are_not_passed_on() -> None:
    rig = with_member("ann", Status.ALIVE, 5, others=("bob", "cat", "dan", "eve", "fay"))
    rig.hear(Suspect(5, "ann", "bob"))
    for accuser in ("cat", "dan"):
        rig.hear(Suspect(5, "ann", accuser))
    rig.quiet()

    rig.hear(Suspect(5, "ann", "eve"))

    assert rig.news() == []


def test_r02_a_suspect_is_told_itself_before_we_declare_it_dead() -> None:
    rig = with_member("ann", Status.SUSPECT, 5)  # by bob, four seconds
    rig.m.prober.stop()

    rig.advance(3.6)
    ((data, to),) = rig.m.take_packets()
    rig.hear(alive("ann", 6))
    rig.advance(10)

    assert rig.packet_codec.decode(data) == [Suspect(5, "ann", "me").encode()]
    assert (data[0], to) == (12, address_of("ann"))  # with a checksum
    assert rig.status("ann") is Status.ALIVE


def test_a_late_confirmation_declares_dead_soon_and_is_no_stall() -> None:
    rig = with_member("ann", Status.ALIVE, 5, others=tuple("bcdefghi"))
    rig.m.prober.stop()
    rig.hear(Suspect(5, "ann", "b"))
    rig.advance(15)  # the timeout is 24 s alone, 11.4 s with one confirmation

    rig.hear(Suspect(5, "ann", "c"))

    assert rig.m.timers.next_at() == rig.now  # not in the past
    rig.advance(0.5)
    assert rig.status("ann") is Status.DEAD


def test_r06_nobody_suspects_itself_and_nobody_without_a_name_accuses() -> None:
    rig = with_member("ann", Status.ALIVE, 5)

    rig.hear(Suspect(5, "ann", "ann"), Suspect(5, "ann", ""), Dead(5, "ann", ""))

    assert rig.status("ann") is Status.ALIVE
    assert rig.stats["accusations_refused"] == 3


# Another member than ourselves: dead and left


@pytest.mark.parametrize("held", [None, Status.DEAD, Status.LEFT])
@pytest.mark.parametrize("sender", ["ann", "bob"])
def test_dead_about_somebody_unknown_or_gone_is_ignored(held: Status | None, sender: str) -> None:
    rig = with_member("ann", held, 5)

    rig.hear(Dead(9, "ann", sender))

    assert rig.status("ann") is held
    assert rig.news() == []
    assert rig.delegate.calls == []


@pytest.mark.parametrize("held", [Status.ALIVE, Status.SUSPECT])
@pytest.mark.parametrize(("sender", "status"), [("bob", Status.DEAD), ("ann", Status.LEFT)])
@pytest.mark.parametrize(("incarnation", "believed"), [(4, False), (5, True), (8, True)])
def test_dead_is_left_when_it_says_so_itself(
    held: Status, sender: str, status: Status, incarnation: int, *, believed: bool
) -> None:
    rig = with_member("ann", held, 5)

    rig.hear(Dead(incarnation, "ann", sender))

    assert rig.status("ann") is (status if believed else held)
    assert rig.record("ann").incarnation == (incarnation if believed else 5)
    assert rig.delegate.calls == ([(status.name.lower(), "ann")] if believed else [])
    assert rig.news() == ([Dead(incarnation, "ann", sender)] if believed else [])


def test_death_ends_the_suspicion() -> None:
    rig = with_member("ann", Status.SUSPECT, 5)
    rig.hear(Dead(5, "ann", "bob"))
    rig.quiet()

    rig.advance(20)

    assert rig.delegate.calls == []
    assert rig.stats["declared_dead"] == 0


# A name that moves to another address: R-11


@pytest.mark.parametrize("reclaim", [0.0, 30.0])
@pytest.mark.parametrize("long_ago", [False, True])
@pytest.mark.parametrize("held", [Status.ALIVE, Status.SUSPECT, Status.DEAD, Status.LEFT])
@pytest.mark.parametrize(
    "place", [{"addr": ip_of("elsewhere")}, {"port": 7947}, {"addr": bytes(10) + b"\xff\xff\x0a\1\1\1"}]
)  # fmt: skip
def test_r11_who_may_take_a_name_over_from_another_address(
    held: Status, place: dict[str, bytes | int], reclaim: float, *, long_ago: bool
) -> None:
    rig = with_member("ann", held, 5, dead_node_reclaim_time=reclaim)
    if long_ago and held >= Status.DEAD:
        rig.now += 31
    moves = held is Status.LEFT or (held is Status.DEAD and reclaim > 0 and long_ago)

    rig.hear(alive("ann", 1, **place))

    assert rig.status("ann") is (Status.ALIVE if moves else held)
    assert rig.record("ann").incarnation == (1 if moves else 5)
    assert rig.record("ann").info == info_of("ann", **(place if moves else {}))
    assert rig.delegate.calls == ([("join", "ann")] if moves else [])
    conflicts = [(info_of("ann"), info_of("ann", **place))]
    assert rig.delegate.conflicts == ([] if moves else conflicts)
    assert rig.stats["name_conflicts"] == (0 if moves else 1)


def test_r11_the_same_ip_in_its_two_spellings_is_another_address_to_genuine_members() -> None:
    rig = with_member("ann", Status.ALIVE, 5)

    rig.hear(alive("ann", 6, addr=bytes(10) + b"\xff\xff" + ip_of("ann")))

    assert rig.stats["name_conflicts"] == 1
    assert rig.record("ann").info.addr == ip_of("ann")


@pytest.mark.parametrize(
    ("news", "believed"),
    [
        (Dead(5, "ann", "ann"), False),  # the old farewell
        (Dead(1, "ann", "ann"), False),  # perhaps of the new life: the intent or a probe will tell
        (Dead(5, "ann", "bob"), False),
        (Suspect(3, "ann", "bob"), False),
        (Suspect(1, "ann", "bob"), True),
        (Dead(1, "ann", "bob"), True),
        (Dead(6, "ann", "ann"), True),
        (Suspect(6, "ann", "bob"), True),
    ],
)
def test_r13_news_of_a_former_life_elsewhere_is_not_believed(
    news: Suspect | Dead, *, believed: bool
) -> None:
    rig = with_member("ann", Status.LEFT, 5)
    rig.hear(alive("ann", 1, addr=ip_of("elsewhere")))

    rig.hear(news)

    assert (rig.status("ann") is not Status.ALIVE) is believed
    assert rig.stats["accusations_of_a_former_life"] == (not believed)


def test_r13_when_the_new_life_has_refuted_the_usual_rules_hold() -> None:
    rig = with_member("ann", Status.LEFT, 5)
    rig.hear(alive("ann", 1, addr=ip_of("elsewhere")), alive("ann", 6, addr=ip_of("elsewhere")))

    rig.hear(Dead(6, "ann", "ann"))

    assert rig.status("ann") is Status.LEFT


# Ourselves


@pytest.mark.parametrize(
    ("incarnation", "meta", "refuted_with"),
    [(0, b"other", None), (1, b"", None), (1, b"other", 2), (2, b"", 3), (9, b"other", 10)],
)
def test_alive_about_ourselves_is_answered_when_peers_hold_something_else(
    incarnation: int, meta: bytes, refuted_with: int | None
) -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(alive("me", incarnation, meta=meta))

    assert rig.m.own.incarnation == (refuted_with or 1)
    assert rig.m.own.info.meta == b""
    assert rig.news() == ([alive("me", refuted_with)] if refuted_with else [])


def test_alive_about_ourselves_with_other_versions_is_answered() -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(alive("me", 1, vsn=bytes((1, 5, 2, 2, 5, 4))))

    assert rig.news() == [alive("me", 2)]


@pytest.mark.parametrize(
    ("accusation", "refuted_with"),
    [
        (Suspect(0, "me", "bob"), None),
        (Suspect(1, "me", "bob"), 2),
        (Suspect(7, "me", "bob"), 8),
        (Dead(0, "me", "bob"), None),
        (Dead(1, "me", "bob"), 2),
        (Dead(7, "me", "bob"), 8),
        (Dead(7, "me", "me"), 8),
    ],
)
def test_an_accusation_of_ourselves_is_refuted(
    accusation: Suspect | Dead, refuted_with: int | None
) -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(accusation)

    assert rig.m.own.status is Status.ALIVE
    assert rig.m.own.incarnation == (refuted_with or 1)
    assert rig.news() == ([alive("me", refuted_with)] if refuted_with else [])
    assert rig.m.awareness.score == (1 if refuted_with else 0)
    assert rig.delegate.calls == []


@pytest.mark.parametrize("status", ["alive", "dead"])
def test_r02_an_accuser_hears_our_refutation_from_ourselves_also_when_it_is_dead_to_all(
    status: str,
) -> None:
    rig = SwimRig()
    rig.learn("ann")
    if status == "dead":
        rig.hear(Dead(1, "ann", "bob"))
    rig.quiet()

    rig.hear(Suspect(1, "me", "ann"), source=address_of("ann"))

    assert (alive("me", 2), address_of("ann")) in rig.sent()


def test_r05_an_accuser_that_missed_our_refutation_gets_it_again() -> None:
    rig = SwimRig()
    rig.learn("ann")
    rig.hear(Suspect(1, "me", "ann"))  # refuted with 2
    rig.quiet()

    rig.hear(Suspect(1, "me", "ann"), source=address_of("ann"))

    assert rig.sent() == [(alive("me", 2), address_of("ann"))]
    assert rig.m.own.incarnation == 2
    assert rig.news() == []


@pytest.mark.parametrize(
    ("accusation", "source"),
    [
        (Suspect(1, "me", "ann"), address_of("bob")),  # a copy on its way
        (Suspect(1, "me", "ann"), STRANGER),
        (Suspect(1, "me", "somebody"), address_of("somebody")),
        (Dead(1, "me", "ann"), address_of("ann")),
        (Suspect(1, "bob", "ann"), address_of("ann")),
    ],
)
def test_s14_only_a_member_that_accuses_us_itself_gets_it(
    accusation: Suspect | Dead, source: Address
) -> None:
    rig = SwimRig()
    rig.learn("ann")
    rig.learn("bob", incarnation=2)
    rig.hear(Suspect(1, "me", "ann"))
    rig.quiet()

    rig.hear(accusation, source=source)

    assert rig.sent() == []


def test_a_refutation_says_what_we_are_now() -> None:
    rig = SwimRig()
    rig.m.update_meta(b"tags", rig.now)  # incarnation 2
    rig.quiet()

    rig.hear(Suspect(2, "me", "bob"))

    assert rig.news() == [alive("me", 3, meta=b"tags")]


def test_our_start_is_a_join_at_incarnation_one() -> None:
    rig = SwimRig()

    assert rig.status("me") is Status.ALIVE
    assert rig.m.own.incarnation == 1
    assert rig.delegate.calls == [("join", "me")]
    assert rig.news() == [alive("me", 1)]


def test_new_meta_is_told_with_the_next_incarnation() -> None:
    rig = SwimRig()
    rig.quiet()

    rig.m.update_meta(b"tags", rig.now)

    assert rig.news() == [alive("me", 2, meta=b"tags")]
    assert rig.delegate.calls == [("update", "me")]


def test_somebody_else_with_our_name_is_a_conflict_and_ours_is_kept() -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(alive("me", 9, addr=ip_of("elsewhere")))

    assert rig.m.own.info.addr == ip_of("me")
    assert rig.m.own.incarnation == 1
    assert rig.delegate.conflicts == [(info_of("me"), info_of("me", addr=ip_of("elsewhere")))]


def test_a_farewell_is_dead_from_ourselves_told_to_everybody_at_once() -> None:
    rig = SwimRig()
    rig.learn("ann", "bob")

    rig.m.leave(rig.now)

    farewell = Dead(1, "me", "me")
    assert sorted(rig.sent(), key=lambda item: item[1]) == sorted(
        [(farewell, address_of("ann")), (farewell, address_of("bob"))], key=lambda item: item[1]
    )
    assert rig.status("me") is Status.LEFT


def test_alive_and_accusations_about_ourselves_are_nothing_to_a_leaving_node() -> None:
    rig = SwimRig()
    rig.learn("ann")
    rig.m.leave(rig.now)
    rig.quiet()

    rig.hear(alive("me", 9), Suspect(9, "me", "ann"), Dead(9, "me", "ann"))

    assert rig.status("me") is Status.LEFT
    assert rig.news() == []


def test_new_meta_of_a_leaving_node_does_not_call_it_back_to_life() -> None:
    rig = SwimRig()
    rig.learn("ann")
    rig.m.leave(rig.now)

    rig.m.update_meta(b"tags", rig.now)

    assert rig.news() == [Dead(1, "me", "me")]


def test_a_leaving_node_neither_probes_nor_exchanges_states() -> None:
    rig = SwimRig(push_pull_interval=5.0)
    rig.learn("ann")
    rig.m.leave(rig.now)
    rig.quiet()

    rig.advance(20)

    assert {type(message) for message, _ in rig.sent()} <= {Dead}
    assert rig.dials() == []


# What is not believed at all


@pytest.mark.parametrize(
    ("bad", "counter"),
    [
        ({"addr": b""}, "addresses_refused"),
        ({"addr": b"\x0a\0\0"}, "addresses_refused"),
        ({"addr": bytes(4)}, "addresses_refused"),
        ({"addr": b"\xe0\0\0\1"}, "addresses_refused"),
        ({"addr": b"\xff\xff\xff\xff"}, "addresses_refused"),
        ({"addr": bytes(16)}, "addresses_refused"),
        ({"port": 0}, "addresses_refused"),
        ({"vsn": b""}, "versions_refused"),
        ({"vsn": VSN[:5]}, "versions_refused"),
        ({"vsn": bytes(6)}, "versions_refused"),
        ({"vsn": bytes((5, 1, 2, 2, 5, 5))}, "versions_refused"),
        ({"vsn": bytes((1, 0, 2, 2, 5, 5))}, "versions_refused"),
        ({"vsn": VSN + bytes(1300)}, "versions_refused"),
    ],
)
def test_h1_r32_an_alive_that_would_do_harm_is_dropped_and_counted(
    bad: dict[str, bytes | int], counter: str
) -> None:
    rig = SwimRig()
    rig.quiet()

    rig.hear(alive("ann", 1, **bad))

    assert rig.status("ann") is None
    assert rig.stats[counter] == 1
    assert rig.news() == []


def test_the_largest_news_about_a_member_fits_the_smallest_packet() -> None:
    rig = SwimRig(udp_buffer_size=1200, label="x" * 255, keys=(bytes(32),))
    name = "n" * 255
    largest: list[Message] = [
        alive(name, 2**32 - 1, addr=bytes(16), port=65535, meta=bytes(512)),
        Suspect(2**32 - 1, name, name),
        Dead(2**32 - 1, name, name),
    ]

    assert all(rig.m.broadcast_fits(message.encode()) for message in largest)
    with pytest.raises(ConfigError, match="udp_buffer_size 1199 is not between 1200 and"):
        SwimRig(udp_buffer_size=1199)


def test_s20_what_is_dropped_from_a_packet_is_counted_and_the_rest_is_heard() -> None:
    rig = SwimRig()
    (whole,) = rig.packet_codec.encode([alive("ann").encode(), alive("bob").encode()])

    rig.m.receive_packet(whole[:-1], STRANGER, rig.now)
    rig.m.receive_packet(b"\x07\x02\x00", STRANGER, rig.now)

    assert rig.status("ann") is Status.ALIVE
    assert rig.stats["parts_refused"] == 1
    assert rig.stats["packets_refused_compound"] == 1


def test_an_alive_without_a_name_is_dropped_and_counted() -> None:
    rig = SwimRig()

    rig.hear(alive(""))

    assert len(rig.m.table) == 1
    assert rig.stats["messages_refused_alive"] == 1


def test_an_absurd_jump_of_an_incarnation_is_refused_so_that_it_cannot_poison() -> None:
    rig = with_member("ann", Status.ALIVE, 5)
    absurd = 2**32 - 2

    rig.hear(alive("ann", absurd), Suspect(absurd, "ann", "bob"), Dead(absurd, "me", "bob"))

    assert (rig.status("ann"), rig.record("ann").incarnation) == (Status.ALIVE, 5)
    assert rig.m.own.incarnation == 1
    rig.hear(Suspect(5, "ann", "bob"), alive("ann", 6))
    assert (rig.status("ann"), rig.record("ann").incarnation) == (Status.ALIVE, 6)


def test_an_incarnation_that_nobody_could_refute_is_dropped_and_counted() -> None:
    rig = with_member("ann", Status.ALIVE, 5)
    last = 2**32 - 1

    rig.hear(
        alive("ann", last), alive("me", last), Suspect(last, "ann", "bob"), Dead(last, "me", "x")
    )

    assert rig.record("ann").incarnation == 5
    assert rig.m.own.incarnation == 1
    assert rig.stats["incarnations_refused"] == 2
    assert rig.stats["accusations_refused"] == 2


def test_a_member_that_the_application_refuses_is_not_learned() -> None:
    rig = SwimRig()
    rig.delegate.refused["ann"] = "ann is of another pool"
    rig.quiet()

    rig.hear(alive("ann"))

    assert rig.status("ann") is None
    assert rig.news() == []
    assert rig.stats["members_refused"] == 1
    assert rig.m.take_notices() == ["ann is of another pool"]


def test_a_member_that_changes_into_one_that_is_refused_keeps_its_old_record() -> None:
    rig = with_member("ann", Status.ALIVE, 1)
    rig.delegate.refused["ann"] = "ann changed its pool"

    rig.hear(alive("ann", 2, meta=b"another pool"))

    assert rig.record("ann").info.meta == b""
    assert rig.record("ann").incarnation == 1


def test_lines_for_the_operator_are_bounded_between_two_looks() -> None:
    rig = SwimRig()
    for number in range(100):
        rig.delegate.refused[f"node-{number}"] = "not ours"
        rig.hear(alive(f"node-{number}"))

    assert len(rig.m.take_notices()) == 64
    assert rig.stats["notices_dropped"] == 36


# Forgetting: memberlist's reaping at the end of a probe round


@pytest.mark.parametrize("gone", [Status.DEAD, Status.LEFT])
def test_r23_the_long_gone_are_forgotten_whether_dead_or_left(gone: Status) -> None:
    rig = with_member("ann", gone, 1, gossip_to_the_dead_time=30.0)

    rig.advance(29)
    before = rig.status("ann")
    rig.advance(4)

    assert before is gone
    assert rig.status("ann") is None
    assert len(rig.m.table) == 1


def test_reaping_shrinks_the_retransmit_limit() -> None:
    rig = SwimRig(gossip_to_the_dead_time=5.0, probe_interval=0.5)
    names = [f"node-{number}" for number in range(9)]
    rig.learn(*names)
    grown = rig.m.dissemination.membership.limit
    for name in names:
        rig.hear(Dead(1, name, "bob"))

    rig.advance(8)

    assert (grown, rig.m.dissemination.membership.limit) == (8, 4)


@pytest.mark.parametrize("incarnation", [1, 7], ids=["older", "what was told before"])
def test_somebody_reaped_may_be_learned_again_as_new(incarnation: int) -> None:
    rig = with_member("ann", Status.DEAD, 7, gossip_to_the_dead_time=1.0)
    rig.advance(4)
    rig.quiet()

    rig.hear(alive("ann", incarnation))

    assert rig.record("ann").incarnation == incarnation
    assert rig.delegate.calls == [("join", "ann")]


def with_member(
    name: str, status: Status | None, incarnation: int, *, others: tuple[str, ...] = (), **settings: Any
) -> SwimRig:  # fmt: skip
    """A rig that holds a member in some status, and has nothing left to tell."""
    rig = SwimRig(**settings)
    rig.learn(*others)
    if status is not None:
        rig.hear(alive(name, incarnation))
    if status is Status.SUSPECT:
        rig.hear(Suspect(incarnation, name, "bob"))
    elif status is Status.DEAD:
        rig.hear(Dead(incarnation, name, "bob"))
    elif status is Status.LEFT:
        rig.hear(Dead(incarnation, name, name))
    rig.quiet()
    assert rig.status(name) is status
    return rig


def test_an_alive_is_passed_on_with_its_address_as_it_came() -> None:
    rig = SwimRig()
    rig.quiet()
    mapped = bytes(10) + b"\xff\xff" + ip_of("ann")

    rig.hear(alive("ann", 1, addr=mapped))

    assert rig.news() == [Alive(1, "ann", mapped, PORT, b"", VSN)]
    assert rig.record("ann").info.address == address_of("ann")
