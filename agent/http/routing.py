"""From a request line to a handler: paths in one form, routes, and the methods they take."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from agent.http.errors import HttpError
from agent.http.query import parse_all, unquote

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Hashable,
        Iterable,
        Mapping,
        Sequence,
    )

    from agent.agent import Agent

__all__ = ["NOTHING", "Call", "Forwards", "Methods", "Reply", "Route", "Router", "Rows", "Target"]

NOTHING: Final = object()
"""The data of a reply without a body; None is JSON's null."""


class Methods(enum.Enum):
    """What a kind of endpoint answers to: by default, and in strict mode as modern Consul does."""

    READ = enum.auto()
    CONTROL = enum.auto()
    """Changes state, and is a GET in Consul's first API."""
    UPDATE = enum.auto()
    """Changes state; never a GET, which browsers send ahead of their users."""
    REGISTER = enum.auto()
    """Likewise, and a POST is taken for a PUT."""
    KEYRING = enum.auto()
    """Each method does something else. Counts as a change even where it reads: it reads secrets."""

    def allowed(self, *, strict: bool) -> tuple[str, ...]:
        """The methods, in the order of the Allow header."""
        return (_STRICT if strict else _DEFAULT)[self]


_DEFAULT = {
    Methods.READ: ("GET", "HEAD"),
    Methods.CONTROL: ("PUT", "GET", "POST"),
    Methods.UPDATE: ("PUT",),
    Methods.REGISTER: ("PUT", "POST"),
    Methods.KEYRING: ("GET", "POST", "PUT", "DELETE"),
}
_STRICT = {
    Methods.READ: ("GET",),
    Methods.CONTROL: ("PUT",),
    Methods.UPDATE: ("PUT",),
    Methods.REGISTER: ("PUT",),
    Methods.KEYRING: ("GET", "POST", "PUT", "DELETE"),
}


class Forwards(enum.Enum):
    """Which requests for an endpoint travel to a server, see `agent.forward`."""

    NEVER = enum.auto()
    """None: it is about this agent, and ``?dc=`` means nothing."""
    DATACENTER = enum.auto()
    """Those whose ``?dc=`` names another datacenter; any agent serves its own."""
    SERVER = enum.auto()
    """These, and on a client all others too: only servers know the answer."""
    LEADER = enum.auto()
    """These, and all others wherever the datacenter's catalog is not kept: its leader knows the answer."""
    WAN = enum.auto()
    """On a client all, once it knows a server: it is about the WAN pool, and ``?dc=`` means nothing."""
    HANDLER = enum.auto()
    """None by itself: the handler asks the servers of other datacenters, which serve it as well."""


@dataclass(slots=True)
class Call:
    """One request, parsed: what a handler gets.

    Attributes:
        agent: whom to ask.
        rest: what follows a prefix route, decoded.
        parameters: of the query string, decoded.
        read_body: awaits the body; raises `HttpError` 413 above the given number of bytes, 408 when
            it is slow.
        headers: of the request.
        method: of the request.
        target: of the request, as it came.
        hops: agents that it has come through.
        local: whoever sent it is on this machine.
    """

    agent: Agent
    rest: str
    parameters: Mapping[str, str]
    read_body: Callable[[int], Awaitable[bytes]]
    headers: Mapping[str, str]
    method: str
    target: str
    hops: int = 0
    local: bool = False

    def has(self, name: str) -> bool:
        """Tell whether a parameter is there, with a value or without."""
        return name in self.parameters

    def get(self, name: str) -> str:
        """The value of a parameter, empty when there is none."""
        return self.parameters.get(name, "")

    def all(self, name: str) -> list[str]:
        """Every value of a parameter that may be repeated."""
        return parse_all(self.target.partition("?")[2], name)


@dataclass(slots=True)
class Rows:
    """A list whose JSON is made item by item, away from the loop when it is long.

    Attributes:
        items: values that do not change.
        render: makes the JSON of one; called on another thread.
        select: picks those that are shown, and puts them in order; likewise.
        key: of an item, likewise, when the JSON is an object instead of an array; it is in their order.
    """

    items: Sequence[Any]
    render: Callable[[Any], str]
    select: Callable[[Sequence[Any]], Sequence[Any]] = tuple
    key: Callable[[Any], str] | None = None


@dataclass(slots=True)
class Reply:
    """What a handler answers: JSON of `data`, a line of text, which may be empty, or lines as they come.

    Attributes:
        data: the value, `Rows`, or a function that makes either.
        lines: text that is sent piece by piece until there is no more or the client goes.
        version: when it is not None, the answers of this endpoint with an equal version have equal
            data, and the JSON is made once for all clients that wait for it.
        status: of the answer, where it says more than that there is one.
    """

    data: Any = NOTHING
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    version: Hashable = None
    lines: AsyncGenerator[str] | None = None
    status: int = 200


