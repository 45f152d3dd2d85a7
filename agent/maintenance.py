"""Maintenance: a node or a service that is out of service on purpose, by a critical check that says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.definitions import MAINTENANCE, CheckDefinition
from agent.logs import Value
from gossip.errors import GossipError

if TYPE_CHECKING:
    from agent.local_state import LocalState

__all__ = ["UnknownServiceError", "maintain_node", "maintain_service"]

log = logging.getLogger(__name__)

NODE_CHECK = "_node_maintenance"
SERVICE_CHECK = "_service_maintenance:"
NO_REASON = "Maintenance mode is enabled for this {}, but no reason was provided. This is a default message."


class UnknownServiceError(GossipError):
    """There is no service with this ID."""


async def maintain_node(state: LocalState, *, enable: bool, reason: str = "") -> None:
    """Take the node out of service for a reason, or bring it back; twice is as good as once.

    Raises:
        GossipError: it could not be kept on the disk.
    """
    await _maintain(state, NODE_CHECK, "node", "", enable=enable, reason=reason)


async def maintain_service(
    state: LocalState, service_id: str, *, enable: bool, reason: str = ""
) -> None:
    """Likewise for a service.

    Raises:
        UnknownServiceError: there is none with this ID.
        GossipError: it could not be kept on the disk.
    """
    if service_id not in state.services:
        raise UnknownServiceError(f'No service registered with ID "{service_id}"')
    check_id = f"{SERVICE_CHECK}{service_id}"
    await _maintain(state, check_id, "service", service_id, enable=enable, reason=reason)


async def _maintain(
    state: LocalState, check_id: str, what: str, service_id: str, *, enable: bool, reason: str
) -> None:
    if enable == (state.checks.get(check_id) is not None):
        return
    if enable:
        await state.register_check(
            CheckDefinition(
                id=check_id,
                name=f"{what.capitalize()} Maintenance Mode",
                kind=MAINTENANCE,
                notes=reason or NO_REASON.format(what),
                service_id=service_id,
            )
        )
    else:
        await state.deregister_check(check_id)
    log.info(
        "maintenance %s what=%s id=%s", "begins" if enable else "ends", what, Value(service_id)
    )
