"""Keys and the encryption envelope: version byte, 12-byte nonce, AES-GCM ciphertext and tag.

Version 1 encrypts as is; version 0, which only members of memberlist protocol 1 write, pads to 16
bytes first. Every key of the ring decrypts, the primary one encrypts. ``cryptography`` is imported
when the first key is installed: a node without encryption saves its memory and start-up time.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from gossip.errors import GossipError, WireError
from gossip.wire.limits import KEY_SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "KeyInUseError",
    "KeyMissingError",
    "KeySizeError",
    "Keyring",
    "KeyringError",
    "decode_key",
    "encode_key",
    "fingerprint",
]

NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
BLOCK_SIZE: Final = 16
OVERHEAD: Final = 1 + NONCE_SIZE + TAG_SIZE
"""Bytes that the envelope of version 1 adds."""


class KeyringError(GossipError):
    """A change of the keyring is refused; the keyring is as before. Texts are memberlist's."""


class KeySizeError(KeyringError):
    """A key is not 16, 24 or 32 bytes long."""


class KeyMissingError(KeyringError):
    """The key to use is not installed."""


class KeyInUseError(KeyringError):
    """The key to remove is the primary one."""


def fingerprint(key: bytes) -> str:
    """Name a key in logs without showing it: the first 8 bytes of its SHA-256 in hex."""
    return sha256(key).hexdigest()[:16]


def encode_key(key: bytes) -> str:
    """Write a key as base64, as configuration, key files and Serf's key responses do."""
    return b64encode(key).decode()


def decode_key(text: str) -> bytes:
    """Read a base64 key.

    Raises:
        KeySizeError: it does not decode to 16, 24 or 32 bytes.
        KeyringError: it is not base64. Neither text shows the key.
    """
    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyringError("key is not base64") from None
    return _checked(key)


def _checked(key: bytes) -> bytes:
    if len(key) not in KEY_SIZES:
        raise KeySizeError(f"key size must be 16, 24 or 32 bytes, not {len(key)}")
    return bytes(key)


class Keyring:
    """The keys of one pool, primary first. Empty means that encryption is off.

    Raises:
        KeySizeError: from the constructor, when a key has the wrong size.
    """

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._keys: tuple[tuple[bytes, AESGCM], ...] = ()
        self._rejections: tuple[type[Exception], ...] = ()
        for key in keys:
            self.install(key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring {' '.join(fingerprint(key) for key, _ in self._keys) or 'empty'}>"

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys, primary first."""
        return tuple(key for key, _ in self._keys)

    @property
    def primary(self) -> bytes | None:
        """The key that encrypts; None when the ring is empty."""
        return self._keys[0][0] if self._keys else None

    def install(self, key: bytes) -> None:
        """Add a key behind the others; one that is installed already stays where it is.

        Raises:
            KeySizeError: it is not 16, 24 or 32 bytes long.
        """
        key = _checked(key)
        if key in self.keys:
            return
        # Imported here for the reason given in the module's docstring.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._rejections = (InvalidTag, ValueError, OverflowError)
        self._keys = (*self._keys, (key, AESGCM(key)))

    def use(self, key: bytes) -> None:
        """Make an installed key the primary one.

        Raises:
            KeyMissingError: it is not installed.
        """
        chosen = [entry for entry in self._keys if entry[0] == key]
        if not chosen:
            raise KeyMissingError("Requested key is not in the keyring")
        self._keys = (*chosen, *(entry for entry in self._keys if entry[0] != key))

    def remove(self, key: bytes) -> None:
        """Drop a key; one that is not installed counts as dropped.

        Raises:
            KeyInUseError: it is the primary key.
        """
        if key == self.primary:
            raise KeyInUseError("Removing the primary key is not allowed")
        self._keys = tuple(entry for entry in self._keys if entry[0] != key)

    def encrypt(self, plain: bytes, aad: bytes, nonce: bytes, *, version: int = 1) -> bytes:
        """Seal with the primary key; the ring must not be empty.

        Args:
            plain: what to seal.
            aad: what is authenticated besides: the label, on streams behind the 5 header bytes.
            nonce: 12 random bytes, never used twice with one key.
            version: 1, or 0 to pad as memberlist's protocol 1 does.
        """
        if version == 0:
            padding = BLOCK_SIZE - len(plain) % BLOCK_SIZE
            plain += bytes((padding,)) * padding
        sealed = self._keys[0][1].encrypt(nonce, plain, aad)
        return (b"\x01" if version else b"\x00") + nonce + sealed

    def decrypt(self, data: bytes, aad: bytes) -> bytes:
        """Open an envelope of version 0 or 1 with any key of the ring.

        Raises:
            WireError: the version is unknown, it is too short, or no key opens it.
        """
        version = data[0] if data else -1
        if version not in {0, 1}:
            raise WireError(f"Unsupported encryption version {version}", layer="encrypt")
        least = OVERHEAD if version else OVERHEAD + BLOCK_SIZE
        if len(data) < least:
            raise WireError(
                f"Payload is too small to decrypt: {len(data)} of at least {least} bytes",
                layer="encrypt",
                offset=len(data),
            )
        nonce, sealed = data[1:13], data[13:]
        for _, cipher in self._keys:
            try:
                plain = cipher.decrypt(nonce, sealed, aad)
            except self._rejections:
                continue
            return plain if version else _unpad(plain)
        raise WireError("No installed keys could decrypt the message", layer="encrypt", offset=1)


def _unpad(plain: bytes) -> bytes:
    """Take off PKCS#7 padding, checked whole.

    The version byte is not authenticated: a packet of version 1 whose byte was flipped gets here, and
    its last byte would be taken for a length.
    """
    padding = plain[-1] if plain else 0
    whole = not len(plain) % BLOCK_SIZE and 1 <= padding <= BLOCK_SIZE
    if not whole or plain[-padding:] != bytes((padding,)) * padding:
        raise WireError("the padding of version 0 is damaged", layer="encrypt", offset=13)
    return plain[:-padding]
