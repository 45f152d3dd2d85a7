"""``gossip reachability``: test whether every live member answers."""

from __future__ import annotations

from collections import Counter

from agent.commands.base import HTTP_FLAGS, Command, no_args, printable
from agent.commands.http import heading
from agent.commands.query import send_query
from agent.flags import Flag

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]

ALIVE = 1  # Serf's number of the status, as the API shows it


def run(context: Context) -> int:
    """Send a query that everybody acknowledges, and compare with who is alive; 1 if some do not."""
    no_args(context)
    with heading("Error testing reachability"):
        client = context.client()
        members = client.get("/v1/agent/members").objects()
        replies = send_query(client, "_serf_ping", {"ack": ""})["Replies"]
    live = {str(member.get("Name")) for member in members if member.get("Status") == ALIVE}
    acks = Counter(str(reply.get("From")) for reply in replies if reply.get("Type") == "ack")
    missing, unknown = sorted(live - acks.keys()), sorted(acks.keys() - live)
    reached = not missing and not unknown
    if context.json:
        context.print_json(
            {"OK": reached, "Live": sorted(live), "Acks": sorted(acks), "Missing": missing}
        )
        return 0 if reached else 1
    context.print("Starting reachability test...")
    if context.flags.on("verbose"):
        for name in acks:
            context.print(printable(f"\tAck from '{name}'".expandtabs(4)))
    if reached:
        context.print("Successfully contacted all live nodes")
        return 0
    if missing:
        context.print(f"Failed to contact all live nodes! Acks: {len(acks)} Live: {len(live)}")
    else:
        context.print(f"Received more acks than live nodes! Acks: {len(acks)} Live: {len(live)}")
    for title, names in (("Missing", missing), ("Not alive here", unknown)):
        if names:
            context.print(printable(f"{title}: {', '.join(names)}"))
    return 1


COMMAND = Command(
    "reachability",
    "[options]",
    "Sends a query that every member acknowledges and compares the acknowledgements with the members "
    "that are alive. Exit code 1 tells that some are missing: packets get lost, or a firewall stops "
    "them.",
    flags=(Flag("verbose", "Show every acknowledgement."), *HTTP_FLAGS),
    examples=(("gossip reachability", "Test the cluster."),),
    run=run,
)
