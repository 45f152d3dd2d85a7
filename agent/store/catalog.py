"""The mirror of the catalog in memory: what readers look at, and which topics a change concerns.

It has exactly what was committed. Every method runs on the event loop and awaits nothing, so what one call
returns is of one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from agent.store.entries import CheckEntry, Entry, NodeEntry, ServiceEntry, folded
from agent.store.watch import ANY_STATE, NODES, SERVICES, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.store.writes import Change, Removed

__all__ = ["Catalog", "Instance", "NodeServices"]


@dataclass(slots=True, frozen=True)
class NodeServices:
    """A node and its services, by ID."""

    node: NodeEntry
    services: dict[str, ServiceEntry]


class Instance(NamedTuple):
    """One instance of a service: its node, itself, and the checks of both, the node's first."""

    node: NodeEntry
    service: ServiceEntry
    checks: tuple[CheckEntry, ...]


@dataclass(slots=True)
class _Node:
    """A node and what is on it, by ID."""

    entry: NodeEntry
    services: dict[str, ServiceEntry] = field(default_factory=dict)
    checks: dict[str, CheckEntry] = field(default_factory=dict)

    def checks_by_service(self) -> dict[str, list[CheckEntry]]:
        """The checks by the service that they are about, "" for the node itself."""
        found: dict[str, list[CheckEntry]] = {}
        for _, check in sorted(self.checks.items()):
            found.setdefault(check.service_id, []).append(check)
        return found


