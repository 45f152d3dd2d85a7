"""What the catalog says otherwise than the agent, which is right about its own node.

Never looked at: serfHealth and the service ``consul``, which the leader keeps by what gossip says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.changes import Kind
from agent.definitions import CONSUL_SERVICE
from agent.store.entries import SERF_CHECK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.local_state import LocalState
    from agent.store.entries import CheckEntry, NodeEntry, ServiceEntry
    from agent.sync.catalogs import Held

__all__ = ["Difference", "differences", "is_told"]


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
        if _plain_service(service.entry) != _plain_service(held.services.get(service_id)):
            yield Difference(Kind.SERVICE, service_id)
    for service_id in sorted(gone):
        yield Difference(Kind.SERVICE, service_id)
    for check in local.checks:
        ours = _plain_check(check.entry)
        theirs = _plain_check(held.checks.get(check.entry.check_id))
        if ours != theirs:
            same = theirs is not None and ours == replace(theirs, output=check.entry.output)
            yield Difference(Kind.CHECK, check.entry.check_id, output_only=same)
    for check_id, entry in held.checks.items():
        is_ours = check_id == SERF_CHECK or local.checks.get(check_id) is not None
        if not is_ours and entry.service_id not in gone:  # those go with their service
            yield Difference(Kind.CHECK, check_id)


def _plain_service(entry: ServiceEntry | None) -> ServiceEntry | None:
    """Without what only the catalog knows."""
    return entry and replace(entry, node="", create_index=0, modify_index=0)


def _plain_check(entry: CheckEntry | None) -> CheckEntry | None:
    """Likewise, and without what it takes from the service."""
    return entry and replace(
        entry, node="", service_name="", service_tags=(), create_index=0, modify_index=0
    )
