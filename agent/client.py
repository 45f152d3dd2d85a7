"""A client of the agent's HTTP interface, small enough for short commands.

It uses ``http.client`` only, one connection per request, and reports every failure as an `ApiError`
whose text names the address. Nothing is retried here.
"""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import contextmanager
from urllib.parse import quote, urlencode, urlsplit

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["DEFAULT_ADDRESS", "ApiError", "Client", "Response", "segment"]

DEFAULT_PORT = 8500
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
DEFAULT_TIMEOUT = 75.0  # seconds; a join may try several dead addresses for 10 s each
CONNECT_TIMEOUT = 10.0
MAX_BODY = 64 * 1024 * 1024  # bytes; 10,000 members take about 8 MiB
MAX_LINE = 64 * 1024  # bytes; longer lines are given in parts


class ApiError(Exception):
    """A request had no usable answer.

    Attributes:
        status: the HTTP status, 0 when there was none.
        sent: the request had left when the failure came.
    """

    def __init__(self, message: str, *, status: int = 0, sent: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.sent = sent


class Response:
    """A successful answer."""

    __slots__ = ("address", "body", "headers")

    def __init__(self, address: str, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.address = address
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def index(self) -> int:
        """``X-Consul-Index``, 0 when absent or unusable."""
        text = self.headers.get("X-Consul-Index", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ApiError: it is something else.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise ApiError(f"the answer of {self.address} is not JSON") from None

    def objects(self) -> list[dict[str, Any]]:
        """The body as a JSON array of objects; null counts as empty.

        Raises:
            ApiError: it is something else.
        """
        value = self.json()
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ApiError(f"the answer of {self.address} is not a list of objects")
        return value


class Client:
    """Requests to one agent.

    Args:
        address: ``host:port``, ``http://host:port`` or ``unix:///path``; IPv6 in brackets or, without a
            port, bare, and a link-local one with its zone.
        token: sent as ``X-Consul-Token`` unless empty.

    Raises:
        ApiError: from the constructor, when address or token cannot be used.
    """

    def __init__(self, address: str = "", token: str = "") -> None:
        if not all("!" <= character <= "~" for character in token):
            raise ApiError("the token has characters that a header cannot carry")
        self._headers = {"X-Consul-Token": token} if token else {}
        self._host, self._port, self._path = _parse_address(address or DEFAULT_ADDRESS)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.address = f"unix://{self._path}" if self._path else f"http://{host}:{self._port}"
        if "%" in self._host:  # a zone is ours alone, the agent does not know it
            self._headers["Host"] = f"[{self._host.partition('%')[0]}]:{self._port}"

    def get(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Response:
        """GET `path`, see `request`."""
        return self.request("GET", path, query, timeout=timeout)

    def put(
        self, path: str, query: Mapping[str, object] | None = None, body: bytes = b""
    ) -> Response:
        """PUT `body` to `path`, see `request`."""
        return self.request("PUT", path, query, body=body)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        body: bytes | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Response:
        """Send a request and wait for its answer, at most `timeout` seconds between two bytes.

        `path` is sent as it is: quote what it is made of with `segment`.

        Raises:
            ApiError: no connection, no answer, or a status other than 200.
        """
        connection = self._connection()
        try:
            with self._losses(timeout):
                answer = self._ask(connection, method, _target(path, query), body, timeout)
                data = answer.read(MAX_BODY + 1)
                if answer.length and len(data) <= MAX_BODY:
                    raise http.client.IncompleteRead(data, answer.length)
        finally:
            connection.close()
        if len(data) > MAX_BODY:
            raise ApiError(f"the answer of {self.address} exceeds {MAX_BODY} bytes", sent=True)
        if answer.status != 200:
            raise _refusal(answer.status, data)
        if answer.headers.get_content_type() == "text/html":  # what was asked for may not be done
            raise ApiError(f"{self.address} answers with a web page and is no agent", sent=True)
        return Response(self.address, answer.headers, data)

    def lines(self, path: str, query: Mapping[str, object] | None = None) -> Iterator[str]:
        """The lines of an answer that goes on for as long as it is read.

        Raises:
            ApiError: as `request`, and when the agent ends the answer, however it does.
        """
        connection = self._connection()
        try:
            with self._losses(DEFAULT_TIMEOUT):
                # The head comes at once, and then there may be nothing to say for hours.
                answer = self._ask(connection, "GET", _target(path, query), None, None)
                if answer.status != 200:
                    raise _refusal(answer.status, answer.read(MAX_LINE))
                while line := answer.readline(MAX_LINE):
                    yield line.decode("utf-8", "replace").removesuffix("\n")
            raise ApiError(f"{self.address} ended the connection", sent=True)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes | None,
        timeout: float | None,
    ) -> http.client.HTTPResponse:
        self._open(connection)
        connection.sock.settimeout(timeout)
        connection.request(method, target, body, self._headers)
        return connection.getresponse()

    @contextmanager
    def _losses(self, timeout: float) -> Iterator[None]:
        """Turn what happens to a connection into an `ApiError`."""
        try:
            yield
        except TimeoutError:
            message = f"no answer from {self.address} within {timeout:g} seconds"
            raise ApiError(message, sent=True) from None
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "strerror", None) or "it closed the connection"
            message = f"lost the connection to {self.address}: {reason.lower()}"
            raise ApiError(message, sent=True) from None

    def _open(self, connection: http.client.HTTPConnection) -> None:
        try:
            if self._path:
                connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.sock.settimeout(CONNECT_TIMEOUT)
                connection.sock.connect(self._path)
            else:
                connection.connect()
        except (OSError, UnicodeError) as error:
            reason = "timed out" if isinstance(error, TimeoutError) else _reason(error)
            raise ApiError(f"cannot connect to {self.address}: {reason}") from None


def _target(path: str, query: Mapping[str, object] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _refusal(status: int, data: bytes) -> ApiError:
    text = data[:4096].decode("utf-8", "replace")
    return ApiError(
        f"Unexpected response code: {status} ({text.strip()})", status=status, sent=True
    )


def segment(text: str) -> str:
    """One part of a path, quoted so that any text arrives as it is."""
    return quote(text, safe="", errors="surrogateescape")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None)
    return str(text).lower() if text else "not a host name"


def _parse_address(text: str) -> tuple[str, int, str]:
    """Host, port and path of a Unix socket (empty for TCP)."""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path or "\0" in path:
            raise ApiError(f'address "{text}" names no socket')
        return "localhost", 0, path
    if text.startswith("https://"):
        raise ApiError(f'address "{text}": TLS is not supported')
    if _is_ipv6(text):  # without brackets all of it is the address
        return text, DEFAULT_PORT, ""
    url = text if "://" in text else f"http://{text}"
    default = 80 if "://" in text else DEFAULT_PORT
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.netloc.startswith(":") and port is not None:
        host = "localhost"  # as Go's clients take it
    if host and "[" in parts.netloc:
        host = host.replace("%25", "%", 1)  # as a URL writes the sign before a zone
        behind = parts.netloc.rpartition("]")[2]
        host = host if _is_ipv6(host) and behind[:1] in {"", ":"} else None
    if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query:
        raise ApiError(f'address "{text}" is not host:port, http://host:port or unix:///path')
    if parts.username is not None:
        raise ApiError("an address with user name and password is not supported")
    return host, default if port is None else port, ""


def _is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address, perhaps with a zone."""
    # Not by `ipaddress`, which costs 3 ms at the start.
    address, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, UnicodeError):
        return False
    return bool(zone) if percent else True
