"""``gossip reload``: make the agent read its configuration again."""

from __future__ import annotations

from agent.commands.base import HTTP_FLAGS, Command, no_args
from agent.commands.http import heading

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Ask for it and wait until it is done."""
    no_args(context)
    with heading("Error reloading"):
        context.client().put("/v1/agent/reload")
    if context.json:
        context.print_json({"Reloaded": True})
    else:
        context.print("Configuration reload triggered")
    return 0


COMMAND = Command(
    "reload",
    "[options]",
    "Makes the agent read its files again and take over the log level, tags, addresses to join and "
    "rules of the HTTP interface. What needs a restart is named in its log; a mistake changes nothing.",
    flags=HTTP_FLAGS,
    examples=(("gossip reload", "Take over what the files say now."),),
    run=run,
)
