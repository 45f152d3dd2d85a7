r"""Key operations on every pool that an agent can reach, and their errors in Consul's words.

    WAN pool --then--> LAN pool of our datacenter, by key queries
                  \--> LAN pool of each other datacenter, by one of its servers

The WAN pool comes first, as in Consul. What is asked of another datacenter travels by `agent.forward`,
sealed with the gossip key of the WAN pool or not at all: keys do not leave a datacenter in the clear.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gossip.errors import GossipError, WireError, listed
from gossip.events import MemberStatus
from gossip.keys import key_counts
from gossip.wire.keyring import encode_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.agent import Agent
    from agent.pool import Pool
    from gossip.keys import KeyOperation, KeyResult

__all__ = ["KEYRING_PATH", "METHODS", "PoolKeys", "error_text", "operate"]

KEYRING_PATH = "/v1/operator/keyring"
METHODS: Mapping[KeyOperation, str] = {
    "list": "GET",
    "install": "POST",
    "use": "PUT",
    "remove": "DELETE",
}
ACROSS_TIMEOUT = 30.0
"""Seconds for another datacenter; a query in a pool of ten thousand takes 16 at the most."""
ACROSS_TOGETHER = 16
"""Other datacenters that are asked at the same time."""
NOT_OURS = (
    "its servers are genuine Consul servers, which take this from one another only: ask one of them"
)


@dataclass(slots=True, frozen=True)
class PoolKeys:
    """What the members of one pool answered, as Consul's servers tell it one another.

    Attributes:
        datacenter: whose LAN pool it is; ours for the WAN pool.
        wan: it is the WAN pool.
        messages: text by member: why it refused, or what it adds to its answer.
        keys: of a list, how many members have each key (base64).
        primary_keys: of a list, how many members encrypt with each key.
        num_nodes: members that were alive when they were asked.
        error: Serf's summary of what went wrong; empty when every member answered and did it.
        failed: members that failed, and may come back with the keys that they had.
    """

    datacenter: str
    wan: bool = False
    messages: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict, repr=False)
    primary_keys: Mapping[str, int] = field(default_factory=dict, repr=False)
    num_nodes: int = 0
    error: str = ""
    failed: Sequence[str] = ()

    @classmethod
    def of(
        cls, result: KeyResult, datacenter: str, *, wan: bool = False, failed: Sequence[str] = ()
    ) -> PoolKeys:
        """What the members of a pool answered to a query of ours."""
        return cls(
            datacenter,
            wan=wan,
            # Consul leaves it to the operator to find out who did not answer.
            messages=result.messages | dict.fromkeys(result.missing, "no answer"),
            keys=result.keys,
            primary_keys=result.primary_keys,
            num_nodes=result.num_nodes,
            error=result.summary,
            failed=failed,
        )

    @property
    def name(self) -> str:
        """What the pool is called in errors."""
        return "WAN" if self.wan else f"{self.datacenter} (LAN)"

    def to_json(self) -> dict[str, Any]:
        """The object that Consul shows; ``FailedNodes``, where there are any, is ours."""
        shown = {
            "WAN": self.wan,
            "Datacenter": self.datacenter,
            "Segment": "",
            "Messages": self.messages,
            "Keys": self.keys,
            "PrimaryKeys": self.primary_keys,
            "NumNodes": self.num_nodes,
            "Error": self.error,
            "FailedNodes": self.failed,
        }
        for name in ("Messages", "Error", "FailedNodes"):
            if not shown[name]:
                del shown[name]
        return shown

    @classmethod
    def from_json(cls, datacenter: str, value: object) -> PoolKeys:
        """The LAN pool of another datacenter, as one of its servers shows it.

        Raises:
            WireError: it is something else.
        """
        shown = value if isinstance(value, dict) else {}
        nodes, error = shown.get("NumNodes"), shown.get("Error", "")
        failed, messages = shown.get("FailedNodes", []), shown.get("Messages", {})
        if (
            type(nodes) is not int
            or not all(isinstance(shown.get(name), dict) for name in ("Keys", "PrimaryKeys"))
            or not isinstance(error, str)
            or not (isinstance(failed, list) and all(isinstance(node, str) for node in failed))
            or not (
                isinstance(messages, dict) and all(isinstance(m, str) for m in messages.values())
            )
        ):
            raise WireError("the answer is no keyring", layer="forward")
        keys, primary_keys = (key_counts(shown[name]) for name in ("Keys", "PrimaryKeys"))
        return cls(
            datacenter,
            messages=messages,
            keys=keys,
            primary_keys=primary_keys,
            num_nodes=nodes,
            error=error,
            failed=failed,
        )


async def operate(
    agent: Agent,
    operation: KeyOperation,
    key: bytes = b"",
    *,
    relay_factor: int = 0,
    local_only: bool = False,
) -> list[PoolKeys]:
    """Have every member of all pools change or list its keys.

    Args:
        agent: a server.
        operation: what they do.
        key: with which key; nothing for a list.
        relay_factor: each answer comes through so many other members too.
        local_only: the LAN pool of our own datacenter alone.

    Returns:
        The WAN pool, our LAN pool, and those of the other datacenters by name. What went wrong in one
        of them is its `error`, and the others have done it nevertheless.

    Raises:
        GossipError: it is no server.
        LimitError: the query cannot be sent.
    """
    if not agent.config.server:
        raise GossipError("keyring operations must run against a server node")
    asked = _Asked(operation, key, relay_factor)
    own, *others = agent.datacenters()
    if local_only:
        return [await _ask_pool(agent.lan, own, asked)]
    wan = [await _ask_pool(agent.wan, own, asked, wan=True)] if agent.wan else []
    limit = asyncio.Semaphore(ACROSS_TOGETHER)

    async def across(datacenter: str) -> PoolKeys:
        async with limit:
            return await _ask_across(agent, datacenter, asked)

    lans = await asyncio.gather(_ask_pool(agent.lan, own, asked), *map(across, others))
    return [*wan, *lans]


@dataclass(slots=True, frozen=True)
class _Asked:
    """What is asked of every pool."""

    operation: KeyOperation
    key: bytes = field(repr=False)
    relay_factor: int


async def _ask_pool(pool: Pool, datacenter: str, asked: _Asked, *, wan: bool = False) -> PoolKeys:
    """Have the members of a pool that we are in do it."""
    result = await pool.cluster.keys.operate(
        asked.operation, asked.key, relay_factor=asked.relay_factor
    )
    failed = [m.name for m in pool.cluster.members() if m.status is MemberStatus.FAILED]
    return PoolKeys.of(result, datacenter, wan=wan, failed=sorted(failed))


async def _ask_across(agent: Agent, datacenter: str, asked: _Asked) -> PoolKeys:
    """Have a server of another datacenter do it there; whatever is wrong is the `error`."""
    servers = agent.servers.of(datacenter)
    try:
        if servers and not any(server.ours for server in servers):
            raise GossipError(NOT_OURS)
        answer = await agent.forwarder.request(
            datacenter,
            METHODS[asked.operation],
            f"{KEYRING_PATH}?relay-factor={asked.relay_factor}",
            json.dumps({"Key": encode_key(asked.key)}).encode() if asked.key else b"",
            deadline=asyncio.get_running_loop().time() + ACROSS_TIMEOUT,
            secret=True,
        )
        if answer.status != 200:
            raise GossipError(answer.body.decode("utf-8", "replace"))
        try:
            (shown,) = json.loads(answer.body)
        except (ValueError, TypeError, RecursionError):
            raise WireError("the answer is no list of one", layer="forward") from None
        return PoolKeys.from_json(datacenter, shown)
    except GossipError as error:
        return PoolKeys(datacenter, error=str(error))


def error_text(answers: Sequence[PoolKeys]) -> str:
    """The errors of all pools as Consul lists them, with what single members say; empty without any."""
    lines: list[str] = []
    for answer in answers:
        if answer.error:
            lines.append(f"{answer.name} error: {answer.error}")
            lines += [f"{node}: {text}" for node, text in sorted(answer.messages.items())]
    return f"{listed(lines)}\n\n" if lines else ""
