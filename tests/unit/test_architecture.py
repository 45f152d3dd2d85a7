"""The floors of the project, read from its imports (tigerbeetle: tidy.zig has the idea).

    5   agent.cli, agent.run, agent.http, agent.rpc, agent.commands, agent.forward.listener
    4   the rest of agent                            asyncio
    3   gossip itself: gossip.aio, gossip.streams …  asyncio, sockets; and simulations beside it
    2   gossip.serf, gossip.events                   pure
    1   gossip.swim                                  pure
    0   gossip.wire, arguments, config, errors       pure

A module imports its own floor and those below. A pure one has no clock, no network, no threads, no
operating system and no chance of its own.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {
    "gossip.arguments": 0,
    "gossip.errors": 0,
    "gossip.config": 0,
    "gossip.wire": 0,
    "gossip.swim": 1,
    "gossip.events": 2,
    "gossip.serf": 2,
    "gossip": 3,
    "simulations": 3,
    "agent": 4,
    "agent.__main__": 5,
    "agent.cli": 5,
    "agent.run": 5,
    "agent.commands": 5,
    "agent.http": 5,
    "agent.forward.listener": 5,
    "agent.rpc": 5,
}
IMPURE = {
    "asyncio", "asyncio_dgram", "concurrent", "multiprocessing", "os", "random", "secrets",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "uvloop",
}  # fmt: skip
ONLY_IN = {  # within gossip
    "msgpack": {"gossip.wire.codec"},
    "cryptography": {"gossip.wire.keyring"},
    "re2": {"gossip.serf.queries"},
    "asyncio_dgram": {"gossip.datagrams"},
}
LAZY = {"cryptography", "re2"}
"""Imported at first use only: most nodes do without, and starting up is faster."""


@dataclass(frozen=True)
class Import:
    """One import: by whom, of what, and whether it happens when the importer is imported."""

    importer: str
    imported: str
    at_module_level: bool
    for_types_only: bool


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and (
        getattr(node.test, "id", None) == "TYPE_CHECKING"
        or getattr(node.test, "attr", None) == "TYPE_CHECKING"
    )


def imports_of(module: str, source: str) -> list[Import]:
    """Every import of a module, wherever it stands."""
    found: list[Import] = []

    def visit(node: ast.AST, *, top: bool, types: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            checking = isinstance(node, ast.stmt) and is_type_checking(node)
            for child in ast.iter_child_nodes(node):
                visit(child, top=top and not inside, types=types or checking)
            return
        found.extend(Import(module, name, top, types) for name in names)

    visit(ast.parse(source), top=True, types=False)
    return found


MODULES = {
    module_of(path): path
    for folder in ("gossip", "agent", "simulations")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
IMPORTS = [
    found for module, path in MODULES.items() for found in imports_of(module, path.read_text())
]


def floor_of(module: str) -> int | None:
    """The floor of a module of ours, by the longest matching name; None for others'."""
    if module.partition(".")[0] not in {"gossip", "agent", "simulations"}:
        return None
    prefix = module
    while prefix not in FLOORS:
        prefix = prefix.rpartition(".")[0]
    return FLOORS[prefix]


def target_of(imported: str) -> str:
    """The module behind ``from module import name``."""
    return imported if imported in MODULES else imported.rpartition(".")[0] or imported


def breaches(imports: list[Import]) -> list[str]:
    """Every import that breaks a rule, with the rule."""
    wrong = []
    for item in imports:
        importer, root = item.importer, item.imported.partition(".")[0]
        own, other = floor_of(importer), floor_of(target_of(item.imported))
        assert own is not None
        if other is not None and other > own:
            wrong.append(f"{importer} (floor {own}) imports {item.imported} (floor {other})")
        if own < 3 and root in IMPURE and not item.for_types_only:
            wrong.append(f"{importer} is pure and imports {item.imported}")
        if not importer.startswith("gossip"):
            continue
        if importer not in ONLY_IN.get(root, {importer}):
            wrong.append(f"{importer} imports {root}, which belongs in {sorted(ONLY_IN[root])}")
        if root in LAZY and item.at_module_level and not item.for_types_only:
            wrong.append(f"{importer} imports {root} before it is needed")
        if root in {"simulations", "tests"}:
            wrong.append(f"{importer} imports {item.imported}, which is not part of the protocol")
    return wrong


