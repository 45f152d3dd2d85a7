"""``planted``: do the checkers see what is wrong on purpose?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.commands.terminal import Progress, json_option, positive, say, say_json
from simulations.planted import MAX_SEEDS, PLANTED, hunt

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = commands.add_parser(
        "planted", parents=[json_option()], help="find bugs made on purpose"
    )
    command.add_argument("--seeds", type=positive, default=MAX_SEEDS, help="tried per bug (200)")
    command.set_defaults(do=planted)


def planted(options: argparse.Namespace) -> int:
    """Look for every planted bug."""
    missed = []
    found = []
    progress = Progress(len(PLANTED), "bugs")
    for bug in PLANTED:
        seeds, violation = hunt(bug, seeds=options.seeds)
        found.append({"bug": bug.name, "seeds": seeds, "violation": violation.splitlines()[:1]})
        if not seeds:
            missed.append(bug.name)
        progress.advance(len(found), len(missed))
        if not options.json:
            what = (
                f"after {seeds} seeds  {violation.splitlines()[0][:80]}" if seeds else "OVERLOOKED"
            )
            say(f"{bug.name:48} {what}")
    if options.json:
        say_json({"planted": found, "overlooked": missed})
    return 1 if missed else 0
