"""What the commands share that talk to an agent: errors with a heading, and following changes."""

from __future__ import annotations

import time

from agent.asking import pause_after
from agent.client import ApiError
from agent.commands.base import CommandError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.client import Client, Response
    from agent.commands.base import Context

__all__ = ["ANSWER_TIMEOUT", "WAIT", "follow", "heading", "passes"]

WAIT = 55.0  # seconds of a blocking query; a peer that vanished is noticed after little more
ANSWER_TIMEOUT = WAIT * 17 / 16 + 20.0  # its jitter, and seconds that an answer may be late
_RETRY_MAX = 15.0


class heading:  # noqa: N801 - used as a statement, like the makers of contexts in contextlib
    """Turn an `ApiError` in the block into a `CommandError` that says what was being done."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, ApiError):
            details = {"Status": error.status} if error.status else {}
            raise CommandError(f"{self._text}: {error}", **details) from None


def follow(
    context: Context, client: Client, path: str, query: dict[str, object]
) -> Iterator[tuple[Response, bool]]:
    """Answers of a blocking query for ever, each with whether the agent was lost before it.

    The first request fails like any other; later ones are repeated until the agent is back, which is
    noted on stderr. An agent that sends no index is asked again every second.

    Raises:
        ApiError: the first request failed, or the agent refuses a later one.
    """
    index, lost, delay = 0, False, 1.0
    first = True
    while True:
        started = time.monotonic()
        asked = query | ({"index": index, "wait": f"{WAIT:g}s"} if index else {})
        try:
            response = client.get(path, asked, timeout=ANSWER_TIMEOUT)
        except ApiError as error:
            if first or not passes(error):
                raise
            if not lost:
                context.note(f"{error}; trying again")
            lost, index = True, 0
            time.sleep(delay)
            delay = min(delay * 2, _RETRY_MAX)
            continue
        if lost:
            context.note(f"connected to {client.address} again")
        yield response, lost
        first, lost, delay = False, False, 1.0
        time.sleep(pause_after(response.index, index, time.monotonic() - started))
        index = response.index


def passes(error: ApiError) -> bool:
    """Whether trying again may help: the agent is away, overloaded or failed inside."""
    return error.status in {0, 429} or error.status >= 500