@dataclass(slots=True, frozen=True)
class Route:
    """One endpoint. A path that ends in a slash takes whatever follows it.

    Attributes:
        blocks: the request may wait for a change, see `agent.http.query.blocking`.
        forwards: which requests travel to a server instead of being handled here.
        max_body: bytes of the largest body that travels with them.
        datacenter: tells which one a body names, which counts more than ``?dc=``; empty if none.
        secret: request or answer holds keys, so it is served on the way only in sealed envelopes.
        check: refuses, with an `HttpError` or a `GossipError`, what is wrong wherever it is handled;
            called first, so that it need not travel to be refused.
    """

    path: str
    methods: Methods
    handler: Callable[[Call], Awaitable[Reply]]
    blocks: bool = False
    forwards: Forwards = Forwards.NEVER
    max_body: int = 0
    datacenter: Callable[[bytes], str] | None = None
    secret: bool = False
    check: Callable[[Call], None] | None = None

    @property
    def writes(self) -> bool:
        """It changes state, or shows what only those may see who may change it."""
        return self.methods is not Methods.READ


@dataclass(slots=True, frozen=True)
class Target:
    """A request target in one form.

    Attributes:
        host: from a target in absolute form, else empty.
        path: decoded once, begins with a slash.
        query: not decoded.
    """

    host: str
    path: str
    query: str

    @classmethod
    def parse(cls, target: str) -> Target:
        """Take a request target apart.

        Raises:
            HttpError: 400 for what is neither a path nor an http URL, for broken percent-encoding
                and for characters that cannot be printed.
        """
        host = ""
        if not target.startswith("/"):
            host, target = _absolute(target)
        raw, _, query = target.partition("?")
        try:
            path = unquote(raw)
        except ValueError:
            raise HttpError(400, "400 Bad Request") from None
        if not path.isprintable() and not all(map(_may_stand_in_path, path)):
            raise HttpError(400)
        return cls(host, path, query)

    def check_clean(self) -> None:
        """Send clients with empty or dotted path segments to the path without them, as Go does.

        Raises:
            HttpError: 301.
        """
        if "//" not in self.path and "/." not in self.path:  # as nearly all are
            return
        segments: list[str] = []
        for segment in self.path.split("/"):
            if segment == "..":
                del segments[-1:]
            elif segment not in {"", "."}:
                segments.append(segment)
        clean = "/" + "/".join(segments)
        if self.path.endswith("/") and clean != "/":
            clean += "/"
        if clean != self.path:
            raise self.redirect(clean)

    def redirect(self, path: str) -> HttpError:
        """The answer that sends the client to another path, with the same query."""
        location = quote(path, safe="/:@!$&'()*+,;=~", errors="surrogateescape")
        if self.query:
            location += f"?{self.query}"
        return HttpError(301, headers={"Location": location})


def _may_stand_in_path(char: str) -> bool:
    """Printable, or a byte that is no UTF-8."""
    return char.isprintable() or "\udc80" <= char <= "\udcff"


def _absolute(target: str) -> tuple[str, str]:
    try:
        url = urlsplit(target)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in {"http", "https"} or not url.netloc:
        raise HttpError(400, "400 Bad Request")
    return url.netloc, (url.path or "/") + (f"?{url.query}" if url.query else "")


class Router:
    """Finds the route of a path, and judges the method.

    Attributes:
        strict: takes only the methods that modern Consul takes; may change.
    """

    def __init__(self, routes: Iterable[Route], *, strict: bool = False) -> None:
        self._exact: dict[str, Route] = {}
        self._prefixes: dict[str, Route] = {}
        for route in routes:
            prefix = route.path.endswith("/") and route.path != "/"
            (self._prefixes if prefix else self._exact)[route.path] = route
        self._depth = max((path.count("/") for path in self._prefixes), default=0)
        self.strict = strict

    def find(self, target: Target) -> tuple[Route, str]:
        """The route of a target and what follows its prefix.

        Raises:
            HttpError: 404, or 301 to a prefix route named without its slash.
        """
        path = target.path
        if route := self._exact.get(path):
            return route, ""
        if route := self._prefixes.get(f"{path}/"):
            raise target.redirect(route.path)
        if found := self._find_prefix(path):
            return found, path[len(found.path) :]
        if "/v1/" in path:
            raise HttpError(404, "Invalid URL path: not a recognized HTTP API endpoint")
        raise HttpError(
            404,
            "Invalid URL path: if attempting to use the HTTP API,"
            " ensure the path starts with '/v1/'",
        )

    def _find_prefix(self, path: str) -> Route | None:
        """The longest prefix of a path, so that a route inside another one wins."""
        found, end = None, 0
        for _ in range(self._depth):
            end = path.find("/", end) + 1
            if not end:
                break
            found = self._prefixes.get(path[:end], found)
        return found

    def allow(self, route: Route) -> dict[str, str]:
        """The header that lists the methods of a route."""
        return {"Allow": ",".join(("OPTIONS", *route.methods.allowed(strict=self.strict)))}

    def check_method(self, route: Route, method: str) -> None:
        """Let a method through that the route takes.

        Raises:
            HttpError: 405.
        """
        if method not in route.methods.allowed(strict=self.strict):
            raise HttpError(405, f"method {method} not allowed", self.allow(route))
