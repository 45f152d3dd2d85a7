"""The network between the machines of an experiment: what is cut or lost, and what the relay does.

Faults are named and speak of nodes; the kernel's rules speak of addresses and are made anew whenever a
fault or an address changes.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from simulations.cluster.machines import RELAY_DEVICE
from simulations.cluster.nftables import Among, Rule, replace_rules
from simulations.local.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from simulations.cluster.machines import Router

__all__ = ["Network", "among"]

_DEAD = "dead "


def among(names: Iterable[str], *, all_but: bool = False) -> Among:
    """Some nodes by their names, for a rule."""
    return Among(frozenset(names), all_but=all_but)


class Network:
    """Faults of the network.

    Args:
        router: connects the machines; None for a network that is not ours, which has no faults.
        addresses: gives the address of every node.
        folder: for the log of the relay.
    """

    def __init__(
        self, router: Router | None, addresses: Callable[[], Mapping[str, str]], folder: Path
    ) -> None:
        self._router = router
        self._addresses = addresses
        self._folder = folder
        self._rules: dict[str, list[Rule]] = {}
        self._weather: dict[str, float] = {}
        self._relay: Process | None = None

    async def start_relay(self) -> None:
        """Be ready to delay, reorder and duplicate packets."""
        assert self._router is not None  # noqa: S101 - checked with the plan
        self._router.make_relay_device()
        command = [sys.executable, "-m", "simulations.cluster.relay", RELAY_DEVICE]
        self._relay = Process("relay", command, log=self._folder / "relay", commanded=True)
        await self._relay.start()

    async def close(self) -> None:
        """End the relay."""
        if self._relay is not None:
            await self._relay.close()

    # Loss and cuts

    def put(self, fault: str, *rules: Rule) -> None:
        """A fault begins; the rules speak of names. One of the same name is replaced.

        Raises:
            OSError: the kernel refuses.
        """
        self._rules[fault] = list(rules)
        self.apply()

    def remove(self, *faults: str) -> None:
        """Some faults end; those that ended before do not matter."""
        for fault in faults:
            self._rules.pop(fault, None)
        self.apply()

    def bury(self, names: Iterable[str]) -> None:
        """The machines of these nodes are dead: nothing gets in or out, until `revive`."""
        for name in names:
            self._rules[_DEAD + name] = [Rule(source=among([name])), Rule(target=among([name]))]
        self.apply()

    def revive(self, names: Iterable[str]) -> None:
        """These machines are on the network."""
        self.remove(*(_DEAD + name for name in names))

    def apply(self) -> None:
        """Have the kernel's rules say what the faults are now, with the addresses of now."""
        if self._router is not None:
            addresses = self._addresses()
            rules = [_resolved(rule, addresses) for rules in self._rules.values() for rule in rules]
            replace_rules(rules, passing=RELAY_DEVICE if self._relay else "")

    async def heal(self) -> None:
        """End all faults; dead machines stay dead."""
        self._rules = {name: rules for name, rules in self._rules.items() if name.startswith(_DEAD)}
        self.apply()
        await self._set_weather({})

    # Delay, reordering and duplication

    async def change_weather(self, **fields: float) -> None:
        """Some fields of `simulations.network.Weather` change."""
        await self._set_weather(self._weather | fields)

    async def calm(self, *fields: str) -> None:
        """Those fields go back to nothing."""
        await self._set_weather({k: v for k, v in self._weather.items() if k not in fields})

    def relay_counts(self) -> dict[str, Any]:
        """What the relay did until the last change of the weather."""
        if self._relay is None:
            return {}
        lines = self._relay.log.read_text().splitlines()
        counts: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return counts

    async def _set_weather(self, weather: dict[str, float]) -> None:
        self._weather = weather
        if self._relay is not None and self._router is not None:
            self._relay.send(json.dumps(weather))
            await self._router.relay(on=bool(weather))


def _resolved(rule: Rule, addresses: Mapping[str, str]) -> Rule:
    """The rule with addresses in place of names."""

    def side(names: Among | None) -> Among | None:
        if names is None:
            return None
        found = frozenset(addresses[name] for name in names.addresses if name in addresses)
        return Among(found, all_but=names.all_but)

    return Rule(side(rule.source), side(rule.target), udp_only=rule.udp_only, rate=rule.rate)
