"""The envelope of a forwarded message: clear, or sealed with a key made from a gossip key.

    clear    00 | message
    sealed   01 | salt (16) | AES-256-GCM(message) with its tag (16)

Whoever holds a gossip key is a member, so being able to seal is the proof of membership, and what gossip
hides from the network (tokens, values) stays hidden on the way to a server. Each envelope has a key of
its own, HKDF-SHA256 of the gossip key with a random salt: a (key, nonce) pair never comes twice however
many envelopes there are, and the gossip layer's own use of its key is not touched. The key of an answer
is made with the salt of its request as well, so an answer opens only as the answer to that request, and a
request never as an answer.

Every key of the ring opens, the primary one seals, and an answer is sealed with the key that its request
came with: all members go on understanding one another while keys are rotated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gossip.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["OVERHEAD", "SALT_SIZE", "is_sealed", "open_clear", "open_sealed", "salt_of", "seal"]

SALT_SIZE: Final = 16
TAG_SIZE: Final = 16
OVERHEAD: Final = 1 + SALT_SIZE + TAG_SIZE
"""Bytes that the sealed form adds."""
CLEAR: Final = b"\x00"
SEALED: Final = b"\x01"

_LAYER = "forward"
_PURPOSE = b"gossip-agent forward 1 "
_NONCE = bytes(12)  # each key seals once


def seal(message: bytes, key: bytes | None, salt: bytes, *, answers: bytes = b"") -> bytes:
    """Put a message into an envelope.

    Args:
        message: what to seal.
        key: a gossip key; None leaves it in the clear.
        salt: 16 random bytes, never used twice.
        answers: the salt of the request that this is the answer to; empty for a request.
    """
    if key is None:
        return CLEAR + message
    return SEALED + salt + _cipher(key, salt, answers).encrypt(_NONCE, message, None)


def is_sealed(data: bytes) -> bool:
    """Whether an envelope claims to be sealed."""
    return data[:1] == SEALED


def open_clear(data: bytes) -> bytes:
    """The message of an envelope in the clear.

    Raises:
        WireError: it is not in the clear.
    """
    if data[:1] != CLEAR:
        raise WireError("the envelope is not in the clear", layer=_LAYER)
    return data[1:]


def open_sealed(data: bytes, keys: Iterable[bytes], *, answers: bytes = b"") -> tuple[bytes, bytes]:
    """The message of a sealed envelope, and the key that opened it.

    Raises:
        WireError: it is not sealed, or none of the keys opens it.
    """
    if not is_sealed(data) or len(data) < OVERHEAD:
        raise WireError("the envelope is not sealed", layer=_LAYER)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see `_cipher`

    salt, sealed = salt_of(data), memoryview(data)[1 + SALT_SIZE :]
    for key in keys:
        try:
            return _cipher(key, salt, answers).decrypt(_NONCE, sealed, None), key
        except InvalidTag:
            continue
    raise WireError("no key opens the envelope", layer=_LAYER)


def salt_of(data: bytes) -> bytes:
    """The salt of a sealed envelope, by which it is told from all others."""
    return data[1 : 1 + SALT_SIZE]


def _cipher(key: bytes, salt: bytes, answers: bytes) -> AESGCM:
    # Imported here, as in gossip.wire.keyring: an agent without keys saves the memory and the time.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    info = _PURPOSE + (b"answer" + answers if answers else b"request")
    return AESGCM(HKDF(SHA256(), 32, salt, info).derive(key))
