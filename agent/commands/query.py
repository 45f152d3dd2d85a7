"""``gossip query``: ask the members with a Serf query."""

from __future__ import annotations

import base64

from agent.client import ApiError, Client, segment
from agent.commands.base import HTTP_FLAGS, Command, printable
from agent.commands.http import heading
from agent.commands.keyring import relay_query
from agent.flags import Flag, UsageError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.commands.base import Context

__all__ = ["COMMAND", "send_query"]


def run(context: Context) -> int:
    """Send the query and print the replies."""
    flags, args = context.flags, context.args
    if not 1 <= len(args) <= 2:
        raise UsageError(["a query has a name and at most one payload"])
    query = relay_query(context)
    for name in ("node", "tag", "timeout"):
        if text := flags.text(name):
            query[name] = text
    if not flags.on("no-ack"):
        query["ack"] = ""
    payload = args[1].encode("utf-8", "surrogateescape") if len(args) > 1 else b""
    with heading("Error sending query"):
        result = send_query(context.client(), args[0], query, payload)
    if context.json:
        context.print_json(result)
        return 0
    context.print(printable(f"Query '{args[0]}' dispatched"))
    acks = responses = 0
    for reply in result["Replies"]:
        if reply.get("Type") == "ack":
            acks += 1
            context.print(printable(f"Ack from '{reply.get('From')}'"))
        else:
            responses += 1
            answer = base64.b64decode(reply.get("Payload") or "").decode("utf-8", "replace")
            text = answer.removesuffix("\n")
            context.print(printable(f"Response from '{reply.get('From')}': {text}"))
    if not flags.on("no-ack"):
        context.print(f"Total Acks: {acks}")
    context.print(f"Total Responses: {responses}")
    if result.get("Truncated"):
        context.note("there were more answers than the agent collects")
    return 0


def send_query(
    client: Client, name: str, query: dict[str, object], payload: bytes = b""
) -> dict[str, Any]:
    """Have the agent send a query; its replies once all are there.

    Raises:
        ApiError: it could not, or what it says is no such answer.
    """
    response = client.put(f"/v1/agent/query/{segment(name)}", query, payload)
    result = response.json()
    if not isinstance(result, dict) or not isinstance(result.get("Replies"), list):
        raise ApiError(f"the answer of {response.address} has no replies")
    return result


COMMAND = Command(
    "query",
    "[options] name [payload]",
    "Asks the members of the LAN pool with a Serf query and shows what they answer before its "
    "deadline. Those who have no answer to it only acknowledge it.",
    flags=(
        Flag("node", "Ask only this member.", value="name"),
        Flag("tag", "Ask only members whose tag matches.", value="name=regexp"),
        Flag("no-ack", "Do not ask for acknowledgements."),
        Flag(
            "relay-factor",
            "Have each reply come through so many other members too, 0 to 5.",
            value="number",
        ),
        Flag("timeout", 'How long to wait for replies, such as "5s", 60s at most.', value="time"),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip query load", "Ask every member."),
        ("gossip query -tag=dc=dc1 -timeout=2s uptime -s", "Ask some, with a payload."),
    ),
    run=run,
)
