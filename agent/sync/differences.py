"""What the catalog says otherwise than the agent, which is right about its own node.

Never looked at: serfHealth and the service ``consul``, which the leader keeps by what gossip says.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from agent.changes import Kind
from agent.definitions import CONSUL_SERVICE
from agent.store.entries import SERF_CHECK, CheckEntry, ServiceEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from agent.local_state import LocalState
    from agent.store.entries import NodeEntry
    from agent.sync.catalogs import Held

__all__ = ["Difference", "differences", "is_told"]

_OF_THE_CATALOG = {"node", "create_index", "modify_index", "memo", "service_name", "service_tags"}
"""Fields that the catalog fills in, those of a check from its service; and that are nobody's."""


def _told(kind: type[ServiceEntry | CheckEntry], *but: str) -> Callable[[Any], Any]:
    """Gets from an entry what the agent tells of it."""
    return attrgetter(*(f.name for f in fields(kind) if f.name not in _OF_THE_CATALOG | {*but}))


_service = _told(ServiceEntry)
_check = _told(CheckEntry)
_check_but_output = _told(CheckEntry, "output")


@dataclass(slots=True, frozen=True)
class Difference:
    """A service or a check that the catalog lacks, has too much, or has otherwise.

    Attributes:
        kind: which of both.
        id: its ID.
        output_only: it is a check, and only what it printed differs.
    """

    kind: Kind
    id: str
    output_only: bool = False


def is_told(node: NodeEntry, held: NodeEntry | None) -> bool:
    """Whether the catalog has what the agent says of the node itself; its address is gossip's."""
    return held is not None and (node.id, node.tagged_addresses, node.meta) == (
        held.id,
        held.tagged_addresses,
        held.meta,
    )


def differences(local: LocalState, held: Held) -> Iterator[Difference]:
    """Each service and check that has to be told, or told to be gone."""
    gone = held.services.keys() - local.services.keys() - {CONSUL_SERVICE}
    for service_id, service in local.services.items():
        held_service = held.services.get(service_id)
        if held_service is None or _service(held_service) != _service(service.entry):
            yield Difference(Kind.SERVICE, service_id)
    for service_id in sorted(gone):
        yield Difference(Kind.SERVICE, service_id)
    for check in local.checks:
        check_id = check.entry.check_id
        held_check = held.checks.get(check_id)
        if held_check is None or _check(held_check) != _check(check.entry):
            is_output = held_check is not None and (
                _check_but_output(held_check) == _check_but_output(check.entry)
            )
            yield Difference(Kind.CHECK, check_id, output_only=is_output)
    for check_id, entry in held.checks.items():
        is_ours = check_id == SERF_CHECK or local.checks.get(check_id) is not None
        if not is_ours and entry.service_id not in gone:  # those go with their service
            yield Difference(Kind.CHECK, check_id)
