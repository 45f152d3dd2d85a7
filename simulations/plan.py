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
the processes that run (``dead:N`` among those that do not). The nodes of the start are node-000, node-001
and so on; whoever else is to be named has to ``join`` in some step. `ACTIONS` lists what can be done, and
with which fields. Faults with ``seconds`` end after that time, others at ``heal`` or at the end.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossip.config import Config
from gossip.errors import ConfigError, GossipError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

__all__ = ["ACTIONS", "Plan", "PlanError", "Step", "select"]

MAX_NODES = 100_000
MAX_SECONDS = 30 * 24 * 3600.0
_PLANS: Final = Path(__file__).with_name("plans")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_COUNTED: Final = frozenset({"first", "last", "random", "dead"})


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

    def names(self) -> list[str]:
        """The names in `nodes`, of a step that takes no other selector, such as ``join``."""
        return [name.strip() for name in self.nodes.split(",")]


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
"""What can be done. `simulations.faults` says what each does; the twin of real processes the same.

``join`` starts a node that is new or does not run, without memory; one that runs joins the peers in ``to``."""

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
        config = _checked_config(self.settings)
        for number, step in enumerate(self.steps):
            where = f"steps[{number}]"
            _check(step, where, self.seconds)
            if step.do == "rotate_key" and not self.encrypted:
                raise PlanError(f"{where}: rotate_key needs encrypted = true")
            size = len(step.name.encode()) + len(step.payload.encode())
            if step.do == "fire" and size > config.user_event_size_limit:
                most = config.user_event_size_limit
                raise PlanError(f"{where}: name and payload have {size} bytes, the limit is {most}")
        self._check_names()

    def _check_names(self) -> None:
        """A name that nobody has would be a step that does nothing."""
        joining = {name for step in self.steps if step.do == "join" for name in step.names()}
        known = joining.union(self.names)
        for number, step in enumerate(self.steps):
            for key, selector in (("nodes", step.nodes), ("to", step.to)):
                if unknown := [name for name in _names(selector) if name not in known]:
                    raise PlanError(
                        f"steps[{number}].{key} {unknown[0]!r} is no node: there are {self.names[0]} to "
                        f"{self.names[-1]}, and those of join"
                    )

    @property
    def names(self) -> list[str]:
        """Of the nodes at the start."""
        return [f"node-{number:03}" for number in range(self.nodes)]

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
        except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
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
        if not table:
            raise PlanError("the plan is empty")
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
    for tag, value in table.get("tags", {}).items():
        _expect(value, str, f"{where}.tags.{tag}")
    return Step(**table)


def _checked_config(settings: Mapping[str, Any]) -> Config:
    """What the nodes of a plan are configured with; raises PlanError naming what they cannot be."""
    defaults = {f.name: f.default for f in fields(Config) if f.name not in {"name", "keys"}}
    for key, value in settings.items():
        if key not in defaults:
            raise PlanError(f"settings.{key} is unknown; a setting is a field of gossip.Config")
        if isinstance(default := defaults[key], bool | int | float):
            _expect(
                value, (int, float) if type(default) is float else type(default), f"settings.{key}"
            )
    try:
        return Config.lan("node", **settings)
    except (ConfigError, TypeError, AttributeError) as error:
        raise PlanError(f"settings: {error}") from None


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
    for key, least, most in (
        ("at", 0, seconds), ("seconds", 0, MAX_SECONDS), ("rate", 0, 1.0), ("delay", 0, 3600.0),
        ("jitter", 0, 3600.0), ("count", 1, 100_000),
    ):  # fmt: skip
        value = getattr(step, key)
        if not isfinite(value) or not least <= value <= most:
            raise PlanError(f"{where}.{key} {value} is not between {least} and {most:g}")
    for key in ("nodes", "to"):
        _check_selector(getattr(step, key), f"{where}.{key}")
    if step.do == "join" and _names(step.nodes) != step.names():
        raise PlanError(f"{where}.nodes {step.nodes!r}: join takes names")


def _names(selector: str) -> list[str]:
    """The names in a selector; none where it is of another kind."""
    if not selector or selector == "all" or selector.partition(":")[0] in _COUNTED:
        return []
    return [name.strip() for name in selector.split(",")]


def _check_selector(selector: str, where: str) -> None:
    kind, colon, count = selector.partition(":")
    if kind in _COUNTED and not colon:  # one of them
        return
    if colon:
        good = kind in _COUNTED and count.isdecimal() and int(count) > 0
    else:
        good = all(_NAME.fullmatch(name) for name in _names(selector))
    if not good:
        raise PlanError(
            f"{where} {selector!r} is no selector: names, all, first:N, last:N, random:N or dead:N"
        )
