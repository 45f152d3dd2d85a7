"""``gossip join``: make the agent join other members."""

from __future__ import annotations

from agent.client import ApiError, segment
from agent.commands.base import HTTP_FLAGS, Command, CommandError, Context, write_error
from agent.commands.http import heading
from agent.flags import Flag, UsageError

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Join each address; at least one has to work."""
    if not context.args:
        raise UsageError(["at least one address to join must be specified"])
    query: dict[str, object] = {"wan": "1"} if context.flags.on("wan") else {}
    with heading("Error joining"):
        client = context.client()
    joined, failures = 0, {}
    for address in context.args:
        try:
            client.put(f"/v1/agent/join/{segment(address)}", query)
        except ApiError as error:
            failures[address] = str(error)
            if not context.json:
                write_error(f"Error joining address '{address}': {error}", as_json=False)
        else:
            joined += 1
    if not joined:
        raise CommandError("Failed to join any nodes.", Errors=failures)
    if context.json:
        context.print_json({"Joined": joined, "Errors": failures})
    else:
        context.print(f"Successfully joined cluster by contacting {joined} nodes.")
    return 0


COMMAND = Command(
    "join",
    "[options] address ...",
    "Makes the agent join the cluster of one or more existing members. Addresses are host, "
    "host:port or [ipv6]:port; the port is that of gossip, by default the agent's own. Succeeds when "
    "at least one address could be joined.",
    flags=(Flag("wan", "Join a server to another one in the WAN pool."), *HTTP_FLAGS),
    examples=(
        ("gossip join 10.1.10.12", "Join by one member."),
        ("gossip join -wan 10.2.10.12", "Make two datacenters known to one another."),
        ("gossip join 10.1.10.12:8301 '[2001:db8::7]:8301'", "Try two members."),
    ),
    run=run,
)
