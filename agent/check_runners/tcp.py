"""A check that connects to a TCP port, says nothing, and closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.check_runners.periodic import Result
from agent.durations import format_duration
from agent.store.entries import Status
from agent.unreachable import why_unreachable

if TYPE_CHECKING:
    from agent.check_runners.names import Names

__all__ = ["connect"]


async def connect(target: str, within: float, names: Names) -> Result:
    """Connect once.

    Args:
        target: ``host:port``; an IPv6 address has brackets.
        within: seconds for the name and all its addresses together.
        names: looks the host up.
    """
    host, _, port = target.rpartition(":")
    try:
        async with asyncio.timeout(within):
            await _connect_any(host.strip("[]"), int(port), names)
    except TimeoutError:
        reason = f"no connection within {format_duration(within)}"
    except OSError as error:
        reason = why_unreachable(error)
    else:
        return Result(Status.PASSING, f"TCP connect {target}: Success")
    return Result(Status.CRITICAL, f"dial tcp {target}: {reason}")


async def _connect_any(host: str, port: int, names: Names) -> None:
    failure = OSError("no address")
    for found in await names.resolve(host or "localhost", port):
        ip, zone = str(found[4][0]), found[4][3] if len(found[4]) > 3 else 0
        try:
            _, writer = await asyncio.open_connection(f"{ip}%{zone}" if zone else ip, port)
        except OSError as error:
            failure = error
        else:
            writer.transport.abort()  # nothing was sent, and no wait for the other side is worth it
            return
    raise failure
