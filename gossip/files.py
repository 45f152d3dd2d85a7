"""Files that hold secrets or must be whole after a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_private", "sync_folder", "write_private"]


def write_private(path: Path, data: bytes) -> None:
    """Replace a file as a whole: mode 0600, on the disk when this returns, folders made with 0700.

    It blocks, for seconds when the disk is slow. A symbolic link keeps pointing where it does.

    Raises:
        OSError: the file is as it was.
    """
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # one that a crash left here may have another
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_private(path: Path) -> None:
    """Remove a file, which may be gone already: it does not come back once this returns. It blocks likewise.

    Raises:
        OSError: it is there, or may be there again after a power cut.
    """
    path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # the folder was never made
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the disk know which names there are, or a power cut brings the old ones back. It blocks.

    Raises:
        OSError: there is no such folder, or the disk failed.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