class Catalog:
    """All entries, by node and by name of service.

    Names of nodes and services are looked up in any case; lists come sorted by node, then by ID.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._instances: dict[str, dict[tuple[str, str], ServiceEntry]] = {}
        self._services = self._checks = 0
        self._listed: dict[str, tuple[Instance, ...]] = {}  # until something in it changes

    # Reading

    def counts(self) -> dict[str, int]:
        """How many entries of each kind there are."""
        return {
            "nodes": len(self._nodes),
            "services": self._services,
            "checks": self._checks,
        }

    def nodes(self) -> list[NodeEntry]:
        """Every node."""
        return [node.entry for _, node in sorted(self._nodes.items())]

    def node(self, name: str) -> NodeServices | None:
        """A node with its services; None when it is not known."""
        node = self._nodes.get(folded(name))
        if node is None:
            return None
        return NodeServices(node.entry, dict(sorted(node.services.items())))

    def services(self) -> dict[str, list[ServiceEntry]]:
        """All instances by the name of their service, spelled as by the first of them."""
        lists = (
            [entry for _, entry in sorted(instances.items())]
            for _, instances in sorted(self._instances.items())
        )
        return {found[0].service: found for found in lists}

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of a service."""
        name = folded(service)
        if name not in self._instances:
            return ()
        if (listed := self._listed.get(name)) is None:
            listed = self._listed[name] = tuple(self._list(name))
        return listed

    def _list(self, name: str) -> Iterator[Instance]:
        of_node: tuple[str, dict[str, list[CheckEntry]]] = ("", {})
        for (key, _), entry in sorted(self._instances[name].items()):
            node = self._nodes[key]
            if of_node[0] != key:  # those of one node stand together
                of_node = (key, node.checks_by_service())
            checks = of_node[1]
            its = (*checks.get("", ()), *checks.get(entry.id, ()))
            yield Instance(node.entry, entry, its)

    def node_checks(self, name: str) -> list[CheckEntry]:
        """The checks on a node, those of its services included."""
        node = self._nodes.get(folded(name))
        return [] if node is None else [check for _, check in sorted(node.checks.items())]

    def check(self, node: str, check_id: str) -> CheckEntry | None:
        """A check on a node, or of one of its services; None when it is not known."""
        found = self._nodes.get(folded(node))
        return None if found is None else found.checks.get(check_id)

    def service_checks(self, service: str) -> list[CheckEntry]:
        """The checks of all instances of a service; those of their nodes are not among them."""
        return [
            check for one in self.instances(service) for check in one.checks if check.service_id
        ]

    def checks(self, status: str = "any") -> list[CheckEntry]:
        """The checks in a state, or all of them with ``any``."""
        return [
            check
            for _, node in sorted(self._nodes.items())
            for _, check in sorted(node.checks.items())
            if status in {"any", check.status}
        ]

    # Following what is committed

    def load(self, entries: Iterable[Entry]) -> None:
        """Take over what was stored, nodes before what is on them."""
        for entry in entries:
            self._put(entry)

    def apply(self, changes: Iterable[Change]) -> set[Topic]:
        """Make the changes of a write; returns whose answers may be others now."""
        topics: set[Topic] = set()
        for change in changes:
            if isinstance(change, NodeEntry | ServiceEntry | CheckEntry):
                topics |= self._put(change)
            else:
                topics |= self._remove(change)
        for topic in topics:
            if topic.kind in {"service", "health"}:
                self._listed.pop(topic.name, None)
        return topics

    def _put(self, entry: Entry) -> set[Topic]:
        key = folded(entry.node)
        match entry:
            case NodeEntry():
                if (node := self._nodes.get(key)) is None:
                    node = self._nodes[key] = _Node(entry)
                node.entry = entry
                return _topics_of_node(node)
            case ServiceEntry():
                return self._put_service(key, entry)
            case CheckEntry():
                node = self._nodes[key]
                topics = _topics_of_check(node, entry)
                if (old := node.checks.get(entry.check_id)) is not None:
                    topics |= _topics_of_check(node, old)
                else:
                    self._checks += 1
                node.checks[entry.check_id] = entry
                return topics

    def _put_service(self, key: str, entry: ServiceEntry) -> set[Topic]:
        node = self._nodes[key]
        topics = _topics_of_service(entry)
        old = node.services.get(entry.id)
        self._services += old is None
        if old is None or (old.service, old.tags) != (entry.service, entry.tags):
            topics.add(SERVICES)
        if old is not None and folded(old.service) != folded(entry.service):
            topics |= self._drop_service(key, old)
        node.services[entry.id] = entry
        self._instances.setdefault(folded(entry.service), {})[key, entry.id] = entry
        return topics

    def _drop_check(self, node: _Node, id_: str) -> set[Topic]:
        self._checks -= 1
        return _topics_of_check(node, node.checks.pop(id_))

    def _drop_service(self, key: str, entry: ServiceEntry) -> set[Topic]:
        """Take an instance from those of its name."""
        name = folded(entry.service)
        del self._instances[name][key, entry.id]
        if not self._instances[name]:
            del self._instances[name]
        return {SERVICES, *_topics_of_service(entry)}

    def _remove(self, removed: Removed) -> set[Topic]:
        node = self._nodes[removed.node]
        if removed.kind is CheckEntry:
            return self._drop_check(node, removed.id)
        gone = [removed.id] if removed.kind is ServiceEntry else [*node.services, ""]
        topics = set() if removed.kind is ServiceEntry else _topics_of_node(node)
        for check in [check for check in node.checks.values() if check.service_id in gone]:
            topics |= self._drop_check(node, check.check_id)
        for id_ in filter(None, gone):
            topics |= self._drop_service(removed.node, node.services.pop(id_))
            self._services -= 1
        if removed.kind is NodeEntry:
            del self._nodes[removed.node]
        return topics


def _topics_of_node(node: _Node) -> set[Topic]:
    """What shows the node itself: also the lists of the services on it."""
    topics = {NODES, Topic("node", folded(node.entry.node))}
    for service in node.services.values():
        topics |= _topics_of_service(service)
    return topics


def _topics_of_service(entry: ServiceEntry) -> set[Topic]:
    name = folded(entry.service)
    return {Topic("node", folded(entry.node)), Topic("service", name), Topic("health", name)}


def _topics_of_check(node: _Node, check: CheckEntry) -> set[Topic]:
    topics = {Topic("checks-of-node", folded(check.node)), ANY_STATE, Topic("state", check.status)}
    if check.service_id:
        name = folded(check.service_name)
        return topics | {Topic("checks-of-service", name), Topic("health", name)}
    return topics | {Topic("health", folded(one.service)) for one in node.services.values()}
