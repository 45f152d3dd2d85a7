"""The keyring in a file, in Serf's and Consul's format: a JSON list of base64 keys, primary first.

Everything here that touches the file runs in a thread: a slow disk holds up nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from typing import TYPE_CHECKING

from gossip.errors import ConfigError
from gossip.files import write_private
from gossip.tasks import Tasks
from gossip.wire.keyring import Keyring, KeyringError, decode_key, encode_key, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gossip.serf.key_queries import KeyChange

__all__ = ["KeyringFile", "read_keyring", "write_keyring"]

logger = logging.getLogger(__name__)

MAX_SIZE = 64 * 1024
"""Bytes of a keyring file that are read."""


def read_keyring(path: Path) -> tuple[bytes, ...] | None:
    """The keys of a file, primary first; None when there is no such file.

    Raises:
        ConfigError: it cannot be read, others may read it, or it has no usable keys. The text does
            not show any of them.
    """
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            text = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read keyring file {path}: {error.strerror or error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"keyring file {path} has mode {stat.S_IMODE(mode):04o}, so that others may read the "
            f"keys: chmod 600 {path}"
        )
    if len(text) > MAX_SIZE:
        raise ConfigError(f"keyring file {path} is larger than {MAX_SIZE} bytes")
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
        raise ConfigError(f"keyring file {path} is not a JSON list of base64 keys")
    if not listed:
        raise ConfigError(f"keyring file {path} contains no keys")
    keys: list[bytes] = []
    for number, key in enumerate(listed, 1):
        try:
            keys.append(decode_key(key))
        except KeyringError as error:
            raise ConfigError(f"keyring file {path}, key {number}: {error}") from None
    return tuple(keys)


def write_keyring(path: Path, keys: Sequence[bytes]) -> None:
    """Replace a file's keys as a whole, byte for byte as Serf writes them.

    Raises:
        OSError: the file is as it was.
    """
    write_private(path, json.dumps([encode_key(key) for key in keys], indent=2).encode())


class KeyringFile:
    """The file of a cluster: read when it starts, written before each change of its ring.

    Args:
        path: of the file.
        clock: the driver's time.
        wake: called whenever the core was told that a change is saved.
    """

    def __init__(self, path: Path, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._path = path
        self._clock = clock
        self._wake = wake
        self._tasks = Tasks(logger)
        self._write: asyncio.Future[None] | None = None

    async def open(self, configured: Sequence[bytes]) -> tuple[bytes, ...]:
        """The keys to start with: the file's if there is one, else those configured, now saved.

        Raises:
            ConfigError: the file cannot be used.
        """
        keys = await asyncio.to_thread(read_keyring, self._path)
        if keys is None:
            if configured:
                await self._create(configured)
            return tuple(configured)
        shown = _fingerprints(keys)
        if configured and configured[0] not in keys:
            logger.warning(
                "keyring file %s (keys %s) is used, and not the configured key %s, which it lacks",
                self._path, shown, fingerprint(configured[0]),
            )  # fmt: skip
        else:
            logger.info("keyring file %s is used, keys %s", self._path, shown)
        return keys

    def save(self, change: KeyChange) -> None:
        """Write a change in a thread and tell the core how it went."""
        self._tasks.spawn(self._save(change))

    async def close(self) -> None:
        """Wait until nothing is being written any more: the next start reads a whole file."""
        if self._write is not None:
            await asyncio.wait([self._write])
        await self._tasks.cancel()

    async def _create(self, keys: Sequence[bytes]) -> None:
        try:
            await asyncio.to_thread(write_keyring, self._path, keys)
        except OSError as error:
            raise ConfigError(
                f"cannot write keyring file {self._path}: {error.strerror or error}"
            ) from None
        logger.info("keyring file %s is new, keys %s", self._path, _fingerprints(keys))

    async def _save(self, change: KeyChange) -> None:
        loop = asyncio.get_running_loop()
        self._write = loop.run_in_executor(None, write_keyring, self._path, change.keys)
        failure: str | None = None
        try:
            await self._write
        except OSError as error:
            failure = error.strerror or str(error)
        change.saved(failure, self._clock())
        self._wake()


def _fingerprints(keys: Sequence[bytes]) -> str:
    return ", ".join(map(fingerprint, Keyring(keys).keys))
