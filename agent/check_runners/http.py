"""A check that sends an HTTP request: 2xx is passing, 429 a warning, all else critical.

aiohttp's client half is loaded when the first of these checks runs, in a thread, so that agents without one
start as fast as ever. Redirects are followed on the same host only: whoever answers a check decides
about nothing but its own health, and must not make agents send requests, with the headers of the check,
to others. A connection is used once; a check is to find out whether new ones are taken.
"""

from __future__ import annotations

import asyncio
import socket
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit, urlunsplit

from agent.check_runners.output import Tail
from agent.check_runners.periodic import Result
from agent.durations import format_duration
from agent.store.entries import Status
from agent.unreachable import why_unreachable

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver

    from agent.check_runners.names import Names
    from agent.definitions import CheckDefinition

__all__ = ["HttpClient"]

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are read; the status is known before."""
MAX_REDIRECTS = 10
_REDIRECTS = {301, 302, 303, 307, 308}
_PIECE = 64 * 1024
_HEADERS = {"User-Agent": "Consul Health Check", "Accept": "text/plain, text/*, */*"}


class HttpClient:
    """Sends the requests of one agent's HTTP checks.

    Args:
        names: looks hosts up.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def close(self) -> None:
        """Send nothing more. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def ask(self, check: CheckDefinition, within: float) -> Result:
        """Send the request of a check once.

        Args:
            check: of the kind ``http``.
            within: seconds for all of it, redirects and body included.
        """
        session = await self.session()
        if session is None:
            return Result(Status.CRITICAL, "the agent is stopping")
        import aiohttp  # noqa: PLC0415 - loaded by now, see `session`

        shown = _without_password(check.url)
        try:
            async with asyncio.timeout(within):
                return await _follow(session, check, shown)
        except TimeoutError:
            reason = f"no answer within {format_duration(within)}"
        except aiohttp.ClientConnectorError as error:
            reason = f"dial tcp {error.host}:{error.port}: {why_unreachable(error.os_error)}"
        except aiohttp.ServerDisconnectedError:
            reason = "EOF"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = type(error).__name__  # the text may quote what was sent
        return Result(Status.CRITICAL, f'{check.method.capitalize()} "{shown}": {reason}')

    async def session(self) -> aiohttp.ClientSession | None:
        """What sends requests, made at first use; None once closed."""
        if self._session is None:
            await asyncio.to_thread(import_module, "aiohttp")
        if self._session is None and not self._closed:
            import aiohttp  # noqa: PLC0415 - loaded by now

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    force_close=True,
                    limit=0,  # whoever runs checks bounds how many run
                    use_dns_cache=False,
                    resolver=cast("AbstractResolver", _Resolver(self._names)),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=("Accept-Encoding", "Content-Type"),
            )
        return None if self._closed else self._session


async def _follow(session: aiohttp.ClientSession, check: CheckDefinition, shown: str) -> Result:
    url, method, body = check.url, check.method, check.body or None
    headers = [*check.headers.items(), *((name, [value]) for name, value in _HEADERS.items())]
    given = {name.lower(): (name, values) for name, values in reversed(headers)}
    lines = [(name, value) for name, values in given.values() for value in values]
    for _ in range(MAX_REDIRECTS + 1):
        async with session.request(
            method,
            url,
            data=body,
            headers=lines,
            allow_redirects=False,
            ssl=not check.skip_verify,
        ) as response:
            target = urljoin(url, response.headers.get("Location", url))
            if (
                response.status in _REDIRECTS
                and "Location" in response.headers
                and _origin(target) == _origin(url)
            ):
                url = target
                if response.status < 307 and method not in {"GET", "HEAD"}:  # as browsers and Go do
                    method, body = "GET", None
                continue
            status = f"{response.status} {response.reason or ''}".rstrip()
            text = f"HTTP {check.method} {shown}: {status} Output: {await _read(response)}"
            return Result(_status_of(response.status), text)
    return Result(
        Status.CRITICAL,
        f'{check.method.capitalize()} "{shown}": stopped after {MAX_REDIRECTS} redirects',
    )


def _status_of(code: int) -> Status:
    if 200 <= code < 300:
        return Status.PASSING
    return Status.WARNING if code == 429 else Status.CRITICAL


async def _read(response: aiohttp.ClientResponse) -> str:
    """The end of the body, or of as much of it as is read."""
    tail = Tail()
    async for piece in response.content.iter_chunked(_PIECE):
        tail.add(piece)
        if tail.total >= MAX_BODY:
            break
    return tail.text()


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None for what is no URL, and equal to nothing that is one."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


class _Resolver:
    """What aiohttp wants of a resolver, which is loaded too late to be inherited from."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]:
        """Every address of the host."""
        return [
            {
                "hostname": host,
                "host": found[4][0],
                "port": port,
                "family": found[0],
                "proto": found[2],
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for found in await self._names.resolve(host, port, family)
        ]

    async def close(self) -> None:
        """Nothing of its own is open."""
