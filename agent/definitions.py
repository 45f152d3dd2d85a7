"""Definitions of services and checks, as bodies of requests, configuration files and our own files have them.

There is one reader for all three, `service_definition` and `check_definition`. What is allowed and yet worth
a line in the log is listed in `warnings`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.durations import format_duration
from agent.metadata import meta_problem
from agent.store.entries import SERF_CHECK, ServiceEntry, Status
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.decode import Body

__all__ = [
    "CONSUL_SERVICE",
    "MAINTENANCE",
    "MAX_CHECKS",
    "MAX_SERVICES",
    "CheckDefinition",
    "DefinitionError",
    "ServiceDefinition",
    "check_definition",
    "check_service",
    "service_definition",
    "service_entry",
    "status_of",
    "weights_problem",
]

MAX_SERVICES = 4096
MAX_CHECKS = 8192
"""How many one agent has at most; a check that is made takes about 4 KiB."""
MIN_INTERVAL = 1.0
"""Seconds between two runs of a check; less is raised to this."""
MIN_DEREGISTER_AFTER = 60.0
"""Seconds that a service stays although it is critical; less is raised to this."""
MAX_WEIGHT = 65535
"""The largest that DNS has."""
MAINTENANCE = "maintenance"
CONSUL_SERVICE = "consul"
"""The service by which gossip registers servers in the catalog."""
_DNS_LABEL = re.compile(r"[a-zA-Z0-9-]{1,63}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OTHER_KINDS = ("AliasNode", "AliasService", "DockerContainerID", "GRPC", "UDP")
_SETTLED = (Status.PASSING, Status.WARNING, Status.CRITICAL)


class DefinitionError(GossipError, ValueError):
    """A definition cannot be used; the text is Consul's where it has one."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CheckDefinition:
    """How one check is made. Durations are seconds, 0 where there is none.

    Attributes:
        id: unique on the agent.
        name: for people.
        kind: ``ttl``, ``http``, ``tcp``, ``script``, or ``maintenance``, which is made by nobody.
        notes: for people.
        service_id: of the service that it is about; empty when it is about the node.
        status: before it has run.
        ttl: how long it keeps what it was told.
        interval: between two runs.
        timeout: of one run; 0 takes the default of its kind.
        args: program and arguments of a script; these and all of a request may hold secrets.
        url: that an HTTP check asks for.
        method: of that request.
        headers: of that request.
        body: of that request.
        skip_verify: its certificate may be anybody's.
        tcp: ``host:port`` that a TCP check connects to.
        deregister_after: a service that is critical for so long is deregistered; 0 never does.
        passing_after: successes in a row until it is not critical any more, if more than one.
        critical_after: failures in a row until it is, if more than one.
        token: stands in for the agent's when the catalog is told; a secret.
        warnings: a sentence each.
    """

    id: str
    name: str
    kind: str
    notes: str = ""
    service_id: str = ""
    status: Status = Status.CRITICAL
    ttl: float = 0.0
    interval: float = 0.0
    timeout: float = 0.0
    args: tuple[str, ...] = field(default=(), repr=False)
    url: str = field(default="", repr=False)
    method: str = "GET"
    headers: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)
    skip_verify: bool = False
    tcp: str = ""
    deregister_after: float = 0.0
    passing_after: int = 0
    critical_after: int = 0
    token: str = field(default="", repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)


@dataclass(slots=True, frozen=True, kw_only=True)
class ServiceDefinition:
    """A service and the checks that come with it.

    Attributes:
        service: as the catalog knows it, on a node without a name.
        checks: of it.
        token: as of a check.
        warnings: a sentence each.
    """

    service: ServiceEntry
    checks: tuple[CheckDefinition, ...] = ()
    token: str = field(default="", repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)


