"""``gossip event``: fire a user event."""

from __future__ import annotations

from agent.client import ApiError, segment
from agent.commands.base import HTTP_FLAGS, Command, CommandError
from agent.commands.http import heading
from agent.flags import Flag, UsageError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Fire the event and print its id."""
    flags, args = context.flags, list(context.args)
    name = flags.text("name") or (args.pop(0) if args else "")
    if not name:
        raise UsageError(["Event name must be specified"])
    if len(args) > 1:
        raise UsageError(["too many arguments: after the name there is one payload"])
    query: dict[str, object] = {}
    for key in ("node", "service", "tag"):
        if pattern := flags.text(key):
            _check_pattern(key, pattern)
            query[key] = pattern
    if "tag" in query and "service" not in query:
        raise CommandError("Cannot provide tag filter without service filter.")
    if datacenter := flags.text("datacenter"):
        query["dc"] = datacenter
    payload = args[0].encode("utf-8", "surrogateescape") if args else b""
    with heading("Error firing event"):
        response = context.client().put(f"/v1/event/fire/{segment(name)}", query, payload)
        event = response.json()
        if not isinstance(event, dict) or not isinstance(event.get("ID"), str):
            raise ApiError(f"the answer of {response.address} is not an event")
    if context.json:
        context.print_json(event)
    else:
        context.print(f"Event ID: {event['ID']}")
    return 0


def _check_pattern(key: str, pattern: str) -> None:
    from agent.patterns import PatternError, compile_pattern  # noqa: PLC0415 - most events have no filter

    try:
        compile_pattern(pattern)  # as the agents that receive it will
    except PatternError as error:
        raise CommandError(f"Failed to compile {key} filter regexp: {error}") from None


COMMAND = Command(
    "event",
    "[options] name [payload]",
    "Fires a user event: a name and a small payload that reach every member. `gossip event "
    "-name=<name> [payload]` means the same. Name and payload together have to stay below about 400 "
    "bytes.\n\n"
    "The filters are regular expressions that every receiver applies to its own node and services "
    "before it keeps the event.",
    flags=(
        Flag("name", "Name of the event.", value="name"),
        Flag("node", "Only for nodes whose name matches.", value="regexp"),
        Flag("service", "Only for nodes with a matching service.", value="regexp"),
        Flag(
            "tag",
            "Only for nodes whose matching service has a matching tag; needs -service.",
            value="regexp",
        ),
        Flag("datacenter", "Fire in this datacenter.", value="name", aliases=("dc",)),
        Flag("stale", "Accepted for compatibility; firing has no stale form.", hidden=True),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip event deploy 1609030", "Fire an event with a payload."),
        ("gossip event -service=web -tag=canary restart", "Address some of the nodes."),
        ("gossip event -name=level -- -3", "A payload that begins with a dash follows --."),
    ),
    run=run,
)
