"""``gossip leave``: make the agent leave its cluster and stop."""

from __future__ import annotations

from agent.client import ApiError
from agent.commands.base import HTTP_FLAGS, Command, no_args
from agent.commands.http import heading

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.client import Client
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Ask for a graceful leave and wait for it."""
    no_args(context)
    with heading("Error leaving"):
        client = context.client()
        try:
            client.put("/v1/agent/leave")
        except ApiError as error:
            if error.status or not error.sent or _answers(client):
                raise
            # The agent left and stopped faster than its answer got through.
    if context.json:
        context.print_json({"Left": True})
    else:
        context.print("Graceful leave complete")
    return 0


def _answers(client: Client) -> bool:
    try:
        client.get("/v1/agent/self", timeout=5.0)
    except ApiError as error:
        return error.sent
    return True


COMMAND = Command(
    "leave",
    "[options]",
    "Makes the agent announce its leave to the cluster and stop. Other members show it as left "
    "instead of failed and do not try to reach it again.",
    flags=HTTP_FLAGS,
    examples=(("gossip leave", "Take this node out of the cluster."),),
    run=run,
)
