"""``gossip force-leave``: put a failed member into the left state."""

from __future__ import annotations

from agent.client import segment
from agent.commands.base import HTTP_FLAGS, Command
from agent.commands.http import heading
from agent.flags import Flag, UsageError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Force one member to leave; a remark of the agent is passed on."""
    if len(context.args) != 1:
        raise UsageError(["a single node name must be specified to force leave"])
    name = context.args[0]
    query: dict[str, object] = {key: "1" for key in ("prune", "wan") if context.flags.on(key)}
    with heading("Error force leaving"):
        response = context.client().put(f"/v1/agent/force-leave/{segment(name)}", query)
    if remark := response.text.strip():
        context.note(remark)
    if context.json:
        context.print_json({"Node": name})
    return 0


COMMAND = Command(
    "force-leave",
    "[options] name",
    "Puts a failed member into the left state, so that the cluster stops trying to reach it. A "
    "member that is alive after all refutes this and stays.",
    flags=(
        Flag("prune", "Remove the member from the list altogether."),
        Flag("wan", "Act on the WAN pool, where names are node.datacenter."),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip force-leave web7", "The machine web7 will not come back."),
        ("gossip force-leave -wan db1.east", "The same of a server of another datacenter."),
        ("gossip force-leave -prune web7", "Forget it at once."),
    ),
    run=run,
)
