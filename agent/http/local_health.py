"""``/v1/agent/health/service``: whether services of this agent are fit, told by the status of the answer.

For those that balance load and look at status codes: 200 passing, 429 warning, 503 critical or in
maintenance, 404 unknown. The worst check of a service and of the node decides; of several services of one
name, the worst service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.definitions import MAINTENANCE
from agent.http.entries import check_shown, service_shown
from agent.http.errors import HttpError
from agent.http.routing import Call, Methods, Reply, Route
from agent.store.entries import Status

if TYPE_CHECKING:
    from agent.checks import Check
    from agent.local_state import LocalService, LocalState

__all__ = ["routes"]

REASON = "X-Consul-Reason"
_CODES = {"passing": 200, "warning": 429, "critical": 503, MAINTENANCE: 503}
_FROM_BEST = list(_CODES)


def routes() -> tuple[Route, ...]:
    """The endpoints."""
    return (
        Route("/v1/agent/health/service/id/", Methods.READ, by_id),
        Route("/v1/agent/health/service/name/", Methods.READ, by_name),
    )


async def by_id(call: Call) -> Reply:
    """One service, with its checks and those of the node."""
    if not call.rest:
        raise HttpError(500, "Bad request: Missing serviceID")
    state = call.agent.local
    service = state.services.get(call.rest)
    if service is None:
        nothing = {"AggregatedStatus": "critical", "Service": None, "Checks": None}
        return _reply(call, 404, f"ServiceId {call.rest} not found", nothing)
    status = _status(state, service)
    return _reply(call, _CODES[status], status, _health(state, service, status))


async def by_name(call: Call) -> Reply:
    """All services of a name."""
    if not call.rest:
        raise HttpError(500, "Bad request: Missing service Name")
    state = call.agent.local
    found = [one for one in state.services.values() if one.entry.service == call.rest]
    if not found:
        return _reply(call, 404, f"ServiceName {call.rest} Not Found", [])
    statuses = [_status(state, service) for service in found]
    worst = max(statuses, key=_FROM_BEST.index)
    rows = [_health(state, *pair) for pair in zip(found, statuses, strict=True)]
    return _reply(call, _CODES[worst], worst, rows)


def _reply(call: Call, code: int, reason: str, data: object) -> Reply:
    headers = {REASON: reason.encode("ascii", "replace").decode()}  # a header holds no more
    if call.get("format") == "text":
        return Reply(text=reason, headers=headers, status=code)
    return Reply(data, headers, status=code)


def _checks(state: LocalState, service: LocalService) -> list[Check]:
    return [*state.checks.of(service.entry.id), *state.checks.of("")]


def _status(state: LocalState, service: LocalService) -> str:
    checks = _checks(state, service)
    if any(check.definition.kind == MAINTENANCE for check in checks):
        return MAINTENANCE
    statuses = (str(check.entry.status) for check in checks)
    return max(statuses, key=_FROM_BEST.index, default=str(Status.PASSING))


def _health(state: LocalState, service: LocalService, status: str) -> dict[str, Any]:
    return {
        "AggregatedStatus": status,
        "Service": service_shown(service.entry),
        "Checks": [check_shown(check.entry) for check in _checks(state, service)],
    }
