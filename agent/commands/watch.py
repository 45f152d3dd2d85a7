"""``gossip watch``: run a program whenever something changes, or show it once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time

from agent.client import ApiError
from agent.commands.base import HTTP_FLAGS, Command, CommandError
from agent.commands.http import ANSWER_TIMEOUT, WAIT, heading, passes
from agent.decode import Body
from agent.flags import Flag, UsageError, parse_bool
from agent.watches.plan import TYPES, PlanError, watch_plan
from agent.watches.progress import Progress
from gossip.errors import GossipError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Self

    from agent.client import Client
    from agent.commands.base import Context
    from agent.watches.plan import Plan
    from agent.watches.progress import News

__all__ = ["COMMAND"]

END_TIMEOUT = 5.0
"""Seconds for a handler to end when we are told to, before it is killed."""


def run(context: Context) -> int:
    """Watch until interrupted, until the handler fails, or without one until there is an answer."""
    plan = _plan(context)
    with heading("Error querying Consul agent"):
        changes = _changes(context, context.client(), plan)
        if not context.args:
            # In ASCII: what came from the network cannot steer a terminal.
            context.print(json.dumps(next(changes).value, indent=4))
            return 0
        args = _command_line(context)
        context.following = True
        with _Ending() as ending:
            for news in changes:
                _handle(args, news, ending)
    return 0


def _plan(context: Context) -> Plan:
    flags = context.flags
    values: dict[str, object] = {
        key: flags.text(key)
        for key in ("type", "datacenter", "name", "service", "state")
        if flags.text(key)
    }
    values |= {key: True for key in ("stale", "wan") if flags.on(key)}
    if tags := flags.list("tag"):
        values["tag"] = tags
    if text := flags.text("passingonly"):
        passing = parse_bool(text)
        if passing is None:
            raise UsageError([f'flag -passingonly: invalid boolean "{text}", use true or false'])
        values["passingonly"] = passing
    try:
        return watch_plan(Body(values))
    except PlanError as error:
        raise UsageError([str(error)]) from None


def _changes(context: Context, client: Client, plan: Plan) -> Iterator[News]:
    """What is new, for ever; the first request fails like any other, later ones are repeated.

    Raises:
        ApiError: the first request failed, or the agent refuses a later one.
    """
    progress = Progress(plan, wait=WAIT)
    first = True
    while True:
        started = time.monotonic()
        try:
            response = client.get(progress.target(), timeout=ANSWER_TIMEOUT)
            news = progress.answered(response.index, response.body, time.monotonic() - started)
        except (ApiError, GossipError) as error:
            if first or (isinstance(error, ApiError) and not passes(error)):
                raise error if isinstance(error, ApiError) else ApiError(str(error)) from None
            delay = progress.failed()
            context.note(f"{error}; trying again in {delay:g} seconds")
            time.sleep(delay)
            continue
        first = False
        if news is not None:
            yield news
        time.sleep(progress.pause)


def _command_line(context: Context) -> Sequence[str]:
    if not context.flags.values.get("shell", True):
        return context.args
    return [os.environ.get("SHELL") or "/bin/sh", "-c", " ".join(context.args)]


def _handle(args: Sequence[str], news: News, ending: _Ending) -> None:
    """Run the handler, whose output is ours.

    Raises:
        CommandError: it failed.
    """
    environment = os.environ | {"CONSUL_INDEX": str(news.index)}
    ending.held = True  # interrupted while it starts, it would be running and unknown to us
    try:
        process = subprocess.Popen(args, stdin=subprocess.PIPE, env=environment)
    except (OSError, ValueError) as error:
        raise CommandError(f"Error starting handler: {error}") from None
    try:
        ending.release()
        process.communicate(news.data)
    finally:
        _end(process)
    if process.returncode > 0:
        raise CommandError(f"Error executing handler: exit status {process.returncode}")
    if process.returncode < 0:
        raise CommandError(f"Error executing handler: signal {-process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a handler that still runs because we were told to end."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it did not read all of it
            process.stdin.close()


class _Ending:
    """Lets SIGTERM do what an interrupt does, so that no handler is left behind, and lets both wait.

    Attributes:
        held: they wait, until `release`.
    """

    def __init__(self) -> None:
        self.held = False
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def release(self) -> None:
        """Raise what waited, and whatever comes from now on.

        Raises:
            KeyboardInterrupt: there was a signal.
        """
        self.held = False
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True
        if not self.held:
            raise KeyboardInterrupt


COMMAND = Command(
    "watch",
    "-type=<type> [options] [handler…]",
    "Runs the handler whenever the answer changes, with the answer as JSON on its stdin and the index in "
    "CONSUL_INDEX. Runs never overlap: what happens meanwhile is told together. A handler that fails ends "
    "the watch with exit code 1. Without a handler the answer is printed once.\n\n"
    "A watch of events tells the events that its agent has first, maybe none, and then new ones only, each "
    "of them once. The catalog and health of services are known where a datacenter has a leader.\n\n"
    "The handler is read by a shell, $SHELL or /bin/sh, its words joined by spaces; with -shell=false it is "
    "run as it is. Everything behind its first word belongs to it.",
    flags=(
        Flag("type", f"What to watch: {', '.join(TYPES)}.", value="type"),
        Flag("name", "Only events of this name.", value="name"),
        Flag("service", "The service; with the type checks, only its checks.", value="name"),
        Flag("tag", "Only instances with this tag; with the type service.", value="tag", many=True),
        Flag(
            "passingonly",
            "Only instances whose checks all pass: true or false; with the type service.",
            value="truth",
        ),
        Flag("state", "Only checks in this state; with the type checks.", value="state"),
        Flag("wan", "The WAN pool; with the type members."),
        Flag("datacenter", "Ask about this datacenter.", value="name", aliases=("dc",)),
        Flag("stale", "Let any server answer, not only the leader."),
        Flag("shell", "Have a shell read the handler (default true)."),
        *HTTP_FLAGS,
    ),
    examples=(
        (
            "gossip watch -type=event -name=deploy 'jq -r .[].Payload | base64 -d'",
            "React to events.",
        ),
        (
            "gossip watch -type=service -service=web -passingonly=true ./balance",
            "Run a program when the healthy instances of a service change.",
        ),
        ("gossip watch -type=members -shell=false ./rewrite 'two words'", "Without a shell."),
        ("gossip watch -type=nodes", "Show the nodes once."),
    ),
    run=run,
    flags_first=True,
)
