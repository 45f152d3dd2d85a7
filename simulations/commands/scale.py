"""``scale``: how fast a large pool is simulated, and how much memory it takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simulations.commands.terminal import (
    add_command,
    between,
    json_option,
    say,
    say_json,
)
from simulations.plan import MAX_NODES
from simulations.scale import measure

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "scale", "speed and memory of a large pool",
        "Measure how fast a large pool is simulated on one core, and how much memory it takes.",
        """examples:
  python -m simulations scale                                1,000 nodes: seconds
  python -m simulations scale --nodes 10000                  an event, a kill and a leave among 10,000: minutes
""",
        parents=[json_option()],
    )  # fmt: skip
    command.add_argument(
        "--nodes", type=between(3, MAX_NODES, int), default=1000, help="how many (1000)"
    )
    command.add_argument(
        "--seconds", type=between(0.1, 86_400), default=10.0, help="idle virtual seconds (10)"
    )
    command.add_argument("--idle", action="store_true", help="leave out event, kill and leave")
    command.set_defaults(do=scale)


def scale(options: argparse.Namespace) -> int:
    """Measure a large pool."""

    def tell(step: str) -> None:
        sys.stderr.write(f"... {step}\n")

    figures = measure(options.nodes, seconds=options.seconds, idle_only=options.idle, tell=tell)
    if options.json:
        say_json(figures)
    else:
        for name, value in figures.items():
            say(
                f"{name:44} {value:>14,.2f}"
                if isinstance(value, float)
                else f"{name:44} {value:>14,}"
            )
    return 0
