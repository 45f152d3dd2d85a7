"""``fuzz``: bytes that nobody should send, at every entry from the network and from the disk."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from simulations import entries
from simulations.commands.terminal import (
    Progress,
    add_command,
    jobs_option,
    json_option,
    positive,
    say,
    say_json,
)
from simulations.fuzz import Report, fuzz
from simulations.workers import in_processes

if TYPE_CHECKING:
    import argparse

    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "fuzz", "damaged bytes at every entry",
        "Give every entry from the network and from the disk bytes that nobody should send.",
        """examples:
  python -m simulations fuzz                                 50,000 inputs for each entry
  python -m simulations fuzz --entry snapshot --inputs 2000000

exit status: 1 when an input raised, took too long or made memory grow.
""",
        parents=[json_option(), jobs_option()],
    )  # fmt: skip
    command.add_argument("--inputs", type=positive, default=50_000, help="per entry (50000)")
    command.add_argument("--entry", choices=entries.NAMES, help="only this one")
    command.add_argument("--seed", type=int, default=1, help="all inputs follow from it (1)")
    command.set_defaults(do=fuzz_entries)


def fuzz_entry(name: str, inputs: int, seed: int) -> Report:
    """Fuzz one entry, in whatever process."""
    (target,) = (target for target in entries.targets() if target.name == name)
    return fuzz(target, inputs, seed)


def fuzz_entries(options: argparse.Namespace) -> int:
    """Fuzz every entry, or one."""
    chosen = [name for name in entries.NAMES if options.entry in {name, None}]
    work = partial(fuzz_entry, inputs=options.inputs, seed=options.seed)
    progress, found = Progress(len(chosen), "entries"), {}
    # What a process once used hides what the next entry needs, so each entry has one of its own.
    for name, report in in_processes(work, chosen, options.jobs or os.cpu_count() or 1, fresh=True):
        found[name] = report
        progress.advance(len(found), sum(bool(r.findings) for r in found.values()))
    reports = [found[name] for name in chosen]
    if options.json:
        say_json([report.to_dict() for report in reports])
    else:
        say_reports(reports)
    return 1 if any(report.findings for report in reports) else 0


def say_reports(reports: list[Report]) -> None:
    """A table, and what was found."""
    say(
        f"{'entry':10} {'inputs':>11} {'refused':>11} {'slowest ms':>11} {'grew by MiB':>12} findings"
    )
    for report in reports:
        say(
            f"{report.target:10} {report.inputs:11,} {report.refused:11,} "
            f"{report.slowest * 1000:11.1f} {report.growth / 2**20:12.1f} {len(report.findings):8}"
        )
        for finding in report.findings:
            say(f"  {finding}")
