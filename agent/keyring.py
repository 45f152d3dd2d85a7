"""Key operations on the pools of an agent, and their errors in Consul's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    keys: KeyManager, operation: KeyOperation, key: bytes, relay_factor: int
) -> KeyResult:
    """Have the members of one pool carry out an operation.

    Raises:
        LimitError: the query cannot be sent.
    """
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
