"""``gossip maint``: take the node or one of its services out of service, or bring it back."""

from __future__ import annotations

from agent.client import ApiError, segment
from agent.commands.base import HTTP_FLAGS, Command, CommandError, no_args, printable
from agent.commands.http import heading
from agent.flags import Flag

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.commands.base import Context

__all__ = ["COMMAND"]

NODE = "_node_maintenance"
SERVICE = "_service_maintenance:"


def run(context: Context) -> int:
    """Begin or end it; without either, show what is out of service."""
    no_args(context)
    flags = context.flags
    enable, service = flags.on("enable"), flags.text("service")
    if enable and flags.on("disable"):
        raise CommandError("Only one of -enable or -disable may be provided")
    if not enable and flags.text("reason"):
        raise CommandError("Reason may only be provided with -enable")
    if not enable and not flags.on("disable"):
        if service:
            raise CommandError("Service requires either -enable or -disable")
        return _show(context)
    what = "service" if service else "node"
    path = (
        f"/v1/agent/service/maintenance/{segment(service)}" if service else "/v1/agent/maintenance"
    )
    query: dict[str, object] = {"enable": "true" if enable else "false"}
    if enable:
        query["reason"] = flags.text("reason")
    with heading(f"Error {'enabling' if enable else 'disabling'} {what} maintenance"):
        context.client().put(path, query)
    if context.json:
        context.print_json({"Service": service, "Maintenance": enable})
        return 0
    state = "enabled" if enable else "disabled"
    of = f' for "{printable(service)}"' if service else ""
    context.print(f"{what.capitalize()} maintenance is now {state}{of}")
    return 0


def _show(context: Context) -> int:
    with heading("Error querying maintenance"):
        response = context.client().get("/v1/agent/checks")
        checks = response.json()
        if not isinstance(checks, dict) or not all(isinstance(c, dict) for c in checks.values()):
            raise ApiError(f"the answer of {response.address} is no list of checks")
    node = checks.get(NODE)
    services = [check for key, check in sorted(checks.items()) if key.startswith(SERVICE)]
    if context.json:
        context.print_json(
            {
                "Node": None if node is None else node.get("Notes"),
                "Services": {str(one.get("ServiceID")): one.get("Notes") for one in services},
            }
        )
        return 0
    if node is not None:
        _print_block(context, "Node", "Name:  ", node.get("Node"), node)
    for one in services:
        _print_block(context, "Service", "ID:    ", one.get("ServiceID"), one)
    return 0


def _print_block(
    context: Context, title: str, key: str, name: object, check: dict[str, Any]
) -> None:
    reason = printable(str(check.get("Notes", "")))
    context.print(f"{title}:\n  {key} {printable(str(name))}\n  Reason: {reason}\n")


COMMAND = Command(
    "maint",
    "[options]",
    "Takes the node of the agent, or one of its services, out of service by a critical check, which stays "
    "across restarts until it is ended. Without -enable and -disable it shows what is out of service.",
    flags=(
        Flag("enable", "Begin maintenance."),
        Flag("disable", "End it."),
        Flag("reason", "Why, for whoever looks at the check.", value="text"),
        Flag("service", "ID of a service (default: the whole node).", value="id"),
        *HTTP_FLAGS,
    ),
    examples=(
        ('gossip maint -enable -reason="new disk"', "Nobody is sent to this node."),
        ("gossip maint -disable", "It is back."),
        ("gossip maint -enable -service=web1", "One instance of a service."),
        ("gossip maint", "What is out of service, and why."),
    ),
    run=run,
)