def service_definition(body: Body) -> ServiceDefinition:
    """Read the definition of a service.

    Raises:
        DecodeError: a value is of another kind.
        DefinitionError: the values make no service.
    """
    if not body.text("Name"):
        raise DefinitionError("Missing service name")
    service = service_entry(body, "", "Name")
    ip = _ip(service.address)
    if ip is not None:
        # As Consul's agents do, for clients that look for an address of one family.
        both = {
            f"{pool}_ipv{ip.version}": (service.address, service.port) for pool in ("lan", "wan")
        }
        tagged = both | dict(service.tagged_addresses)
        service = replace(service, tagged_addresses=dict(sorted(tagged.items())))
    _check_own_service(service, body)
    single = body.object("Check")
    bodies = [*([single] if single is not None and single.filled else []), *body.objects("Checks")]
    checks = []
    for position, one in enumerate(bodies, 1):
        number = f":{position}" if len(bodies) > 1 else ""
        checks.append(
            _definition(
                one,
                one.text("CheckID") or one.text("ID") or f"service:{service.id}{number}",
                one.text("Name") or f"Service '{service.service}' check",
                service.id,
                bad_status="Status for checks must 'passing', 'warning', 'critical'",
            )
        )
    return ServiceDefinition(
        service=service,
        checks=tuple(checks),
        token=body.text("Token"),
        warnings=tuple(_unlike_dns(service)),
    )


def check_definition(body: Body) -> CheckDefinition:
    """Read the definition of a check that stands for itself.

    Raises:
        DecodeError: a value is of another kind.
        DefinitionError: the values make no check.
    """
    name = body.text("Name")
    if not name:
        raise DefinitionError("Missing check name")
    check_id = body.text("ID") or body.text("CheckID") or name
    return _definition(body, check_id, name, body.text("ServiceID"), bad_status="Bad check status")


def service_entry(body: Body, node: str, name_key: str) -> ServiceEntry:
    """A service on a node; its ID is its name unless it has one.

    Args:
        body: the service.
        node: name of the node.
        name_key: under which it has its name: agents and the catalog differ.
    """
    weights = body.object("Weights")
    return ServiceEntry(
        node=node,
        id=body.text("ID") or body.text(name_key),
        service=body.text(name_key),
        tags=body.texts("Tags"),
        port=body.number("Port"),
        address=body.text("Address"),
        meta=body.mapping("Meta"),
        tagged_addresses={
            name: (tagged.text("Address"), tagged.number("Port"))
            for name, tagged in body.by_name("TaggedAddresses").items()
        },
        weights=(1, 1)
        if weights is None
        else (weights.number("Passing"), weights.number("Warning")),
        enable_tag_override=body.truth("EnableTagOverride"),
    )


def status_of(text: str, problem: str) -> Status:
    """The status that a check is told to have.

    Args:
        text: its name.
        problem: what is said when there is none of that name that a check can have.

    Raises:
        DefinitionError: it is none of the three.
    """
    if text not in _SETTLED:
        raise DefinitionError(problem)
    return Status(text)


def check_service(service: ServiceEntry) -> None:
    """Refuse what no catalog takes, in Consul's words.

    Raises:
        DefinitionError: its address is nobody's in particular, or its metadata is out of bounds.
    """
    ip = _ip(service.address.strip("[]"))
    if ip is not None and ip.is_unspecified:
        raise DefinitionError("Invalid service address")
    if problem := meta_problem(service.meta):
        raise DefinitionError(f"Invalid Service Meta: {problem}")


def weights_problem(weights: tuple[int, int]) -> str:
    """Why nobody can balance load by these weights; empty when they can."""
    passing, warning = weights
    if passing < 1:
        return "Passing must be greater than 0"
    if warning < 0:
        return "Warning must be greater or equal than 0"
    if max(weights) > MAX_WEIGHT:
        return f"DNS Weight must be between 0 and {MAX_WEIGHT}"
    return ""


def _check_own_service(service: ServiceEntry, body: Body) -> None:
    check_service(service)
    if service.id == CONSUL_SERVICE:
        raise DefinitionError(f'Service ID "{CONSUL_SERVICE}" is reserved for servers')
    if problem := weights_problem(service.weights):
        raise DefinitionError(f"Invalid Weights: {problem}")
    if kind := body.text("Kind"):
        raise DefinitionError(f'Invalid service: kind "{kind[:60]}" is not supported')


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this is; None for a name, or nothing."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _unlike_dns(service: ServiceEntry) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(service.service):
        yield "the name of the service cannot be part of a DNS name"
    if not all(map(_DNS_LABEL.fullmatch, service.tags)):
        yield "a tag of the service cannot be part of a DNS name"


