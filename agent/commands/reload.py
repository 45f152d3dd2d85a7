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
        answer = context.client().put("/v1/agent/reload")
    named = answer.headers.get("X-Restart-Needed", "")
    restart = named.split(", ") if named else []
    if context.json:
        context.print_json({"Reloaded": True, "RestartNeeded": restart})
        return 0
    context.print("Configuration reload triggered")
    for key in restart:
        context.print(f"Restart needed: {key}")
    return 0


COMMAND = Command(
    "reload",
    "[options]",
    "Makes the agent read its files again and take over what may change while it runs, such as tags, the "
    "log level, addresses to join, timeouts, rules and limits of the HTTP interface, and tokens. What was "
    "changed and needs a restart is named; a mistake changes nothing.",
    flags=HTTP_FLAGS,
    examples=(("gossip reload", "Take over what the files say now."),),
    run=run,
)
