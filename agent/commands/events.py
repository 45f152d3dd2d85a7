"""``gossip events``: the user events that the agent holds, once or as they arrive."""

from __future__ import annotations

import base64
from collections import deque

from agent.commands.base import HTTP_FLAGS, Command, columns, no_args, printable
from agent.commands.http import follow, heading
from agent.flags import Flag

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from agent.client import Client
    from agent.commands.base import Context

    JsonObject: TypeAlias = dict[str, Any]

__all__ = ["COMMAND"]

PATH = "/v1/event/list"
_SEEN = 1024  # ids remembered when following; an agent holds 256 events


def run(context: Context) -> int:
    """Print the events, and with ``-follow`` those to come."""
    no_args(context)
    query: dict[str, object] = {}
    if name := context.flags.text("name"):
        query["name"] = name
    with heading("Error listing events"):
        client = context.client()
        if context.flags.on("follow"):
            _follow(context, client, query)
            return 0
        events = client.get(PATH, query).objects()
    if context.json:
        context.print_json(events)
    elif events:
        rows = [["LTime", "ID", "Name", "Payload"], *map(_row, events)]
        context.print(columns(rows))
    return 0


def _follow(context: Context, client: Client, query: dict[str, object]) -> None:
    """Print a line per event until interrupted.

    The index of an event list names its newest event and says nothing about what lies before it, so
    what is new is found by id. When the last event that was printed is no longer held, others may
    have come and gone unseen, and that is said.
    """
    context.following = True
    seen: deque[str] = deque(maxlen=_SEEN)
    last = ""
    for response, lost in follow(context, client, PATH, query):
        events = response.objects()
        ids = {str(event.get("ID")) for event in events}
        if last and last not in ids:
            last = ""
            context.note(
                "events may be missing here: the agent no longer holds the last one seen, "
                + ("it was restarted" if lost else "too many came at once")
            )
        known = set(seen)
        for event in events:
            if (last := str(event.get("ID"))) in known:
                continue
            seen.append(last)
            if context.json:
                context.print_json(event)
            else:
                context.print("  ".join(map(printable, _row(event))).rstrip())


def _row(event: JsonObject) -> list[str]:
    return [
        str(event.get("LTime", "")),
        str(event.get("ID", "")),
        str(event.get("Name", "")),
        _payload(event.get("Payload")),
    ]


def _payload(text: object) -> str:
    """A payload as text when it is text, else as it came, in base64."""
    if not isinstance(text, str):
        return ""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except ValueError:
        return f"base64:{text}"
    return decoded if decoded.isprintable() else f"base64:{text}"


COMMAND = Command(
    "events",
    "[options]",
    "Lists the user events that the agent holds, oldest first: at most 256. A payload that is not "
    "printable text is shown in base64.\n\n"
    "With -follow, further events are printed as they arrive, until interrupted. When the agent was "
    "away or more events arrived at once than it holds, a line on stderr says that some may be missing.",
    flags=(
        Flag("name", "Only events of exactly this name.", value="name"),
        Flag("follow", "Go on with the events to come.", aliases=("f",)),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip events", "List what the agent has seen."),
        (
            "gossip events -name=deploy -follow -format json",
            "Follow one kind, a JSON object per line.",
        ),
    ),
    run=run,
)
