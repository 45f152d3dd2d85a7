"""``gossip members``: the members that the agent knows, once or as they change."""

from __future__ import annotations

import re
import time

from agent.commands.base import HTTP_FLAGS, Command, CommandError, columns, no_args, printable
from agent.commands.http import follow, heading
from agent.flags import Flag

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    from agent.client import Client
    from agent.commands.base import Context

    JsonObject: TypeAlias = dict[str, Any]

__all__ = ["COMMAND"]

PATH = "/v1/agent/members"
NO_MATCH = 2
_STATUS = {0: "none", 1: "alive", 2: "leaving", 3: "left", 4: "failed"}
_CHANGE = {0: "none", 1: "join", 2: "leaving", 3: "leave", 4: "failed"}


def run(context: Context) -> int:
    """Print the members; 2 when none matches."""
    no_args(context)
    try:
        wanted = re.compile(context.flags.text("status", ".*"))
    except re.error as error:
        raise CommandError(f"Failed to compile status regexp: {error}") from None
    query: dict[str, object] = {"wan": "1"} if context.flags.on("wan") else {}
    with heading("Error retrieving members"):
        client = context.client()
        if context.flags.on("watch"):
            _watch(context, client, query, wanted)
            return 0
        members = client.get(PATH, query).objects()
    members = [member for member in members if wanted.search(_status(member))]
    members.sort(key=lambda member: (_segment(member), str(member.get("Name", ""))))
    if not members:
        if context.json:
            context.print_json([])
        return NO_MATCH
    if context.json:
        context.print_json(members)
    else:
        detailed = context.flags.on("detailed")
        context.print(columns(_detailed(members) if detailed else _table(members)))
    return 0


def _watch(
    context: Context, client: Client, query: dict[str, object], wanted: re.Pattern[str]
) -> None:
    """Print a line per change until interrupted."""
    context.following = True
    known: dict[str, JsonObject] = {}
    first = True
    for response, _ in follow(context, client, PATH, query):
        now = {str(member.get("Name", "")): member for member in response.objects()}
        for change, member in _changes(known, now):
            if wanted.search(_status(member)):
                _print_change(context, "present" if first else change, member)
        known, first = now, False


def _changes(
    old: dict[str, JsonObject], new: dict[str, JsonObject]
) -> Iterator[tuple[str, JsonObject]]:
    """What happened between two lists, in the order of the names."""
    for name in sorted(old.keys() | new.keys()):
        was, member = old.get(name), new.get(name)
        if member is None:
            assert was is not None  # noqa: S101 - the name came from one of the two
            yield "reap", was
        elif was is None or _status(was) != _status(member):
            yield _CHANGE.get(member.get("Status", 0), "unknown"), member
        elif was != member:
            yield "update", member


def _print_change(context: Context, change: str, member: JsonObject) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    if context.json:
        context.print_json({"Time": now, "Change": change, "Member": member})
    else:
        name = printable(str(member.get("Name", "")))
        context.print(f"{now}  {change:<7}  {name}  {_address(member)}  {_status(member)}")


def _table(members: list[JsonObject]) -> Iterator[list[str]]:
    yield ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]
    for member in members:
        tags = _tags(member)
        row = [str(member.get("Name", "")), _address(member), _status(member)]
        kind = {"node": "client", "consul": "server"}.get(tags.get("role", ""))
        if kind is None:
            yield [*row, "unknown", "", "", "", ""]
            continue
        build = tags.get("build", "").partition(":")[0] or "< 0.3"
        yield [*row, kind, build, tags.get("vsn", ""), tags.get("dc", ""), _segment(member)]


def _detailed(members: list[JsonObject]) -> Iterator[list[str]]:
    yield ["Node", "Address", "Status", "Tags"]
    for member in members:
        tags = _tags(member)
        if "segment" in tags:
            tags["segment"] = _segment(member)
        text = ",".join(f"{key}={value}" for key, value in sorted(tags.items()))
        yield [str(member.get("Name", "")), _address(member), _status(member), text]


def _tags(member: JsonObject) -> dict[str, str]:
    tags = member.get("Tags")
    return {str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {}


def _segment(member: JsonObject) -> str:
    """Servers are in all segments, others in the default one unless they say so."""
    tags = _tags(member)
    if tags.get("role") == "consul":
        return "<all>"
    return tags.get("segment") or "<default>"


def _status(member: JsonObject) -> str:
    return _STATUS.get(member.get("Status", 0), "unknown")


def _address(member: JsonObject) -> str:
    addr = printable(str(member.get("Addr", "")))
    return f"[{addr}]:{member.get('Port')}" if ":" in addr else f"{addr}:{member.get('Port')}"


COMMAND = Command(
    "members",
    "[options]",
    "Lists the members that the agent knows, servers first. Exits with 2 when none matches.\n\n"
    "With -watch the members present are listed, one line each, and then every change until "
    "interrupted: join, leaving, leave, failed, update (address or tags) and reap (forgotten).",
    flags=(
        Flag("detailed", "Show all tags instead of the columns made from them."),
        Flag(
            "status",
            "Show only members whose status (alive, leaving, left, failed) matches this regular "
            "expression.",
            value="regexp",
        ),
        Flag("wan", "Show the WAN pool."),
        Flag("watch", "Follow the changes."),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip members", "List everybody."),
        ("gossip members -status='failed|left'", "List those that are gone."),
        ("gossip members -wan", "List the servers of all datacenters; ask a server for it."),
        ("gossip members -watch -format json", "Follow the changes, one JSON object per line."),
        ("CONSUL_HTTP_ADDR=10.1.10.12:8500 gossip members -detailed", "Ask another agent."),
    ),
    run=run,
)