def cycles(imports: list[Import]) -> list[list[str]]:
    """Modules that import one another when they are imported."""
    edges: dict[str, set[str]] = {}
    for item in imports:
        target = target_of(item.imported)
        counts = item.at_module_level and not item.for_types_only and target in MODULES
        if counts and target != item.importer:
            edges.setdefault(item.importer, set()).add(target)
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for target in sorted(edges.get(module, ())):
                walk(target, [*path, module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return found


WALL_CLOCK = {
    "time": {
        "asctime", "clock_gettime", "clock_gettime_ns", "ctime", "gmtime", "localtime", "strftime",
        "time", "time_ns",
    },
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
    "uuid": {"uuid1"},
}  # fmt: skip
"""What tells the time of day, by who has it; all else that tells time is monotonic."""
SHOWS_THE_TIME = {
    "agent.commands.members": {"strftime"},  # of a change that -watch prints
    # Until when the status of a TTL check holds, which goes on while no agent runs. Set back or forth,
    # the clock makes it hold one more TTL, or not at all, which is what happens without the file.
    "agent.local_files": {"time"},
    "agent.log_stream": {"gmtime", "localtime", "strftime", "time"},  # of a line of the log
    # Where the index of the members begins, so that it is higher than in the run before. Set back,
    # the clock makes it lower, which Consul's clients know as a sign to begin anew.
    "agent.pool": {"time"},
}


def wall_clock(source: str) -> set[str]:
    """Every function through which a module asks for the time of day."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            found |= {node.attr} & WALL_CLOCK.get(name, set())
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names} & WALL_CLOCK.get(node.module or "", set())
    return found


def test_r10_the_wall_clock_is_read_only_to_be_shown() -> None:
    found = {
        module: functions
        for module, path in MODULES.items()
        if not module.startswith("simulations") and (functions := wall_clock(path.read_text()))
    }

    assert found == SHOWS_THE_TIME


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\ndate.today()",
        "from time import time",
        "import uuid\nuuid.uuid1()",
        "import time\nf = time.time_ns",
    ],
)
def test_r10_a_look_at_the_wall_clock_is_found(source: str) -> None:
    assert wall_clock(source)


def test_r10_monotonic_clocks_are_not_the_wall_clock() -> None:
    assert not wall_clock("import time\ntime.monotonic(), time.perf_counter(), time.sleep(1)")


def test_no_module_breaks_a_rule() -> None:
    assert breaches(IMPORTS) == []


def test_no_modules_import_one_another() -> None:
    assert cycles(IMPORTS) == []


def test_every_pure_module_is_looked_at() -> None:
    pure = [module for module in MODULES if (floor_of(module) or 0) < 3]

    assert len(pure) > 30
    assert {"gossip.swim.membership", "gossip.serf.node", "gossip.wire.codec"} <= set(pure)


def test_r10_pure_modules_call_no_clock_or_chance_of_the_interpreter() -> None:
    """What needs no import: `id`-based order, hash-based order and `open` or `input`."""
    for module, path in MODULES.items():
        if (floor_of(module) or 0) < 3:
            calls = {
                node.func.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not calls & {
                "open",
                "input",
                "print",
                "hash",
                "id",
                "__import__",
                "exec",
                "eval",
            }


# The checker itself: each kind of breach is found


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("gossip.swim.timers", "import time", "gossip.swim.timers is pure and imports time"),
        ("gossip.serf.node", "from os import urandom", "is pure and imports os.urandom"),
        ("gossip.wire.packet", "def f():\n    import random", "is pure and imports random"),
        ("gossip.config", "from asyncio import sleep", "is pure and imports asyncio.sleep"),
        ("gossip.swim.probe", "from gossip.serf.node import Node", "(floor 1) imports gossip.serf"),
        ("gossip.wire.codec", "import gossip.swim.probe", "(floor 0) imports gossip.swim.probe"),
        ("gossip.serf.node", "from gossip.aio import Cluster", "(floor 2) imports gossip.aio"),
        ("gossip.aio", "from agent.config import AgentConfig", "(floor 3) imports agent.config"),
        ("gossip.aio", "from simulations.world import World", "not part of the protocol"),
        ("gossip.wire.serf", "import msgpack", "which belongs in ['gossip.wire.codec']"),
        ("gossip.serf.queries", "import re2", "imports re2 before it is needed"),
        ("gossip.wire.keyring", "from cryptography import x", "before it is needed"),
        (
            "gossip.swim.probe",
            "if TYPE_CHECKING:\n    from gossip.serf.node import Node",
            "(floor 1) imports gossip.serf.node.Node",
        ),
    ],
)
def test_the_checker_finds_each_kind_of_breach(module: str, source: str, breach: str) -> None:
    (found,) = breaches(imports_of(module, source))

    assert breach in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gossip.swim.timers", "if TYPE_CHECKING:\n    from random import Random"),
        ("gossip.serf.queries", "def f():\n    import re2"),
        ("gossip.serf.node", "from gossip.swim.probe import Prober"),
        ("gossip.aio", "import asyncio, socket, time"),
        ("agent.agent", "from gossip import Cluster"),
        ("simulations.peers.rpc", "import msgpack"),
    ],
)
def test_the_checker_lets_what_is_right_pass(module: str, source: str) -> None:
    assert breaches(imports_of(module, source)) == []


def test_the_checker_finds_cycles() -> None:
    there = imports_of("gossip.swim.timers", "from gossip.swim.clock import LocalClock")
    back = imports_of("gossip.swim.clock", "import gossip.swim.timers")
    lazily = imports_of("gossip.swim.clock", "def f():\n    import gossip.swim.timers")

    assert cycles(there + back) == [
        ["gossip.swim.clock", "gossip.swim.timers", "gossip.swim.clock"]
    ]
    assert cycles(there + lazily) == []


@pytest.mark.parametrize("package", ["gossip", "simulations"])
def test_the_types_of_what_programs_import_are_shipped(package: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = settings["tool"]["setuptools"]["package-data"][package]

    assert "py.typed" in shipped
    assert (ROOT / package / "py.typed").is_file()


def test_help_shows_every_public_name_although_none_is_loaded_yet() -> None:
    program = "import gossip, pydoc; print(pydoc.plain(pydoc.render_doc(gossip)))"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout

    for name in ("class Cluster", "class Config", "class LimitError", "class UserEvent"):
        assert f"    {name}(" in shown
