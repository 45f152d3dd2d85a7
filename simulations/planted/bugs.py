# ruff: noqa: ARG005 - a rule has the signature of the one that it replaces
"""Every planted bug: what is wrong, who has to see it, how it is made, and where it shows."""

from __future__ import annotations

from gossip.serf.delegate import SerfDelegate
from gossip.serf.lamport import LamportClock
from gossip.serf.leave import Departure
from gossip.serf.members import MemberRegistry
from gossip.serf.ring import EventRing
from gossip.serf.snapshot import Snapshot
from gossip.swim import membership as membership_module
from gossip.swim.broadcast import TransmitQueue
from gossip.swim.members import Status
from gossip.swim.membership import Membership
from gossip.swim.probe import Prober
from gossip.swim.push_pull import StateExchange
from gossip.swim.suspicion import Suspicions
from gossip.wire.packet import LayerSettings
from simulations.planted.experiments import (
    CALM,
    CRASHES,
    EVENTS,
    FLOOD,
    LEAVES,
    OPEN_STRANGERS,
    PARTED,
    PAUSED,
    POISONED,
    REAPED,
    RESTART,
    RETAGGED,
    SLANDERED,
    SLOWLY,
    STRANGERS,
    TROUBLE,
    two_pools,
)  # fmt: skip
from simulations.planted.hunt import Planted
from simulations.planted.mistakes import (
    always_new,
    believes_any,
    believing,
    crashes,
    dead_is_left,
    dies_when_told,
    forgets_only_failed,
    goes_on_in_silence,
    intent_storm,
    left_fails,
    left_is_announced_failed,
    news_of_the_living_ignored,
    no_failed_leave,
    no_farewells,
    no_gossip_of_events,
    nothing,
    ping_back,
    plain_is_fine,
    replacing,
    same_incarnation,
    same_version,
    second_row,
    sets_back,
    silent_gone,
    stands_still,
    suspect_raises,
)  # fmt: skip

__all__ = ["PLANTED"]

PLANTED: tuple[Planted, ...] = (
    Planted(
        "old claims bring the dead back (R-18)", "S3",
        believing(lambda n, i, h, k: n is Status.ALIVE and i == k and h is not Status.ALIVE),
        TROUBLE,
    ),
    Planted(
        "older claims replace newer ones (R-13)", "S1",
        believing(lambda n, i, h, k: n is Status.ALIVE and i < k), TROUBLE,
    ),
    Planted(
        "an accuser raises the incarnation (S2)", "S2",
        replacing(Membership, handle_suspect=suspect_raises), TROUBLE,
    ),
    Planted(
        "the dead become suspects", "S4",
        believing(lambda n, i, h, k: n is Status.SUSPECT and i >= k and h is Status.DEAD),
        TROUBLE,
    ),
    Planted(
        "who left is declared dead (R-12)", "S4",
        believing(lambda n, i, h, k: n is Status.DEAD and i >= k and h is Status.LEFT), SLANDERED,
    ),
    Planted(
        "the dead count as left", "S4",
        replacing(Membership, handle_dead=dead_is_left), TROUBLE,
    ),
    Planted(
        "left is one with dead (R-12)", "L5", no_farewells, CALM,
    ),
    Planted(
        "left turns into failed", "S4",
        replacing(MemberRegistry, gone=left_fails), LEAVES,
    ),
    Planted(
        "who left is announced as failed (S18)", "S18",
        replacing(MemberRegistry, gone=left_is_announced_failed), LEAVES,
    ),
    Planted(
        "new tags at an old incarnation (R-25)", "S5",
        replacing(Membership, update_meta=same_incarnation), TROUBLE,
    ),
    Planted(
        "a node believes in its own death", "S6",
        replacing(Membership, _refute=dies_when_told), TROUBLE,
    ),
    Planted(
        "a name has two rows (R-14)", "S7",
        replacing(Membership, handle_alive=second_row), TROUBLE,
    ),
    Planted(
        "a snapshot's clocks are not resumed (R-37)", "S8",
        replacing(Snapshot, resume=lambda _self, *_clocks: 0), CRASHES,
    ),
    Planted(
        "a clock follows whatever it hears", "S8",
        replacing(LamportClock, witness=sets_back), EVENTS,
    ),
    Planted(
        "any Lamport time is believed (R-43)", "S9",
        replacing(LamportClock, witness=believes_any), POISONED,
    ),
    Planted(
        "duplicates are delivered (S10)", "S10",
        replacing(EventRing, offer=always_new), EVENTS,
    ),
    Planted(
        "two events of a node at one time (S11)", "S11",
        replacing(LamportClock, increment=stands_still), EVENTS,
    ),
    Planted(
        "labels are not looked at (R-24)", "S12",
        replacing(LayerSettings, check_label=nothing), CALM, two_pools,
    ),
    Planted(
        "queues are not pruned (R-54)", "S13",
        replacing(TransmitQueue, prune=lambda _self, _most, _now: 0), FLOOD,
    ),
    Planted(
        "a ping is answered by a ping (R-56)", "S14",
        replacing(Prober, handle_ping=ping_back), CALM,
    ),
    Planted(
        "strangers get long answers (S14)", "S14",
        replacing(SerfDelegate, ack_payload=lambda _self: bytes(900)), OPEN_STRANGERS,
    ),
    Planted(
        "nothing is encrypted (S15)", "S15",
        replacing(LayerSettings, encrypts=property(lambda _self: False)), STRANGERS,
    ),
    Planted(
        "plain text is believed (R-49)", "S15", plain_is_fine, STRANGERS,
    ),
    Planted(
        "changes do not show in the version (S16)", "S16",
        replacing(MemberRegistry, _set=same_version), TROUBLE,
    ),
    Planted(
        "who is gone is not announced (S17)", "S17",
        replacing(MemberRegistry, gone=silent_gone), TROUBLE,
    ),
    Planted(
        "an unexpected nack raises (R-28)", "S20",
        replacing(Prober, handle_nack=crashes), TROUBLE,
    ),
    Planted(
        "suspects are never declared dead", "L1",
        replacing(Membership, _declare_dead=nothing), CALM,
    ),
    Planted(
        "accusations are not refuted", "L8",
        replacing(Membership, _refute=nothing), PARTED,
    ),
    Planted(
        "a refutation does not end a suspicion", "L2",
        replacing(Suspicions, end=goes_on_in_silence), PAUSED,
    ),
    Planted(
        "new tags of the living are not believed", "L3",
        replacing(membership_module, supersedes=news_of_the_living_ignored), RETAGGED,
    ),
    Planted(
        "states are not merged (R-16)", "L8",
        replacing(StateExchange, merge=nothing), CALM,
    ),
    Planted("events do not spread (L4)", "L4", no_gossip_of_events, CALM),
    Planted(
        "a leave does not end (R-22)", "L5",
        replacing(Departure, _say_farewell=nothing), CALM,
    ),
    Planted(
        "who left is kept for ever (R-23)", "L6",
        replacing(MemberRegistry, reap=forgets_only_failed), REAPED,
    ),
    Planted(
        "intents are passed on for ever (R-20)", "L7",
        intent_storm, SLOWLY,
    ),
    Planted(
        "a restarted node does not take the lead", "L8",
        replacing(Membership, _hear_about_ourselves=nothing, _refute=nothing), RESTART,
    ),
    Planted(
        "force-leave of the dead does nothing (R-19)", "L9",
        replacing(MemberRegistry, apply_leave=no_failed_leave), CALM,
    ),
)  # fmt: skip
"""Every planted bug."""
