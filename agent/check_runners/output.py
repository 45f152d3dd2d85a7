"""What a check keeps of all that a program or a server says: the end of it."""

from __future__ import annotations

__all__ = ["MAX_OUTPUT", "Tail", "cut"]

MAX_OUTPUT = 4096
"""Bytes of a check's output."""


class Tail:
    """The last `MAX_OUTPUT` bytes of a stream.

    Attributes:
        total: bytes that went by.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        self._kept += data[-MAX_OUTPUT:]
        del self._kept[:-MAX_OUTPUT]

    def text(self) -> str:
        """What is kept, as text; what is no UTF-8 is replaced."""
        return self._kept.decode("utf-8", "replace")

    def captured(self) -> str:
        """What is kept, with a line before it that says so when that is not all."""
        if self.total <= MAX_OUTPUT:
            return self.text()
        return f"Captured {MAX_OUTPUT} of {self.total} bytes\n...\n{self.text()}"


def cut(text: str) -> str:
    """The beginning of a note, with how much it was when that is not all."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_OUTPUT:
        return data.decode()
    kept = data[:MAX_OUTPUT].decode("utf-8", "ignore")
    return f"{kept} ... (captured {MAX_OUTPUT} of {len(data)} bytes)"
