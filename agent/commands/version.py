"""``gossip version``."""

from __future__ import annotations

from agent.commands.base import FORMAT, Command, no_args
from agent.version import BUILD, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN, VERSION

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Print the version and the protocols understood."""
    no_args(context)
    if context.json:
        context.print_json(
            {
                "Version": VERSION,
                "Build": BUILD,
                "Protocol": PROTOCOL,
                "ProtocolMin": PROTOCOL_MIN,
                "ProtocolMax": PROTOCOL_MAX,
            }
        )
    else:
        context.print(
            f"gossip-agent v{VERSION}\n"
            f"Protocol {PROTOCOL} spoken by default, understands {PROTOCOL_MIN} to {PROTOCOL_MAX}"
        )
    return 0


COMMAND = Command(
    "version",
    "",
    "Shows the version of the agent and the Consul protocols that it announces.",
    flags=(FORMAT,),
    examples=(("gossip version", "Print the version."),),
    run=run,
)