def _definition(
    body: Body, check_id: str, name: str, service_id: str, *, bad_status: str
) -> CheckDefinition:
    if check_id == SERF_CHECK:
        raise DefinitionError(f'CheckID "{SERF_CHECK}" is reserved for gossip')
    shell = body.text("Script")
    args = body.texts("Args") or body.texts("ScriptArgs") or (("sh", "-c", shell) if shell else ())
    ttl, url, tcp = body.duration("TTL"), body.text("HTTP"), body.text("TCP")
    runs = {"http": url, "tcp": tcp, "script": args}  # the first that is there counts
    kind = "ttl" if ttl > 0 else next((kind for kind, what in runs.items() if what), "")
    if kind == "script" and any(map(body.text, _OTHER_KINDS)):
        kind = ""  # its program is for a container, not for this machine
    kind = kind or (MAINTENANCE if body.truth("Maintenance") else "")
    warnings: list[str] = []
    if kind == "ttl" and (any(runs.values()) or body.duration("Interval")):
        warnings.append("the check has a TTL, so nothing else makes it")
    check = CheckDefinition(
        id=check_id,
        name=name,
        kind=kind,
        notes=body.text("Notes"),
        service_id=service_id,
        ttl=ttl if kind == "ttl" else 0.0,
        interval=_raised(body, "Interval", MIN_INTERVAL, warnings) if kind in runs else 0.0,
        timeout=max(body.duration("Timeout"), 0.0),
        args=args if kind == "script" else (),
        url=url if kind == "http" else "",
        method=body.text("Method") or "GET",
        headers=body.lists("Header"),
        body=body.text("Body"),
        skip_verify=body.truth("TLSSkipVerify"),
        tcp=tcp if kind == "tcp" else "",
        deregister_after=_raised(
            body, "DeregisterCriticalServiceAfter", MIN_DEREGISTER_AFTER, warnings
        ),
        passing_after=body.number("SuccessBeforePassing"),
        critical_after=body.number("FailuresBeforeCritical"),
        token=body.text("Token"),
    )
    _check_kind(check, body)
    status = status_of(body.text("Status") or Status.CRITICAL, bad_status)
    return replace(check, status=status, warnings=tuple(warnings))


def _raised(body: Body, key: str, least: float, warnings: list[str]) -> float:
    """A duration that is raised to the least that there is, unless it is 0 or below."""
    seconds = body.duration(key)
    if 0 < seconds < least:
        warnings.append(f"{key} is raised to {format_duration(least)}")
    return max(seconds, least) if seconds > 0 else 0.0


def _check_kind(check: CheckDefinition, body: Body) -> None:
    """Refuse what cannot be run; nothing of it is quoted, as it may hold secrets."""
    match check.kind:
        case "":
            other = next((key for key in _OTHER_KINDS if body.text(key)), "")
            raise DefinitionError(
                f"Invalid check: {other} checks are not supported"
                if other
                else "Invalid check: TTL must be > 0 for TTL checks"
            )
        case "http" | "tcp" | "script" if check.interval <= 0:
            raise DefinitionError(
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"
            )
        case "http":
            _check_request(check)
        case "tcp":
            _check_target(check.tcp)
        case "script" if any("\0" in arg for arg in check.args):
            raise DefinitionError("Invalid check: an argument has a NUL character")


def _check_request(check: CheckDefinition) -> None:
    try:
        parts = urlsplit(check.url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not check.url.isprintable():
        raise DefinitionError("Invalid check: HTTP is not an http:// or https:// URL")
    if not _HEADER_NAME.fullmatch(check.method):
        raise DefinitionError("Invalid check: Method is not one of HTTP's")
    for name, values in check.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not all(
            value.isprintable() and value.isascii() for value in values
        ):
            raise DefinitionError("Invalid check: a Header cannot be sent")


def _check_target(tcp: str) -> None:
    host, colon, port = tcp.rpartition(":")
    numeric = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535
    if not colon or not numeric or not tcp.isprintable() or (":" in host and host[:1] != "["):
        raise DefinitionError("Invalid check: TCP is not host:port")
