"""``planted``: do the checkers see what is wrong on purpose?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulations.commands.terminal import (
    Progress,
    add_command,
    json_option,
    positive,
    say,
    say_json,
)
from simulations.planted import MAX_SEEDS, PLANTED, hunt

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "planted", "find bugs made on purpose",
        "Put a bug into the core, see that the checker of the invariant that it breaks finds it; and the next.",
        """examples:
  python -m simulations planted                              some seconds: every bug, and what was said

exit status: 1 when a bug was overlooked.
""",
        parents=[json_option()],
    )  # fmt: skip
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
