"""Keys: order, changes, encryption of versions 0 and 1."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gossip.errors import GossipError, WireError
from gossip.wire.keyring import (
    KeyInUseError,
    KeyMissingError,
    Keyring,
    KeyringError,
    KeySizeError,
    decode_key,
    encode_key,
    fingerprint,
)

A, B, C = bytes(16), bytes(range(24)), bytes(range(32))
NONCE = bytes(12)


def test_first_key_is_primary() -> None:
    assert Keyring([A, B, C]).primary == A
    assert Keyring([A, B, C]).keys == (A, B, C)
    assert Keyring().primary is None
    assert not Keyring()
    assert len(Keyring([A, B])) == 2


def test_install_adds_behind_and_repeating_it_changes_nothing() -> None:
    ring = Keyring([A])
    ring.install(B)
    ring.install(A)
    ring.install(B)
    assert ring.keys == (A, B)


def test_use_moves_a_key_to_the_front() -> None:
    ring = Keyring([A, B, C])
    ring.use(C)
    assert ring.keys == (C, A, B)
    ring.use(C)
    assert ring.keys == (C, A, B)


def test_use_of_a_key_that_is_not_installed_is_refused() -> None:
    ring = Keyring([A])
    with pytest.raises(KeyMissingError, match="Requested key is not in the keyring"):
        ring.use(B)
    assert ring.keys == (A,)


def test_remove_never_takes_the_primary_key() -> None:
    ring = Keyring([A, B])
    with pytest.raises(KeyInUseError, match="Removing the primary key is not allowed"):
        ring.remove(A)
    ring.remove(B)
    ring.remove(B)  # absent: already as wished
    assert ring.keys == (A,)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 23, 25, 31, 33, 64])
def test_r48_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(KeySizeError, match="16, 24 or 32"):
        Keyring([bytes(size)])
    ring = Keyring([A])
    with pytest.raises(KeySizeError):
        ring.install(bytes(size))
    assert ring.keys == (A,)


def test_every_refusal_is_a_gossip_error() -> None:
    assert issubclass(KeyringError, GossipError)
    assert issubclass(KeySizeError, KeyringError)
    assert issubclass(KeyMissingError, KeyringError)
    assert issubclass(KeyInUseError, KeyringError)


def test_keys_are_shown_by_fingerprint_only() -> None:
    ring = Keyring([B, C])
    assert repr(ring) == f"<Keyring {fingerprint(B)} {fingerprint(C)}>"
    assert repr(Keyring()) == "<Keyring empty>"
    assert B.hex() not in repr(ring)
    assert fingerprint(B) != fingerprint(C)
    assert len(fingerprint(B)) == 16


@pytest.mark.parametrize("key", [A, B, C])
def test_base64_of_a_key_is_read_back(key: bytes) -> None:
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize("text", ["", "YWJj", "not base64!", "ünï", encode_key(A)[:-1]])
def test_text_that_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeyringError) as refusal:
        decode_key(text)
    assert not text or text not in str(refusal.value)


@pytest.mark.parametrize("key", [A, B, C])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1400])
def test_both_versions_are_opened(key: bytes, version: int, size: int) -> None:
    ring = Keyring([key])
    plain = bytes(range(256))[:size] or bytes(size)
    sealed = ring.encrypt(plain, b"aad", NONCE, version=version)
    assert sealed[:13] == bytes((version,)) + NONCE
    assert ring.decrypt(sealed, b"aad") == plain
    overhead = len(sealed) - len(plain)
    assert overhead == 29 if version else 30 <= overhead <= 45


def test_any_key_opens_the_primary_seals() -> None:
    old, new = Keyring([A]), Keyring([B, A])
    assert new.decrypt(old.encrypt(b"x", b"", NONCE), b"") == b"x"
    with pytest.raises(WireError, match="No installed keys could decrypt"):
        old.decrypt(new.encrypt(b"x", b"", NONCE), b"")


def test_other_authenticated_data_is_refused() -> None:
    ring = Keyring([A])
    with pytest.raises(WireError) as refusal:
        ring.decrypt(ring.encrypt(b"x", b"label", NONCE), b"other")
    assert refusal.value.layer == "encrypt"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "version -1"),
        (b"\x02" + bytes(60), "version 2"),
        (b"\x01" + bytes(27), "too small to decrypt: 28"),
        (b"\x00" + bytes(43), "too small to decrypt: 44"),
        (b"\x01" + bytes(28), "No installed keys"),
        (b"\x00" + bytes(44), "No installed keys"),
    ],
)
def test_envelope_that_cannot_be_one_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(WireError, match=text):
        Keyring([A]).decrypt(data, b"")


def test_cryptography_is_imported_with_the_first_key_only() -> None:
    code = (
        "import sys; from gossip.wire import packet, stream, describe, keyring;"
        "keyring.Keyring(); assert 'cryptography' not in sys.modules;"
        "keyring.Keyring([bytes(16)]); assert 'cryptography' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
