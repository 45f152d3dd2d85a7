"""Serf's part of a push/pull: clocks, members' status times and recent events.

It is Serf's message of type 2 and may be megabytes, so it is walked element by element instead of
being decoded in one go; see `codec.StateScanner`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossip.wire.codec import FieldError, StateScanner, decode_text, pack_large, raw, text, u64
from gossip.wire.limits import EVENTS_MAX, NAME_MAX, PUSH_PULL_NODES_MAX
from gossip.wire.messages import field_error

__all__ = ["StateSync", "decode_state"]


@dataclass(slots=True)
class StateSync:
    """Serf's part of a push/pull: its three clocks, members' status times, recent events.

    `events` holds the filled slots of the event buffer, each a Lamport time with its events as
    (name, payload).
    """

    ltime: int
    status_ltimes: dict[str, int]
    left_members: list[str]
    event_ltime: int
    events: list[tuple[int, list[tuple[str, bytes]]]]
    query_ltime: int

    def encode(self, *, slots: int = 0) -> bytes:
        """Write the message with its Serf type byte.

        Args:
            slots: 0 sends the filled slots only, which every reader accepts; Serf itself sends its
                whole ring of 512 with nil for empty ones.
        """
        entries: list[dict[str, object] | None] = [
            {
                "Events": [{"Name": name, "Payload": payload or None} for name, payload in events],
                "LTime": ltime,
            }
            for ltime, events in self.events
        ]
        if slots:
            ring: list[dict[str, object] | None] = [None] * slots
            for (ltime, _), entry in zip(self.events, entries, strict=True):
                ring[ltime % slots] = entry
            entries = ring
        return b"\x02" + pack_large(
            {
                "EventLTime": self.event_ltime,
                "Events": entries,
                "LTime": self.ltime,
                "LeftMembers": self.left_members,
                "QueryLTime": self.query_ltime,
                "StatusLTimes": self.status_ltimes,
            }
        )


def decode_state(body: bytes) -> StateSync:
    """Decode what follows the Serf type byte.

    Raises:
        WireError: it is malformed or beyond the limits.
    """
    scanner = StateScanner(body, "pushPull")
    state = StateSync(0, {}, [], 0, [], 0)
    try:
        for _ in range(scanner.map_header()):
            match scanner.value():
                case b"LTime":
                    state.ltime = _clock(scanner)
                case b"EventLTime":
                    state.event_ltime = _clock(scanner)
                case b"QueryLTime":
                    state.query_ltime = _clock(scanner)
                case b"StatusLTimes":
                    state.status_ltimes = _status_ltimes(scanner)
                case b"LeftMembers":
                    count = scanner.array_header(PUSH_PULL_NODES_MAX)
                    names = [scanner.value() for _ in range(count)]
                    state.left_members = [
                        decode_text(item, b"LeftMembers") for item in names if _is_name(item)
                    ]
                case b"Events":
                    state.events = _slots(scanner)
                case _:
                    scanner.skip()
    except FieldError as error:
        raise field_error(error, "pushPull", scanner.offset) from None
    return state


def _is_name(value: object) -> bool:
    """Tell whether a name is within the limit; longer ones are passed over, see `PushPull`."""
    return type(value) is not bytes or len(value) <= NAME_MAX


def _clock(scanner: StateScanner) -> int:
    return u64({b"LTime": scanner.value()}, b"LTime")


def _status_ltimes(scanner: StateScanner) -> dict[str, int]:
    times = scanner.value()  # a map reserves nothing from its declared size
    if times is None:
        return {}
    if type(times) is not dict or len(times) > PUSH_PULL_NODES_MAX:
        raise FieldError(b"StatusLTimes", f"it is no map of at most {PUSH_PULL_NODES_MAX} names")
    try:
        return {
            decode_text(member, b"StatusLTimes"): u64(times, member)
            for member in times
            if _is_name(member)
        }
    except FieldError as error:  # of the member's, whose name may be any bytes
        raise FieldError(b"StatusLTimes", error.reason) from None


def _slots(scanner: StateScanner) -> list[tuple[int, list[tuple[str, bytes]]]]:
    slots = []
    left = scanner.array_header(EVENTS_MAX)
    allowed = EVENTS_MAX
    while left:
        if nils := scanner.skip_nils(left):
            left -= nils
            continue
        slot = _slot(scanner, allowed)
        slots.append(slot)
        allowed -= len(slot[1])
        left -= 1
    return slots


def _slot(scanner: StateScanner, allowed: int) -> tuple[int, list[tuple[str, bytes]]]:
    ltime, events = 0, []
    for _ in range(scanner.map_header()):
        match scanner.value():
            case b"LTime":
                ltime = _clock(scanner)
            case b"Events":
                found = [scanner.value() for _ in range(scanner.array_header(allowed))]
                events = [_slot_event(item) for item in found if item is not None]
            case _:
                scanner.skip()
    return ltime, events


def _slot_event(value: object) -> tuple[str, bytes]:
    if type(value) is not dict:
        raise FieldError(b"Events", f"{type(value).__name__} is not a map")
    return text(value, b"Name"), raw(value, b"Payload")
