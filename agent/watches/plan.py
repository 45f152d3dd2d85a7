"""Definitions of watches: what is asked of an agent, and what handles the answers.

The keys and the texts about mistakes are Consul's. The type ``members`` and its key ``wan`` are our own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlsplit

from agent.decode import DecodeError
from gossip.errors import GossipError

if TYPE_CHECKING:
    from agent.decode import Body

__all__ = [
    "EVENT",
    "MAX_WATCHES",
    "TYPES",
    "Handler",
    "HttpHandler",
    "Plan",
    "PlanError",
    "ScriptHandler",
    "watch_definition",
    "watch_plan",
]

MAX_WATCHES = 64
"""How many one agent has at most: each may have a program running."""
HTTP_TIMEOUT = 10.0
"""Seconds of an HTTP handler that says nothing about it."""
EVENT = "event"
TYPES = (EVENT, "nodes", "services", "service", "checks", "members")
_STALE = frozenset({"nodes", "services", "service", "checks"})


class PlanError(GossipError, ValueError):
    """A watch cannot be used as it is defined."""


@dataclass(slots=True, frozen=True)
class ScriptHandler:
    """A program that gets the news on its stdin; no shell reads its arguments."""

    args: tuple[str, ...]


@dataclass(slots=True, frozen=True, kw_only=True)
class HttpHandler:
    """A server that gets the news as the body of a request.

    Attributes:
        url: of the server.
        method: of the request.
        headers: of the request, name and value; they may hold secrets.
        timeout: seconds for all of it.
        skip_verify: its certificate may be anybody's.
    """

    url: str = field(repr=False)
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = HTTP_TIMEOUT
    skip_verify: bool = False


Handler: TypeAlias = ScriptHandler | HttpHandler


@dataclass(slots=True, frozen=True, kw_only=True)
class Plan:
    """One watch.

    Attributes:
        kind: one of `TYPES`.
        path: that is asked for, quoted.
        query: that goes with it.
        token: sent along; empty sends the agent's own, if any.
        handler: gets the news; None when whoever asks does.
    """

    kind: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    token: str = field(default="", repr=False)
    handler: Handler | None = None


def watch_definition(body: Body) -> Plan:
    """Read a watch with its handler, as configuration files have it.

    Raises:
        DecodeError: a value is of another kind.
        PlanError: the values make no watch.
    """
    return watch_plan(body, _handler(body))


def watch_plan(body: Body, handler: Handler | None = None) -> Plan:
    """Read what a watch asks for.

    Args:
        body: its keys; all of them have to mean something.
        handler: that was read from it already.

    Raises:
        DecodeError: a value is of another kind.
        PlanError: the values make no watch.
    """
    kind = body.text("Type")
    datacenter, token = body.text("Datacenter"), body.text("Token")
    if not kind:
        raise PlanError("Watch type must be specified")
    if kind not in TYPES:
        raise PlanError(f"Unsupported watch type: {kind[:60]}")
    path, query = _request(kind, body)
    if datacenter:
        query.append(("dc", datacenter))
    if kind in _STALE and body.truth("Stale"):
        query.append(("stale", ""))
    if unknown := body.unknown():
        raise PlanError(f"Invalid parameters: [{' '.join(unknown)}]")
    if not (token.isascii() and token.isprintable()):
        raise PlanError("The token has characters that no token has")
    return Plan(kind=kind, path=path, query=tuple(query), token=token, handler=handler)


def _request(kind: str, body: Body) -> tuple[str, list[tuple[str, str]]]:
    """Path and query of a type."""
    match kind:
        case "event":
            name = body.text("Name")
            return "/v1/event/list", [("name", name)] if name else []
        case "members":
            return "/v1/agent/members", [("wan", "1")] if body.truth("WAN") else []
        case "service":
            service = body.text("Service")
            if not service:
                raise PlanError("Must specify a single service to watch")
            query = [("tag", tag) for tag in _tags(body) if tag]
            if body.truth("PassingOnly"):
                query.append(("passing", "1"))
            return f"/v1/health/service/{_quoted(service)}", query
        case "checks":
            service, state = body.text("Service"), body.text("State")
            if service and state:
                raise PlanError("Cannot specify service and state")
            if service:
                return f"/v1/health/checks/{_quoted(service)}", []
            return f"/v1/health/state/{_quoted(state or 'any')}", []
        case _:
            return f"/v1/catalog/{kind}", []


def _tags(body: Body) -> tuple[str, ...]:
    """One tag or a list of them."""
    try:
        return body.texts("Tag")
    except DecodeError:
        return (body.text("Tag"),)


def _handler(body: Body) -> Handler:
    """The one handler of a watch.

    Raises:
        DecodeError: a value is of another kind.
        PlanError: there is none, or more than one, or it is not usable.
    """
    kind = body.text("HandlerType", "script")
    shell, args, http = body.text("Handler"), body.texts("Args"), body.object("HTTPHandlerConfig")
    if kind not in {"script", "http"}:
        raise PlanError(f"Unsupported handler type: {kind[:60]}")
    if kind == "http" and http is None:
        raise PlanError("Handler type 'http' requires 'http_handler_config' to be set")
    if (bool(shell) + bool(args) + (http is not None)) > 1:
        raise PlanError("Only one watch handler allowed")
    if http is not None:
        if kind != "http":
            raise PlanError("'http_handler_config' needs the handler type 'http'")
        return _http_handler(http)
    args = args or (("sh", "-c", shell) if shell else ())
    if not args:
        raise PlanError("Must define a watch handler")
    if not args[0] or any("\0" in arg for arg in args):
        raise PlanError("Watch args must name a program and have no NUL character")
    return ScriptHandler(args)


def _http_handler(body: Body) -> HttpHandler:
    url, method = body.text("Path"), body.text("Method") or "POST"
    headers = tuple((name, text) for name, texts in body.lists("Header").items() for text in texts)
    timeout = body.duration("Timeout")
    failed = "Failed to parse 'http_handler_config': "
    if not url:
        raise PlanError(f"{failed}Requires 'path' to be set")
    if not _is_url(url):
        raise PlanError(f"{failed}'path' is not an http:// or https:// URL")
    if not (method.isascii() and method.isalpha()):
        raise PlanError(f"{failed}'method' is not one of HTTP's")
    for name, text in headers:
        if not _is_token(name) or not (text.isascii() and text.isprintable()):
            raise PlanError(f"{failed}a 'header' cannot be sent")
    return HttpHandler(
        url=url,
        method=method.upper(),
        headers=headers,
        timeout=timeout if timeout > 0 else HTTP_TIMEOUT,
        skip_verify=body.truth("TLSSkipVerify"),
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and text.isprintable() and " " not in text


def _is_token(name: str) -> bool:
    return (
        name.isascii() and bool(name) and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name)
    )


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
