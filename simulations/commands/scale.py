"""``scale``: how fast a large pool is simulated, and how much memory it takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simulations.commands.terminal import between, json_option, positive, say, say_json
from simulations.scale import measure

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = commands.add_parser("scale", parents=[json_option()], help="speed and memory")
    command.add_argument("--nodes", type=positive, default=1000, help="how many (1000)")
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
