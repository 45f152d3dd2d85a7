"""Fault plans: what happens to a cluster and when, for the simulator and for real processes alike.

A plan is a TOML or JSON file that reads like the experiment::

    name = "a rolling restart under loss"
    nodes = 10
    seconds = 120

    [[steps]]
    at = 5
    do = "loss"
    rate = 0.1
    seconds = 60

    [[steps]]
    at = 10
    do = "restart"
    nodes = "random:3"
    with_memory = true

``nodes`` selects: names separated by commas, ``all``, ``first:N``, ``last:N``, ``random:N``, each among
the processes that run (``dead:N`` among those that do not). `ACTIONS` lists what can be done, and with
which fields. Faults with ``seconds`` end after that time, others at ``heal`` or at the end.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

__all__ = ["ACTIONS", "Plan", "PlanError", "Step", "select"]

MAX_NODES = 100_000
MAX_SECONDS = 30 * 24 * 3600.0
_PLANS: Final = Path(__file__).with_name("plans")


class PlanError(GossipError):
    """A plan says something that cannot be done; the text names the place, the value and the limit."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that is done at one time; fields that its action does not use keep their defaults."""

    at: float
    """Seconds since the start."""
    do: str
    """One of `ACTIONS`."""
    nodes: str = ""
    """Whom it concerns."""
    to: str = ""
    """The other side of a one-way cut, the member of a force-leave, or the peers of a join."""
    seconds: float = 0.0
    """For how long; 0 until `heal`."""
    rate: float = 0.0
    """A probability."""
    delay: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds."""
    name: str = "event"
    """Of a user event."""
    payload: str = ""
    """Of a user event."""
    count: int = 1
    """How many user events, all at once."""
    tags: dict[str, str] = field(default_factory=dict)
    """New tags."""
    with_memory: bool = False
    """A restarted process finds its snapshot."""
    new_address: bool = False
    """A restarted process has another address."""
    machine: bool = False
    """The whole machine dies: nothing refuses connections."""
    prune: bool = False
    """A force-leave forgets the member at once."""
    udp_only: bool = False
    """A cut lets streams pass."""

    @property
    def lasting(self) -> float:
        """For how many seconds it goes on, as far as the plan says; 0 for what is done at once."""
        return self.seconds if self.do != "jump" else 0.0


ACTIONS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    # action: (fields it needs, fields it may have besides)
    "join": (("nodes",), ("to",)),
    "leave": (("nodes",), ()),
    "force_leave": (("nodes", "to"), ("prune",)),
    "kill": (("nodes",), ("machine",)),
    "restart": (("nodes",), ("with_memory", "new_address")),
    "pause": (("nodes", "seconds"), ()),
    "slow": (("nodes", "delay"), ("seconds",)),
    "jump": (("nodes", "seconds"), ()),
    "fire": (("nodes",), ("name", "payload", "count")),
    "tags": (("nodes", "tags"), ()),
    "ask": (("nodes",), ("name", "payload")),
    "disk_full": (("nodes",), ("seconds",)),
    "disk_damage": (("nodes",), ()),
    "loss": (("rate",), ("nodes", "seconds")),
    "duplicate": (("rate",), ("seconds",)),
    "reorder": (("rate",), ("delay", "seconds")),
    "delay": (("delay",), ("jitter", "seconds")),
    "cut": (("nodes", "to"), ("udp_only", "seconds")),
    "partition": (("nodes",), ("to", "seconds")),
    "heal": ((), ()),
    "rotate_key": ((), ()),
    "plaintext": (("nodes",), ("count",)),
    "poison": (("nodes",), ("rate", "seconds")),
}
"""What can be done. `simulations.faults` says what each does; the twin of real processes the same."""

_ALWAYS = ("at", "do")
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "at": (int, float), "do": str, "nodes": str, "to": str, "seconds": (int, float),
    "rate": (int, float), "delay": (int, float), "jitter": (int, float), "name": str,
    "payload": str, "count": int, "tags": dict, "with_memory": bool, "new_address": bool,
    "machine": bool, "prune": bool, "udp_only": bool,
}  # fmt: skip
_DEFAULTS: Final = {f.name: f.default for f in fields(Step)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An experiment: how many nodes, for how long, and what happens to them."""

    name: str = "plan"
    nodes: int = 5
    """Nodes at the start, joined: node-000, node-001 and so on."""
    seconds: float = 60.0
    """How long it takes."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of `gossip.Config`, for all nodes."""
    encrypted: bool = False
    """The pool has a key."""
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MAX_NODES:
            raise PlanError(f"nodes {self.nodes} is not between 1 and {MAX_NODES}")
        if not 0 < self.seconds <= MAX_SECONDS:
            raise PlanError(f"seconds {self.seconds} is not between 0 and {MAX_SECONDS:.0f}")
        for number, step in enumerate(self.steps):
            _check(step, f"steps[{number}]", self.seconds)

    def with_nodes(self, nodes: int) -> Plan:
        """The same experiment with so many nodes; raises PlanError for too many."""
        return replace(self, nodes=nodes)

    def with_steps(self, steps: Sequence[Step]) -> Plan:
        """The same experiment with other steps."""
        return replace(self, steps=tuple(steps))

    @classmethod
    def find(cls, text: str) -> Plan:
        """Read the plan of a file, or of one in ``simulations/plans`` by its name alone.

        Raises:
            PlanError: it cannot be read, or says something that cannot be done.
        """
        ours = _PLANS / f"{text}.toml"
        if Path(text).name == text and not Path(text).exists() and not ours.exists():
            known = ", ".join(sorted(path.stem for path in _PLANS.glob("*.toml")))
            raise PlanError(f"{text} is no file, and no plan of simulations/plans: {known}")
        return cls.load(ours if not Path(text).exists() and ours.exists() else Path(text))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan from a ``.toml`` or ``.json`` file.

        Raises:
            PlanError: it cannot be read, or says something that cannot be done.
        """
        try:
            text = path.read_text(encoding="utf-8")
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{path} cannot be read: {error}") from None
        except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
            raise PlanError(f"{path} is no {path.suffix[1:] or 'TOML'}: {error}") from None
        try:
            return cls.parse(data)
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, data: object) -> Plan:
        """Make a plan from what a file holds.

        Raises:
            PlanError: naming the field.
        """
        table = _table(data, "the plan")
        known = {f.name for f in fields(cls)}
        for key in table:
            if key not in known:
                raise PlanError(f"{key} is unknown; a plan has {', '.join(sorted(known))}")
        kinds: dict[str, type | tuple[type, ...]] = {
            "name": str, "nodes": int, "seconds": (int, float), "settings": dict,
            "encrypted": bool, "steps": list,
        }  # fmt: skip
        for key, value in table.items():
            _expect(value, kinds[key], key)
        steps = [_step(item, f"steps[{i}]") for i, item in enumerate(table.get("steps", []))]
        return cls(**(dict(table) | {"steps": tuple(steps)}))

    def to_dict(self) -> dict[str, Any]:
        """What `parse` makes this plan of; defaults are left out."""
        steps = [
            {k: v for k, v in asdict(step).items() if k in _ALWAYS or v != _default(k)}
            for step in self.steps
        ]
        plan = {
            "name": self.name, "nodes": self.nodes, "seconds": self.seconds,
            "settings": dict(self.settings), "encrypted": self.encrypted, "steps": steps,
        }  # fmt: skip
        return {k: v for k, v in plan.items() if v not in ({}, [], False)}

    def to_json(self) -> str:
        """As a JSON file."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def select(selector: str, running: Sequence[str], dead: Sequence[str], rng: Random) -> list[str]:
    """The names that a selector means now.

    Args:
        selector: see the module; a valid one.
        running: processes that run, in the order of their start.
        dead: those that do not.
        rng: draws for ``random:N`` and ``dead:N``.
    """
    kind, _, count = selector.partition(":")
    number = int(count) if count else 1
    match kind:
        case "all":
            return list(running)
        case "first":
            return list(running[:number])
        case "last":
            return list(running[-number:])
        case "random":
            return rng.sample(list(running), min(number, len(running)))
        case "dead":
            return rng.sample(list(dead), min(number, len(dead)))
        case _:
            names = [name.strip() for name in selector.split(",")]
            known = {*running, *dead}
            return [name for name in names if name in known]


