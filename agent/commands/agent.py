"""``gossip agent``: run an agent until it is told to stop."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from agent.commands.base import FORMAT, Command, CommandError, check_flags
from agent.config import AgentConfigError
from agent.config_parse import AGENT_FLAGS, parse
from agent.flags import UsageError, parse_flags
from agent.loading import load
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.commands.base import Context

__all__ = ["COMMAND"]


def run(context: Context) -> int:
    """Read the configuration and run the agent; its exit code is ours."""
    check_flags(parse_flags((FORMAT,), _format_flags(context)))
    # A hangup, which ends a process that does not expect it, waits until the agent takes it: who wrote
    # a file and asks for a reload meanwhile gets one, as the old file may have been read already.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        return _run(context.argv)
    except GossipError as error:
        raise CommandError(str(error)) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(argv: Sequence[str]) -> int:
    try:
        config = parse(argv)
    except AgentConfigError as error:
        raise UsageError(error.errors) from None
    # Only now: a mistake in the configuration is reported without loading the agent.
    runner = load("agent.run")
    return int(runner.run(config, reload=lambda: parse(argv)))


def _format_flags(context: Context) -> list[str]:
    form = context.flags.text("format")
    return [f"-format={form}"] if form else []


COMMAND = Command(
    "agent",
    "[options]",
    "Starts an agent and runs it until it is interrupted. An agent is one member of a cluster and "
    "serves its HTTP interface.\n\n"
    "Settings come from the files named with -config-file and -config-dir and from these flags, which "
    "override the files. A file is a JSON object with the keys of Consul's configuration; keys "
    "without a flag are described in the documentation. Every mistake is reported, and then the exit "
    "code is 1. -format=json gives these reports as JSON.",
    flags=AGENT_FLAGS,
    examples=(
        ("gossip agent -dev", "Try it out on this machine; `gossip -dev` is the same."),
        (
            "gossip agent -data-dir=/var/lib/gossip -retry-join=10.1.10.12",
            "Join a cluster, and go on trying while it is not there.",
        ),
        (
            "gossip agent -config-dir=/etc/gossip.d -log-level=debug",
            "Settings from files, one of them overridden.",
        ),
    ),
    run=run,
    parses=True,
)
