"""Envelopes: only a key opens them, unchanged, and answers only for their request."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.forward.envelope import OVERHEAD, open_clear, open_sealed, salt_of, seal
from gossip.errors import WireError

KEY, OTHER = b"k" * 32, b"o" * 16
SALT, LATER = b"s" * 16, b"t" * 16
MESSAGE = b"a secret token"


def test_a_sealed_message_comes_out_as_it_went_in_and_shows_nothing() -> None:
    sealed = seal(MESSAGE, KEY, SALT)
    assert open_sealed(sealed, [KEY]) == (MESSAGE, KEY)
    assert len(sealed) == len(MESSAGE) + OVERHEAD
    assert salt_of(sealed) == SALT
    assert MESSAGE not in sealed
    assert KEY not in sealed


def test_every_changed_bit_is_noticed() -> None:
    sealed = seal(MESSAGE, KEY, SALT)
    for position in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[position] ^= 1 << bit
            with pytest.raises(WireError):
                open_sealed(bytes(changed), [KEY])


def test_every_missing_end_is_noticed() -> None:
    sealed = seal(MESSAGE, KEY, SALT)
    for length in range(len(sealed)):
        with pytest.raises(WireError):
            open_sealed(sealed[:length], [KEY])


def test_another_key_does_not_open_it_and_the_error_shows_none() -> None:
    with pytest.raises(WireError, match="no key opens") as caught:
        open_sealed(seal(MESSAGE, KEY, SALT), [OTHER])
    assert KEY.decode() not in str(caught.value)
    assert OTHER.decode() not in str(caught.value)
    with pytest.raises(WireError):
        open_sealed(seal(MESSAGE, KEY, SALT), [])


def test_r46_every_key_of_the_ring_opens_and_tells_which_it_was() -> None:
    assert open_sealed(seal(MESSAGE, OTHER, SALT), [KEY, OTHER]) == (MESSAGE, OTHER)


def test_an_answer_opens_only_as_the_answer_to_its_request() -> None:
    answer = seal(MESSAGE, KEY, LATER, answers=SALT)
    assert open_sealed(answer, [KEY], answers=SALT)[0] == MESSAGE
    for wrong in (LATER, b"", SALT[1:] + b"x"):
        with pytest.raises(WireError):
            open_sealed(answer, [KEY], answers=wrong)
    with pytest.raises(WireError):  # nor does a request that comes back
        open_sealed(seal(MESSAGE, KEY, SALT), [KEY], answers=SALT)


def test_equal_messages_look_different() -> None:
    assert seal(MESSAGE, KEY, SALT)[17:] != seal(MESSAGE, KEY, LATER)[17:]


def test_the_clear_is_never_taken_for_sealed_nor_the_other_way_round() -> None:
    clear = seal(MESSAGE, None, b"")
    assert open_clear(clear) == MESSAGE
    with pytest.raises(WireError):
        open_sealed(clear, [KEY])
    for data in (seal(MESSAGE, KEY, SALT), b"", b"\x02x"):
        with pytest.raises(WireError):
            open_clear(data)


def test_the_key_is_hkdf_of_the_gossip_key_and_the_salt() -> None:
    """Members of different versions have to agree; another format needs another form byte."""
    purpose = b"gossip-agent forward 1 request"
    pseudo_random_key = hmac.digest(SALT, KEY, "sha256")
    key = hmac.digest(pseudo_random_key, purpose + b"\x01", "sha256")
    sealed = b"\x01" + SALT + AESGCM(key).encrypt(bytes(12), MESSAGE, None)
    assert seal(MESSAGE, KEY, SALT) == sealed
