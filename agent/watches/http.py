"""The handler that is a server: the news as the body of a request, their index in ``X-Consul-Index``.

Redirects are not followed: the body and the headers are for the server that was named.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.check_runners.output import Tail
from agent.durations import format_duration
from agent.logs import Value
from agent.unreachable import why_unreachable

if TYPE_CHECKING:
    import aiohttp

    from agent.check_runners.http import HttpClient
    from agent.watches.plan import HttpHandler
    from agent.watches.progress import News

__all__ = ["call_handler"]

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are read; the status is known before."""
_PIECE = 64 * 1024


async def call_handler(client: HttpClient, handler: HttpHandler, news: News) -> bool:
    """Send the news; tells whether they were taken. What the server says goes to the log."""
    session = await client.session()
    if session is None:
        return False  # the agent is stopping
    import aiohttp  # noqa: PLC0415 - loaded by now, see `HttpClient.session`

    where = Value(urlsplit(handler.url).hostname)  # the rest of a URL may hold secrets
    try:
        async with asyncio.timeout(handler.timeout):
            status, output = await _send(session, handler, news)
    except TimeoutError:
        reason = f"no answer within {format_duration(handler.timeout)}"
    except aiohttp.ClientConnectorError as error:
        reason = why_unreachable(error.os_error)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = type(error).__name__  # the text may quote what was sent
    else:
        if 200 <= status < 300:
            log.debug("watch handler said host=%s output=%s", where, Value(output))
            return True
        log.error("watch handler failed host=%s status=%d output=%s", where, status, Value(output))
        return False
    log.error("watch handler not reached host=%s error=%s", where, Value(reason))
    return False


async def _send(
    session: aiohttp.ClientSession, handler: HttpHandler, news: News
) -> tuple[int, str]:
    headers = [("Content-Type", "application/json"), ("X-Consul-Index", str(news.index))]
    own = {name.lower() for name, _ in handler.headers}
    async with session.request(
        handler.method,
        handler.url,
        data=news.data,
        headers=[*(line for line in headers if line[0].lower() not in own), *handler.headers],
        allow_redirects=False,
        ssl=not handler.skip_verify,
    ) as response:
        output = Tail()
        async for piece in response.content.iter_chunked(_PIECE):
            output.add(piece)
            if output.total >= MAX_BODY:
                break
        return response.status, output.captured()
