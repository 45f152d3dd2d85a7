"""The command ``gossip``: finds the command, runs it, and turns every outcome into an exit code.

Modules of commands are imported only when they are used: the commands that ask a running agent have
to answer fast and load neither asyncio nor the gossip layer.

Exit codes: 0 success, 1 any error, 2 nothing matched (``members``), 127 no such command, 130
interrupted. A command that follows changes and is interrupted has done its work: 0.
"""

from __future__ import annotations

import os
import sys

from agent.commands.base import FORMAT, CommandError, Context, check_flags, wants_json, write_error
from agent.flags import UsageError, parse_flags, suggest
from agent.loading import load

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.base import Command

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "agent": "Run an agent",
    "decode": "Show what a packet or stream of the gossip protocol says",
    "event": "Fire a user event",
    "events": "List the recent user events, or follow them",
    "force-leave": "Put a failed member into the left state",
    "info": "Show counters of the agent",
    "join": "Make the agent join other members",
    "keygen": "Make a gossip key",
    "keyring": "List, change or rotate the gossip keys of the whole cluster",
    "leave": "Make the agent leave its cluster and stop",
    "maint": "Take the node or a service out of service, or bring it back",
    "members": "List the members of the cluster, or follow their changes",
    "monitor": "Follow the log of the agent",
    "query": "Ask the members with a Serf query",
    "reachability": "Test whether every live member answers",
    "reload": "Make the agent read its configuration again",
    "rtt": "Estimate the round trip time between two nodes",
    "services": "Register services with the agent, or deregister them",
    "version": "Show the version",
    "watch": "Run a program whenever something changes",
}

_HELP = frozenset({"-h", "-help", "--help", "--h", "help"})
_VERSION = frozenset({"-v", "-version", "--version", "--v"})
NO_COMMAND = 127
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gossip`` with these arguments (default: the process's own) and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()  # whoever read it has seen enough
        return 0
    except OSError as error:  # the commands tell of their own: it is the output, as on a full disk
        _drop_output()
        sys.stderr.write(f"cannot write the output: {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _drop_output() -> None:
    """What is left in the buffer must not fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(args: list[str]) -> int:
    if not args:
        sys.stderr.write(_usage())
        return NO_COMMAND
    name, rest = args[0], args[1:]
    if name in _HELP:
        if rest and rest[0] in COMMANDS:
            return _run_command(rest[0], ["-help"])
        sys.stdout.write(_usage())
        return 0
    if name in _VERSION:
        return _run_command("version", rest)
    if name.startswith("-"):
        return _run_command("agent", args)
    if name not in COMMANDS:
        near = suggest(name, COMMANDS) or "; `gossip -help` lists them"
        message = f"there is no command {name}{near}"
        write_error(message, as_json=wants_json(parse_flags((FORMAT,), rest)))
        return NO_COMMAND
    return _run_command(name, rest)


def _run_command(name: str, argv: list[str]) -> int:
    module = load(f"agent.commands.{name.replace('-', '_')}")
    command: Command = module.COMMAND
    flags = parse_flags(command.flags, argv, flags_first=command.flags_first)
    if flags.on("help"):
        sys.stdout.write(command.help())
        return 0
    context = Context(flags, argv)
    try:
        if not command.parses:
            check_flags(flags)
        return command.run(context)
    except UsageError as error:
        hint = f"see gossip {name} -help"
        text = "\n".join(error.errors)
        if context.json:
            write_error(text, as_json=True, details={"Errors": error.errors})
        else:
            write_error(f"{text}\n{hint}", as_json=False)
        return 1
    except CommandError as error:
        write_error(str(error), as_json=context.json, details=error.details)
        return error.code
    except KeyboardInterrupt:
        return 0 if context.following else INTERRUPTED


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items())
    return (
        "Usage: gossip <command> [options]\n\n"
        f"{lines}\n\n"
        "`gossip <command> -help` shows the options of a command, with examples.\n"
        "Options without a command are those of `gossip agent`: `gossip -dev` starts an agent.\n"
    )
