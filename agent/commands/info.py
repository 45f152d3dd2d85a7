"""``gossip info``: the counters of the agent, section by section."""

from __future__ import annotations

from agent.client import ApiError
from agent.commands.base import HTTP_FLAGS, Command, no_args, printable
from agent.commands.http import heading

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Print ``Stats`` of the agent."""
    no_args(context)
    with heading("Error querying agent"):
        response = context.client().get("/v1/agent/self")
        document = response.json()
        stats = document.get("Stats") if isinstance(document, dict) else None
        if not isinstance(stats, dict) or not all(isinstance(s, dict) for s in stats.values()):
            raise ApiError(f"the answer of {response.address} has no Stats")
    if context.json:
        context.print_json(stats)
        return 0
    for section, values in sorted(stats.items()):
        context.print(f"{printable(section)}:")
        for key, value in sorted(values.items()):
            context.print(f"\t{printable(key)} = {printable(str(value))}")
    return 0


COMMAND = Command(
    "info",
    "[options]",
    "Shows the counters that the agent keeps, for operators and bug reports.",
    flags=HTTP_FLAGS,
    examples=(
        ("gossip info", "Show everything."),
        ("gossip info -format json", "The same for a program."),
    ),
    run=run,
)
