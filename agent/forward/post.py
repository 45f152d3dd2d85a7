"""Envelopes on HTTP connections that are kept, by aiohttp's client half, loaded at first use."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from agent.unreachable import why_unreachable
from gossip.errors import GossipError
from gossip.wire.address import join_host_port
from gossip.zones import LINK_LOCAL

if TYPE_CHECKING:
    import aiohttp

    from gossip.wire.address import Address

__all__ = ["FORWARD_PATH", "PostError", "Poster", "RefusedError", "UnreachedError"]

FORWARD_PATH = "/v1/internal/forward"
"""Where servers take envelopes."""
MAX_ANSWER = 64 * 1024 * 1024
"""Largest answer, bytes; as much as our own command line takes."""
MAX_CONNECTIONS = 1024
"""To all servers together; one for each request in progress."""
CONNECT_TIMEOUT = 3.0
"""Seconds; leaves time for other servers within the usual deadline."""
KEEP_ALIVE = 15.0
"""Seconds for which an idle connection is kept. The other end keeps it longer, so none that is about to be
closed over there is used again here."""
MAX_REFUSAL = 200
"""Bytes shown of what a server says outside of an envelope."""
PIECE = 64 * 1024


class PostError(Exception):
    """There is no answer, and the request may have been processed."""


class UnreachedError(PostError):
    """There is no connection, so nothing was sent."""


class RefusedError(PostError):
    """Something that calls itself the server refused the request unprocessed."""


class Poster:
    """The connections of one agent to servers.

    Args:
        source: IP address that they come from; empty leaves it to the system. One with a zone names the
            link on which all link-local servers are.
    """

    def __init__(self, source: str = "") -> None:
        self._source, _, self._zone = source.partition("%")
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def close(self) -> None:
        """Close all of them; what is in progress fails. Idempotent."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def post(self, address: Address, data: bytes) -> bytes:
        """Send an envelope, and wait for the one that comes back.

        Raises:
            PostError: see its subclasses; the text is for people.
            GossipError: closed.
        """
        session = await self._open()
        import aiohttp  # noqa: PLC0415 - loaded by now, see `_open`

        try:
            async with session.post(
                f"http://{self._target(address)}{FORWARD_PATH}", data=data, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise RefusedError(await _refusal(response))
                return await _body(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnreachedError(_reason(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PostError(_reason(error)) from None

    def _target(self, address: Address) -> str:
        ip, port = address
        in_zone = self._zone and ip.startswith(LINK_LOCAL)
        return join_host_port(f"{ip}%{self._zone}" if in_zone else ip, port)

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # An eighth of a second and 6 MiB (see agent/http/_aiohttp.py), which agents that forward
            # nothing save; in a thread, so that gossip goes on meanwhile.
            await asyncio.to_thread(import_module, "aiohttp")
        if self._closed:
            raise GossipError("the agent is stopping")
        if self._session is None:
            import aiohttp  # noqa: PLC0415 - loaded by now

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=MAX_CONNECTIONS,
                    keepalive_timeout=KEEP_ALIVE,
                    # aiohttp cannot bind to a zone; with a target in it the system takes the address.
                    local_addr=(self._source, 0) if self._source and not self._zone else None,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                headers={"Content-Type": "application/octet-stream"},
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            )
        return self._session


async def _body(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_chunked(PIECE):
        data += piece
        if len(data) > MAX_ANSWER:
            raise PostError(f"the answer exceeds the limit of {MAX_ANSWER} bytes")
    return bytes(data)


async def _refusal(response: aiohttp.ClientResponse) -> str:
    text = (await response.content.read(MAX_REFUSAL)).decode("utf-8", "replace")
    return f"refused with status {response.status}: {text}"


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None)  # without aiohttp's words around it
    return why_unreachable(cause) if cause is not None else str(error) or type(error).__name__
