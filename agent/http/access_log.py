"""One line of log per request, without the secrets that Consul's API puts into URLs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.http.query import unquote
from agent.logs import Value

if TYPE_CHECKING:
    from agent.http._aiohttp import BaseRequest

__all__ = ["log_access", "redact"]

log = logging.getLogger(__name__)

HIDDEN = "<hidden>"


def log_access(request: BaseRequest, remote: str | None, status: int, seconds: float) -> None:
    """Log an answered request, at DEBUG as Consul does."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "request method=%s url=%s from=%s status=%d latency=%.3fms",
            Value(request.method),
            Value(redact(request.raw_path)),
            remote or "unix",
            status,
            seconds * 1e3,
        )


def redact(target: str) -> str:
    """A request target without ``?token=`` and the ids of the ACL endpoints, which are secrets too."""
    path, mark, query = target.partition("?")
    if path.startswith("/v1/acl/"):
        verb, _, secret = path.removeprefix("/v1/acl/").partition("/")
        path = f"/v1/acl/{verb}/<hidden>" if secret else path
    pairs = [_redact_pair(pair) for pair in query.split("&")]
    return path + mark + "&".join(pairs)


def _redact_pair(pair: str) -> str:
    key, _, value = pair.partition("=")
    try:
        hidden = value and unquote(key.replace("+", " ")) == "token"
    except ValueError:
        hidden = False
    return f"{key}=<hidden>" if hidden else pair
