"""``model``: what to expect of pools up to a million members, and whether the model is to be believed."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossip.config import Config
from simulations.commands.terminal import (
    Steps,
    add_command,
    between,
    json_option,
    positive,
    say,
    say_json,
    writable,
)
from simulations.document import Document
from simulations.plots import available

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from simulations.commands.terminal import Subparsers
    from simulations.model.agreement import Agreement
    from simulations.model.spread import Pool
    from simulations.scenario import Lines

__all__ = ["add_to"]

VALIDATED = (100, 300, 1000)
"""Sizes at which the exact simulator is asked as well."""
LEAST_SEEDS = 8
"""Of a comparison: with fewer nothing could be told apart."""
NEEDS_NUMPY = "python -m simulations model: needs NumPy: pip install 'gossip-agent[sim]'\n"


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "model", "what to expect of a million members",
        "Compute how news spreads and how deaths are detected in pools too large to simulate node by node.",
        """examples:
  python -m simulations model --members 1000000 --loss 0.01
  python -m simulations model --members 50000 --latency 20 --seeds 5 --out reports/model
  python -m simulations model --validate                     beside the exact simulator: minutes

exit status: 1 when --validate finds them too far apart.
""",
        parents=[json_option()],
    )  # fmt: skip
    command.add_argument(
        "--members", type=between(8, 10_000_000, int), default=100_000, help="how many (100000)"
    )
    command.add_argument(
        "--loss", type=between(0, 0.5), default=0.0, help="share of packets lost (0)"
    )
    command.add_argument(
        "--latency", type=between(0.01, 200), default=0.5, help="one way, milliseconds (0.5)"
    )
    command.add_argument("--seeds", type=positive, default=1, help="runs that are averaged (1)")
    command.add_argument("--seed", type=int, default=1, help="the first (1)")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.md, report.json and plots"
    )
    command.add_argument(
        "--validate", action="store_true",
        help=f"compare with the exact simulator instead, at {', '.join(map(str, VALIDATED))} members",
    )  # fmt: skip
    command.set_defaults(do=model)


def model(options: argparse.Namespace) -> int:
    """Model a pool, or compare the model with the simulator."""
    try:
        from simulations.model.spread import Pool  # noqa: PLC0415 - NumPy is an extra
    except ModuleNotFoundError:
        sys.stderr.write(NEEDS_NUMPY)
        return 2
    try:
        pool = Pool(
            members=options.members,
            config=Config.lan("member"),
            latency=options.latency / 1000,
            loss=options.loss,
        )
    except ValueError as error:
        sys.stderr.write(f"python -m simulations model: {error}\n")
        return 2
    if options.out is not None and not writable(options.out):
        return 2
    return _validate(pool, options) if options.validate else _plan(pool, options)


def _plan(pool: Pool, options: argparse.Namespace) -> int:
    from simulations.model.planning import plan, plots  # noqa: PLC0415 - NumPy is an extra

    seeds = range(options.seed, options.seed + options.seeds)
    started = time.monotonic()
    figures = plan(pool, seeds, tell=Steps().tell)
    data = {
        "members": pool.members, "latency_seconds": pool.latency, "loss": pool.loss,
        "seeds": list(seeds), "figures": figures, "took_seconds": time.monotonic() - started,
    }  # fmt: skip
    drawn = plots(pool, figures)
    _finish("What to expect of a pool", list(_table(pool, figures)), drawn, data, options)
    return 0


def _table(pool: Pool, figures: dict[str, dict[str, float]]) -> Iterable[str]:
    yield f"{pool.members:,} members, {pool.latency * 1000:g} ms, loss {pool.loss:.1%}"
    yield ""
    ways = list(figures)
    yield f"| {'news leaves':46} | {' | '.join(f'{way:>21}' for way in ways)} |"
    yield f"| {'-' * 46} | {' | '.join('-' * 20 + ':' for _ in ways)} |"
    for name in figures[ways[0]]:
        yield f"| {name:46} | {' | '.join(f'{figures[way][name]:21,.4g}' for way in ways)} |"


def _validate(pool: Pool, options: argparse.Namespace) -> int:
    from simulations.model.agreement import (  # noqa: PLC0415 - NumPy is an extra
        compare_detection,
        compare_spread,
    )

    seeds = max(options.seeds, LEAST_SEEDS)
    tell = Steps().tell
    rows: list[Agreement] = []
    for members in VALIDATED:
        ours = replace(pool, members=members)
        ticks = replace(ours, config=ours.config.replace(eager=False))
        rows += compare_spread("event at once", ours, seeds, tell=tell)
        rows += compare_spread("event at ticks", ticks, seeds, tell=tell)
        rows += compare_detection("death", ours, seeds, tell=tell)
    data = {
        "latency_seconds": pool.latency, "loss": pool.loss, "seeds": seeds,
        "rows": [asdict(row) | {"holds": row.holds} for row in rows],
    }  # fmt: skip
    lines = list(_agreements(rows, seeds))
    _finish("The model beside the exact simulator", lines, [], data, options)
    return 0 if all(row.holds for row in rows) else 1


def _agreements(rows: Iterable[Agreement], seeds: int) -> Iterable[str]:
    yield f"seconds, medians over {seeds} seeds of the simulator, deviation in brackets"
    yield ""
    yield "| experiment     | members | share |  simulated (deviation) |    modelled (deviation) | apart |"
    yield "| -------------- | ------: | ----: | ---------------------: | ----------------------: | ----: |"
    for row in rows:
        apart = f"{row.model / row.exact - 1:+.0%}" + ("" if row.holds else " TOO FAR")
        yield (
            f"| {row.what:14} | {row.members:7,} | {row.share:5.0%} | "
            f"{row.exact:10.5f} ({row.exact_deviation:9.5f}) | "
            f"{row.model:11.5f} ({row.model_deviation:9.5f}) | {apart:>5} |"
        )


def _finish(
    title: str,
    lines: list[str],
    plots: Sequence[Lines],
    data: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print the result, and write it where that was asked for."""
    if options.out is not None:
        files = [(f"{plot.name}.png", plot) for plot in plots]
        images = [f"\n![{plot.title}]({file})" for file, plot in files if available()]
        Document([f"# {title}", "", *lines, *images], files, data).save(options.out)
    if options.json:
        say_json(data)
    else:
        for line in lines:
            say(line)
