"""``gossip monitor``: the log of the agent as it is written."""

from __future__ import annotations

from agent.commands.base import HTTP_FLAGS, Command, no_args, printable
from agent.commands.http import heading
from agent.flags import Flag

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Print lines of the log until interrupted; the agent going away is an error."""
    no_args(context)
    query: dict[str, object] = {"loglevel": context.flags.text("log-level", "INFO")}
    if context.json or context.flags.on("log-json"):
        query["logjson"] = "true"
    with heading("Error monitoring the log"):
        client = context.client()
        context.following = True
        for line in client.lines("/v1/agent/monitor", query):
            context.print(printable(line))
    return 0


COMMAND = Command(
    "monitor",
    "[options]",
    "Prints the log of the agent as it is written, until interrupted; when the agent goes away, with "
    "exit code 1. The level may be finer than that of the agent's own log.\n\n"
    "An agent does not wait for who reads too slowly: a line then tells how many were left out.",
    flags=(
        Flag(
            "log-level",
            "Least level to show: TRACE, DEBUG, INFO, WARN or ERR (default INFO).",
            value="level",
        ),
        Flag("log-json", "The same as -format=json: a JSON object per line."),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip monitor -log-level=debug", "See what an agent at INFO does not write."),
        ("gossip monitor -format json", "A JSON object per line, for a program."),
    ),
    run=run,
)
