"""A temporary folder that goes with its owner, however that ends."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ScratchFolder"]

_SWEEP = """
cat >/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf -- "$1" 2>/dev/null && exit
  sleep 0.1
done
"""
"""Children of an owner that was killed are killed too, and may write one last time meanwhile."""


class ScratchFolder:
    """``with`` gives a new folder and removes it; a shell does so where we are killed.

    That shell waits for the end of a pipe whose other end only this process has.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._sweeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Path:
        folder = tempfile.mkdtemp(prefix=self._prefix)
        try:
            self._sweeper = subprocess.Popen(
                ["sh", "-c", _SWEEP, "sweeper", folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the terminal is not for it
                cwd="/",
            )
        except OSError:
            Path(folder).rmdir()
            raise
        return Path(folder)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._sweeper is not None  # noqa: S101 - entered
        self._sweeper.communicate()
