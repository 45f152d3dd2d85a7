"""Why there is no connection: for logs, outputs of checks and answers of the agent alike."""

from __future__ import annotations

import os
import socket
import ssl

__all__ = ["why_unreachable"]


def why_unreachable(error: OSError) -> str:
    """Why there is no connection, in the words of the system's own list where it has one."""
    if isinstance(error, ssl.SSLError):  # its number is OpenSSL's
        reasons = (getattr(error, name, "") for name in ("verify_message", "reason", "strerror"))
        return f"tls: {next(filter(None, reasons), error)}"
    if isinstance(error, socket.gaierror):
        return "lookup: no such host" if error.errno == socket.EAI_NONAME else f"lookup: {error}"
    return f"connect: {os.strerror(error.errno).lower()}" if error.errno else str(error)
