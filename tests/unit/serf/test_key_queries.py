"""Key queries: what they do to the ring, what is answered, and how changes wait for the disk."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.serf.key_queries import MAX_KEYS, MAX_WAITING, KeyChange
from gossip.wire.keyring import encode_key, fingerprint
from gossip.wire.serf import KeyRequest, KeyResponse, Query, QueryResponse, decode_serf
from tests.rigs import PORT, NodeRig, ip_of

OLD, NEW, THIRD = bytes(32), b"\x01" * 32, b"\x02" * 16


class Rig(NodeRig):
    """A node with keys, asked by others; where it saves them, the test says when that is done."""

    def __init__(self, *keys: bytes, saves: bool = False, **settings: Any) -> None:
        self.changes: list[KeyChange] = []
        save = self.changes.append if saves else None
        super().__init__(keys=keys, save_keys=save, **settings)
        self.learn("ann")
        self._asked = 0

    def ask(self, operation: str, key: bytes = b"", *, payload: bytes | None = None) -> None:
        self._asked += 1
        if payload is None:
            payload = KeyRequest(key).encode()
        self.hear_serf(
            Query(
                5, self._asked, ip_of("ann"), PORT, "ann", [], 0, 0, 10**9,
                f"_serf_{operation}", payload,
            )
        )  # fmt: skip

    def answers(self) -> list[KeyResponse]:
        answers = []
        for message, _ in self.sent_serf():
            if isinstance(message, QueryResponse):
                answer = decode_serf(message.payload)
                assert isinstance(answer, KeyResponse)
                answers.append(answer)
        return answers

    def ring(self) -> tuple[bytes, ...]:
        assert self.node.keyring is not None
        return self.node.keyring.keys


YES = KeyResponse(True, "", [], "")


def no(text: str) -> KeyResponse:
    return KeyResponse(False, text, [], "")


@pytest.mark.parametrize(
    ("operation", "key", "ring", "answer"),
    [
        ("install-key", THIRD, (OLD, NEW, THIRD), YES),
        ("install-key", NEW, (OLD, NEW), YES),
        ("install-key", b"short", (OLD, NEW), no("key size must be 16, 24 or 32 bytes, not 5")),
        ("install-key", b"", (OLD, NEW), no("key size must be 16, 24 or 32 bytes, not 0")),
        ("use-key", NEW, (NEW, OLD), YES),
        ("use-key", OLD, (OLD, NEW), YES),
        ("use-key", THIRD, (OLD, NEW), no("Requested key is not in the keyring")),
        ("remove-key", NEW, (OLD,), YES),
        ("remove-key", THIRD, (OLD, NEW), YES),
        ("remove-key", OLD, (OLD, NEW), no("Removing the primary key is not allowed")),
    ],
)
@pytest.mark.parametrize("saves", [False, True])
def test_changes_and_answers_are_serfs(
    operation: str, key: bytes, ring: tuple[bytes, ...], answer: KeyResponse, *, saves: bool
) -> None:
    rig = Rig(OLD, NEW, saves=saves)

    rig.ask(operation, key)
    for change in rig.changes:
        assert change.keys == ring
        assert rig.ring() == (OLD, NEW), "it counts only when it is saved"
        change.saved(None, rig.now)

    assert rig.ring() == ring
    assert rig.answers() == [answer]
    assert len(rig.changes) == (saves and ring != (OLD, NEW))


@pytest.mark.parametrize("operation", ["install-key", "use-key", "remove-key"])
def test_without_encryption_there_is_nothing_to_change(operation: str) -> None:
    rig = Rig()

    rig.ask(operation, NEW)

    assert rig.answers() == [no("No keyring to modify (encryption not enabled)")]
    assert rig.node.keyring is None


def test_without_encryption_there_is_nothing_to_list() -> None:
    rig = Rig()

    rig.ask("list-keys")

    assert rig.answers() == [no("Keyring is empty (encryption not enabled)")]


@pytest.mark.parametrize("payload", [b"", b"\x07", b"\x07\xc1", b"\x08\x80", b"\xff", NEW])
def test_s20_a_request_that_makes_no_sense_changes_nothing(payload: bytes) -> None:
    rig = Rig(OLD)

    rig.ask("install-key", payload=payload)

    assert rig.answers() == [no("key request is malformed")]
    assert rig.ring() == (OLD,)


def test_a_list_has_all_keys_and_tells_the_primary_one() -> None:
    rig = Rig(NEW, OLD, THIRD)

    rig.ask("list-keys")

    keys = [encode_key(key) for key in (NEW, OLD, THIRD)]
    assert rig.answers() == [KeyResponse(True, "", keys, keys[0])]


def test_r31_a_list_that_is_too_long_is_cut_and_says_so() -> None:
    rig = Rig(*(bytes([number]) * 32 for number in range(30)))

    rig.ask("list-keys")

    (answer,) = rig.answers()
    assert answer.result
    assert answer.message == "truncated key list response, showing first 17 of 30 keys"
    assert answer.keys == [encode_key(bytes([number]) * 32) for number in range(17)]


# Saving


def test_r48_a_ring_that_cannot_be_saved_stays_as_it_was() -> None:
    rig = Rig(OLD, saves=True)

    rig.ask("install-key", NEW)
    rig.changes[0].saved("No space left on device", rig.now)

    assert rig.ring() == (OLD,)
    assert rig.answers() == [no("Failed to write keyring file: No space left on device")]


def test_r40_nothing_is_answered_while_the_disk_is_slow_and_the_node_goes_on() -> None:
    rig = Rig(OLD, saves=True)
    rig.ask("install-key", NEW)
    rig.ask("list-keys")
    rig.ask("ping")
    rig.advance(0.5)
    before = rig.answers()

    rig.changes[0].saved(None, rig.now)

    assert before == [KeyResponse(True, "", [encode_key(OLD)], encode_key(OLD))]
    assert rig.answers() == [YES]


def test_changes_wait_for_one_another() -> None:
    rig = Rig(OLD, saves=True)

    rig.ask("install-key", NEW)
    rig.ask("use-key", NEW)
    rig.ask("remove-key", OLD)
    saved: list[tuple[bytes, ...]] = []
    answers: list[KeyResponse] = []
    while len(saved) < len(rig.changes):
        saved.append(rig.changes[-1].keys)
        answers += rig.answers()  # while we have the key that they were sent with
        rig.changes[-1].saved(None, rig.now)

    assert saved == [(OLD, NEW), (NEW, OLD), (NEW,)]
    assert rig.ring() == (NEW,)
    assert [*answers, *rig.answers()] == [YES, YES, YES]


def test_a_change_that_depends_on_one_that_failed_fails() -> None:
    rig = Rig(OLD, saves=True)
    rig.ask("install-key", NEW)
    rig.ask("use-key", NEW)

    rig.changes[0].saved("Input/output error", rig.now)

    assert rig.answers() == [
        no("Failed to write keyring file: Input/output error"),
        no("Requested key is not in the keyring"),
    ]


def test_a_change_saved_after_the_deadline_counts_and_is_not_answered() -> None:
    rig = Rig(OLD, saves=True)
    rig.ask("install-key", NEW)
    rig.advance(2)

    rig.changes[0].saved(None, rig.now)

    assert rig.ring() == (OLD, NEW)
    assert rig.answers() == []
    assert rig.stats["query_responses_late"] == 1


# Bounds


def test_s13_changes_that_wait_are_bounded() -> None:
    rig = Rig(OLD, saves=True)

    for number in range(MAX_WAITING + 2):
        rig.ask("install-key", (number + 1).to_bytes(32))

    assert rig.answers() == [no(f"{MAX_WAITING} keyring changes are waiting already")]


def test_s13_keys_are_bounded() -> None:
    rig = Rig(OLD)
    for number in range(1, MAX_KEYS):
        rig.ask("install-key", number.to_bytes(32))
    rig.answers()

    rig.ask("install-key", NEW)
    rig.ask("use-key", (7).to_bytes(32))

    assert rig.answers() == [no(f"keyring has {MAX_KEYS} keys, the limit is {MAX_KEYS}"), YES]


def test_no_key_shows_in_what_is_logged_or_printed() -> None:
    rig = Rig(OLD, saves=True)
    rig.ask("install-key", NEW)
    shown = [repr(rig.changes[0]), repr(rig.node.keyring)]

    rig.changes[0].saved(None, rig.now)
    shown += rig.node.take_notices()

    text = " ".join(shown)
    assert fingerprint(NEW) in text
    for key in (OLD, NEW):
        assert encode_key(key) not in text
        assert repr(key) not in text


def test_r47_packets_that_no_key_opens_are_named_once_a_minute() -> None:
    rig = Rig(OLD)
    other = NodeRig(keys=(NEW,))
    (packet,) = other.m.packet_codec.encode([b"\x00"])

    for _ in range(100):
        rig.node.receive_packet(packet, ("10.1.2.3", 7946), rig.now)
    first = rig.node.take_notices()
    rig.advance(61)
    rig.node.receive_packet(packet, ("10.1.2.4", 7946), rig.now)

    (line,) = first
    assert line == (
        "a packet from 10.1.2.3:7946 cannot be decrypted: No installed keys could decrypt the "
        f"message (our keys: {fingerprint(OLD)})"
    )
    assert len(rig.node.take_notices()) == 1
    assert rig.stats["packets_refused_encrypt"] == 101
