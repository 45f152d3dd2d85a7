"""Key operations on the pools of an agent, and their errors in Consul's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.agent import Agent
    from gossip.keys import KeyManager, KeyResult

__all__ = ["KeyOperation", "PoolKeys", "error_text", "operate"]

KeyOperation: TypeAlias = Literal["list", "install", "use", "remove"]


@dataclass(slots=True, frozen=True)
class PoolKeys:
    """What the members of one pool answered.

    Attributes:
        wan: it is the WAN pool.
        datacenter: ours.
        result: their answers.
    """

    wan: bool
    datacenter: str
    result: KeyResult

    @property
    def error(self) -> str:
        """Serf's summary of what went wrong; empty when every member answered and did it."""
        result = self.result
        if result.num_errors:
            return f"{result.num_errors}/{result.num_nodes} nodes reported failure"
        if result.missing:
            return f"{result.num_responses}/{result.num_nodes} nodes reported success"
        return ""


async def operate(
    agent: Agent,
    operation: KeyOperation,
    key: bytes = b"",
    *,
    relay_factor: int = 0,
    local_only: bool = False,
) -> list[PoolKeys]:
    """Have every member of our pools change or list its keys: the WAN pool, then the LAN pool.

    Args:
        agent: a server.
        operation: what they do.
        key: with which key; nothing for a list.
        relay_factor: each answer comes through so many other members too.
        local_only: leave the WAN pool out.

    Raises:
        GossipError: it is no server.
        LimitError: the query cannot be sent.
    """
    if not agent.config.server:
        raise GossipError("keyring operations must run against a server node")
    pools = [] if agent.wan is None or local_only else [agent.wan]
    return [
        PoolKeys(
            wan=pool is agent.wan,
            datacenter=agent.config.datacenter,
            result=await _ask(pool.cluster.keys, operation, key, relay_factor),
        )
        for pool in (*pools, agent.lan)
    ]


async def _ask(
    keys: KeyManager, operation: KeyOperation, key: bytes, relay_factor: int
) -> KeyResult:
    match operation:
        case "list":
            return await keys.list(relay_factor=relay_factor)
        case "install":
            return await keys.install(key, relay_factor=relay_factor)
        case "use":
            return await keys.use(key, relay_factor=relay_factor)
        case "remove":
            return await keys.remove(key, relay_factor=relay_factor)


def error_text(answers: Sequence[PoolKeys]) -> str:
    """The errors of all pools as Consul lists them, with what single members say; empty without any.

    Members that did not answer are named too: Consul leaves it to the operator to find them.
    """
    lines: list[str] = []
    for answer in answers:
        if not answer.error:
            continue
        pool = "WAN" if answer.wan else f"{answer.datacenter} (LAN)"
        lines.append(f"{pool} error: {answer.error}")
        lines += [f"{node}: {text}" for node, text in sorted(answer.result.messages.items())]
        lines += [f"{node}: no answer" for node in answer.result.missing]
    if not lines:
        return ""
    count = f"{len(lines)} error{'s' if len(lines) != 1 else ''} occurred:"
    return "\n".join([count, *(f"\t* {line}" for line in lines), "", ""])