def _default(key: str) -> object:
    return {} if key == "tags" else _DEFAULTS[key]


def _table(data: object, where: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise PlanError(f"{where} is {type(data).__name__}, not a table")
    return data


def _expect(value: object, kind: type | tuple[type, ...], where: str) -> None:
    wrong_bool = isinstance(value, bool) and kind is not bool
    if wrong_bool or not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else "number"
        raise PlanError(f"{where} {value!r} is {type(value).__name__}, not {wanted}")


def _step(data: object, where: str) -> Step:
    table = _table(data, where)
    for key in _ALWAYS:
        if key not in table:
            raise PlanError(f"{where} has no {key}")
    for key, value in table.items():
        if key not in _TYPES:
            raise PlanError(f"{where}.{key} is unknown; a step has {', '.join(_TYPES)}")
        _expect(value, _TYPES[key], f"{where}.{key}")
    return Step(**table)


def _check(step: Step, where: str, seconds: float) -> None:
    if step.do not in ACTIONS:
        raise PlanError(f"{where}.do {step.do!r} is none of {', '.join(ACTIONS)}")
    needed, allowed = ACTIONS[step.do]
    for f in fields(Step):
        given = getattr(step, f.name) != _default(f.name) if f.name not in _ALWAYS else True
        if f.name in needed and not given:
            raise PlanError(f"{where}: {step.do} needs {f.name}")
        if given and f.name not in (*_ALWAYS, *needed, *allowed):
            raise PlanError(f"{where}.{f.name} means nothing to {step.do}")
    for key, most in (("at", seconds), ("seconds", MAX_SECONDS), ("rate", 1.0),
                      ("delay", 3600.0), ("jitter", 3600.0), ("count", 100_000)):  # fmt: skip
        value = getattr(step, key)
        if not isfinite(value) or not 0 <= value <= most:
            raise PlanError(f"{where}.{key} {value} is not between 0 and {most:g}")
    for key in ("nodes", "to"):
        _check_selector(getattr(step, key), f"{where}.{key}")


def _check_selector(selector: str, where: str) -> None:
    kind, colon, count = selector.partition(":")
    if not colon:
        return
    if kind not in {"first", "last", "random", "dead"} or not count.isdecimal() or not int(count):
        raise PlanError(
            f"{where} {selector!r} is no selector: names, all, first:N, last:N, random:N or dead:N"
        )
