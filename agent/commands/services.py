"""``gossip services``: register and deregister services of the agent, from flags or files."""

from __future__ import annotations

import json

from agent.client import segment
from agent.commands.base import HTTP_FLAGS, Command, CommandError, printable
from agent.commands.http import heading
from agent.flags import Flag, UsageError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.commands.base import Context

__all__ = ["COMMAND"]

_MAX_FILE = 4 * 1024 * 1024  # bytes; as much as the agent takes of its own files
_DESCRIBING = ("name", "address", "port", "tag", "meta", "tagged-address")


def run(context: Context) -> int:
    """Do to every named service what is asked for, one after the other."""
    action, *files = context.args or [""]
    if action == "register":
        services = _given(context, files)
        done, doing = "Registered", "registering"
    elif action == "deregister":
        services = _named(context, files)
        done, doing = "Deregistered", "deregistering"
    else:
        raise UsageError(["expects register or deregister"])
    client = context.client()
    finished = []
    for service in services:
        name = str(service.get("name") or service["id"])
        service_id = str(service.get("id") or name)
        with heading(f'Error {doing} service "{printable(name)}"'):
            if action == "register":
                body = json.dumps(service).encode()
                client.put("/v1/agent/service/register", body=body)
            else:
                client.put(f"/v1/agent/service/deregister/{segment(service_id)}")
        finished.append(service_id)
        if not context.json:
            shown = name if action == "register" else service_id
            context.print(f"{done} service: {printable(shown)}")
    if context.json:
        context.print_json({done: finished})
    return 0


def _given(context: Context, files: list[str]) -> list[dict[str, Any]]:
    """The services to register."""
    flags = context.flags
    described = any(flags.values.get(key) for key in _DESCRIBING)
    if files:
        if described or flags.text("id"):
            raise CommandError("Service registration requires arguments or -id, not both.")
        return _from_files(files)
    if not flags.text("name"):
        raise CommandError("Service registration requires at least one argument or flags.")
    tagged = {tag: _tagged(text) for tag, text in _pairs(context, "tagged-address").items()}
    return [
        {
            "id": flags.text("id"),
            "name": flags.text("name"),
            "address": flags.text("address"),
            "port": flags.values.get("port", 0),
            "tags": flags.list("tag"),
            "meta": _pairs(context, "meta"),
            **({"tagged_addresses": tagged} if tagged else {}),
        }
    ]


def _pairs(context: Context, flag: str) -> dict[str, str]:
    """The values of a flag that is given as key=value, any number of times."""
    pairs = [pair.partition("=") for pair in context.flags.list(flag)]
    if any(not key or not equals for key, equals, _ in pairs):
        raise UsageError([f"flag -{flag}: expects key=value"])
    return {key: value for key, _, value in pairs}


def _tagged(text: str) -> dict[str, object]:
    """An address and a port; IPv6 is in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise UsageError(["flag -tagged-address: expects key=address:port"])
    return {"address": host.strip("[]"), "port": int(port)}


def _named(context: Context, files: list[str]) -> list[dict[str, Any]]:
    """The services to deregister."""
    service_id = context.flags.text("id")
    if bool(files) == bool(service_id):
        text = "arguments or -id, not both." if files else "at least one argument or -id."
        raise CommandError(f"Service deregistration requires {text}")
    return _from_files(files) if files else [{"id": service_id}]


def _from_files(paths: list[str]) -> list[dict[str, Any]]:
    return [service for path in paths for service in _from_file(path)]


def _from_file(path: str) -> list[dict[str, Any]]:
    """The services that a file defines as a configuration does, their keys in lower case."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 3 ms
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise CommandError(f"{path} exceeds the limit of {_MAX_FILE} bytes")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise CommandError(f"{path} is not JSON") from None
    if not isinstance(document, dict) or not document or document.keys() - {"service", "services"}:
        raise CommandError(f"{path} has other keys than service and services, or none")
    single, many = document.get("service"), document.get("services", [])
    found = [*([] if single is None else [single]), *(many if isinstance(many, list) else [many])]
    if not all(isinstance(service, dict) for service in found):
        raise CommandError(f"{path}: a service is not an object")
    services = [{key.lower(): value for key, value in service.items()} for service in found]
    if not all(service.get("name") or service.get("id") for service in services):
        raise CommandError(f"{path}: a service has no name")
    return services


COMMAND = Command(
    "services",
    "register|deregister [options] [file...]",
    "Registers services with the agent, or deregisters them with their checks. What they are stands in "
    "flags, or in JSON files with the keys service or services as a configuration has them. The agent "
    "keeps them across restarts.",
    flags=(
        Flag("id", "ID of the service (default: its name).", value="id"),
        Flag("name", "Name of the service to register.", value="name"),
        Flag("address", "Its address (default: that of the node).", value="address"),
        Flag("port", "Its port.", value="port", integer=True),
        Flag("tag", "A tag of it.", value="tag", many=True),
        Flag("meta", "Metadata of it.", value="key=value", many=True),
        Flag(
            "tagged-address",
            "A further address of it, by purpose.",
            value="key=address:port",
            many=True,
        ),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip services register -name=web -port=80 -tag=v1", "One instance of web."),
        ("gossip services register web.json", "Those of a file, with their checks."),
        ("gossip services deregister -id=web", "It is gone, and so are its checks."),
    ),
    run=run,
)
