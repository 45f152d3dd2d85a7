"""``gossip keyring``: list, change or rotate the gossip keys of the whole cluster."""

from __future__ import annotations

import json
import sys

from agent.commands.base import HTTP_FLAGS, Command, CommandError, printable
from agent.commands.http import heading
from agent.flags import Flag, UsageError
from agent.loading import load

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.client import Client
    from agent.commands.base import Context

__all__ = ["COMMAND", "ask", "key_argument", "pool_name", "relay_query"]

PATH = "/v1/operator/keyring"
_CHANGES = {
    "install": ("POST", "Installing new gossip encryption key..."),
    "use": ("PUT", "Changing primary gossip encryption key..."),
    "remove": ("DELETE", "Removing gossip encryption key..."),
}


def run(context: Context) -> int:
    """Carry out the one operation that was asked for."""
    flags = context.flags
    chosen = [name for name in ("list", "rotate") if flags.on(name)]
    chosen += [name for name in _CHANGES if flags.text(name)]
    if len(chosen) != 1:
        raise UsageError(
            ["exactly one of -list, -install, -use, -remove and -rotate has to be given"]
        )
    (operation,) = chosen
    if len(context.args) > (operation == "rotate"):
        raise UsageError([f"unexpected arguments: {' '.join(context.args)}"])
    if flags.on("local-only") and operation != "list":
        raise UsageError(["flag -local-only: only -list can be local"])
    query = relay_query(context)
    if operation == "list":
        return _list(context, query)
    if operation == "rotate":
        return int(load("agent.commands.rotation").rotate(context, query))
    return _change(context, operation, query)


def _list(context: Context, query: dict[str, object]) -> int:
    if context.flags.on("local-only"):
        query["local-only"] = "true"
    with heading("error"):
        pools = context.client().request("GET", PATH, query).objects()
    if context.json:
        context.print_json(pools)
        return 0
    context.print("==> Gathering installed encryption keys...")
    for pool in pools:
        context.print("")
        context.print(f"{printable(pool_name(pool))}:")
        for node, text in (pool.get("Messages") or {}).items():
            context.print(printable(f"  ===> {node}: {text}"))
        for key, count in (pool.get("Keys") or {}).items():
            context.print(printable(f"  {key} [{count}/{pool.get('NumNodes')}]"))
    return 0


def _change(context: Context, operation: str, query: dict[str, object]) -> int:
    _, text = _CHANGES[operation]
    key = key_argument(context.flags.text(operation))
    client = context.client()
    if not context.json:
        context.print(f"==> {text}")
    with heading("error"):
        ask(client, operation, key, query)
    if context.json:
        context.print_json({"Operation": operation, "OK": True})
    return 0


def ask(client: Client, operation: str, key: str, query: dict[str, object]) -> None:
    """Have every member change its keys.

    Raises:
        ApiError: a member refused or did not answer.
    """
    client.request(_CHANGES[operation][0], PATH, query, body=json.dumps({"Key": key}).encode())


def key_argument(text: str) -> str:
    """The key that was given, ``-`` for the first line of stdin, which no process list shows.

    Raises:
        CommandError: stdin has none.
    """
    if text != "-":
        return text
    key = sys.stdin.readline(1024).strip()
    if not key:
        raise CommandError("no key on stdin")
    return key


def relay_query(context: Context) -> dict[str, object]:
    """The part of a query string that ``-relay-factor`` gives.

    Raises:
        UsageError: it is not a number from 0 to 5.
    """
    text = context.flags.text("relay-factor")
    if not text:
        return {}
    if text not in {"0", "1", "2", "3", "4", "5"}:
        raise UsageError([f'flag -relay-factor: "{text}" is not a whole number from 0 to 5'])
    return {"relay-factor": text}


def pool_name(pool: dict[str, Any]) -> str:
    """What Consul calls a pool."""
    if pool.get("WAN"):
        return "WAN"
    segment = f" [{pool['Segment']}]" if pool.get("Segment") else ""
    return f"{pool.get('Datacenter')} (LAN){segment}"


COMMAND = Command(
    "keyring",
    "[options] [key]",
    "Lists or changes the gossip keys of every member of every datacenter and of the WAN pool, by way "
    "of a server. Only one key is used to encrypt, all that are installed decrypt. -list shows the keys "
    "themselves. A datacenter that cannot be reached, or not sealed with a gossip key of the WAN pool, is "
    "an error, and the others have done it nevertheless.\n\n"
    "-rotate does the whole safe sequence: install a new key everywhere, use it everywhere, look "
    "whether everybody does, remove the old ones. It stops, with exit code 1, before a step that "
    "would lock a member out, and can be repeated. It shows fingerprints, never keys. The pools that it "
    "covers come first; members that failed in another datacenter are seen if its servers are of this "
    "agent, not if they are Consul's.\n\n"
    "A key may be given as -, which reads it from stdin: other users of the machine see the "
    "arguments of a command.",
    flags=(
        Flag("list", "List the keys, and how many members have each."),
        Flag("install", "Install a key everywhere.", value="key", secret=True),
        Flag("use", "Encrypt with a key, which must be installed.", value="key", secret=True),
        Flag("remove", "Remove a key, which must not be in use.", value="key", secret=True),
        Flag("rotate", "Move to the key given as argument, by default to a new one."),
        Flag(
            "relay-factor",
            "Have each answer come through so many other members too, 0 to 5.",
            value="number",
        ),
        Flag(
            "local-only",
            "With -list, show the LAN pool of the server's own datacenter alone.",
        ),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip keyring -list", "Show which keys there are."),
        ("gossip keyring -rotate", "Move to a new key."),
        ("gossip keygen | gossip keyring -install -", "Install a key that nobody sees."),
    ),
    run=run,
)
