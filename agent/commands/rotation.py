"""``gossip keyring -rotate``: `gossip.rotation` over HTTP, for any agent with Consul's keyring API.

An operation succeeds there only when every live member of every pool confirms it: the WAN pool, and the
LAN pool of each datacenter.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from agent.client import ApiError
from agent.commands.base import CommandError, printable
from agent.commands.http import heading
from agent.commands.keyring import PATH, ask, key_argument, pool_name
from gossip.keys import KeyResult, key_counts
from gossip.rotation import RotationError, RotationStep
from gossip.rotation import rotate as steps_of
from gossip.wire.keyring import KeyringError, decode_key, encode_key, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.client import Client
    from agent.commands.base import Context
    from gossip.rotation import RotationAction

__all__ = ["rotate"]

FAILED = 4  # Serf's number of the status, as the API shows it
KEY_BYTES = 32  # AES-256


def rotate(context: Context, query: dict[str, object]) -> int:
    """Rotate to the key of the first argument, by default to a new one; 1 if old keys had to stay."""
    given = key_argument(context.args[0]) if context.args else ""
    try:
        key = decode_key(given) if given else os.urandom(KEY_BYTES)
    except KeyringError:
        raise CommandError("the new key is not base64 of 16, 24 or 32 bytes") from None
    keys = _HttpKeys(context.client(), query)
    with heading("Error rotating"):
        return asyncio.run(_rotate(context, keys, key))


async def _rotate(context: Context, keys: _HttpKeys, key: bytes) -> int:
    shown: list[dict[str, Any]] = []
    problem = ""
    async for step in steps_of(keys, key):
        problem = keys.redacted(step.problem)
        if step.action == "list" and step.ok and not context.json:
            context.print(f"pools    {printable(', '.join(keys.pools))}")
        if step.action != "list":
            _show(context, step, problem)
            told = {"Action": step.action, "Key": step.fingerprint, "OK": step.ok}
            shown.append(told | ({"Problem": problem} if problem else {}))
    if context.json:
        result = {"Key": fingerprint(key), "OK": not problem, "Pools": keys.pools, "Steps": shown}
        context.print_json(result)
    elif problem:
        context.note("the cluster goes on with the keys it has; rotate again once this is solved")
    return 1 if problem else 0


def _show(context: Context, step: RotationStep, problem: str) -> None:
    if not context.json:
        text = problem.replace("\n", " ").replace("\t", "") or "ok"
        context.print(f"{step.action.ljust(7)}  {step.fingerprint}  {printable(text)}")


class _HttpKeys:
    """The keys of all pools that an agent lists, together.

    Attributes:
        pools: their names.
    """

    def __init__(self, client: Client, query: dict[str, object]) -> None:
        self.pools: list[str] = []
        self._client = client
        self._query = query
        self._sizes: list[tuple[str, int]] = []
        self._known: set[str] = set()

    async def ask(self, action: RotationAction, key: bytes) -> KeyResult:
        """Have all members do it.

        Raises:
            ApiError: the keys cannot even be listed once, so nothing was changed.
            RotationError: not everybody did it.
        """
        self._known.add(encode_key(key))
        if action == "list":
            return self._start()
        try:
            if action == "verify":
                return self._verify()
            ask(self._client, action, encode_key(key), self._query)
        except ApiError as error:
            raise RotationError(str(error)) from None
        return KeyResult()

    async def failed(self) -> list[str]:
        """The failed members that the agent, or a server of ours in another datacenter, knows of."""
        try:
            return sorted(self._failed_here() | self._failed_elsewhere())
        except ApiError as error:
            raise RotationError(str(error)) from None

    def redacted(self, text: str) -> str:
        """The text without any key that is known."""
        for key in self._known:
            text = text.replace(key, f"(key {fingerprint(decode_key(key))})")
        return text

    def _start(self) -> KeyResult:
        pools = self._list()
        if not pools:
            raise ApiError("the agent lists no pool")
        self.pools = [pool_name(pool) for pool in pools]
        self._sizes = _sizes(pools)
        return _together(pools)

    def _verify(self) -> KeyResult:
        pools = self._list()
        if _sizes(pools) != self._sizes:
            raise RotationError("members came or went meanwhile: rotate again")
        return _together(pools)

    def _list(self) -> list[dict[str, Any]]:
        pools = self._client.request("GET", PATH, self._query).objects()
        self._known.update(key for pool in pools for key in key_counts(pool.get("Keys")))
        return pools

    def _failed_here(self) -> set[str]:
        members = self._client.get("/v1/agent/members").objects()
        if "WAN" in self.pools:
            members += self._client.get("/v1/agent/members", {"wan": "1"}).objects()
        return {str(m.get("Name")) for m in members if m.get("Status") == FAILED}

    def _failed_elsewhere(self) -> set[str]:
        if len(self.pools) <= 2:  # a WAN pool, and the LAN pool of this datacenter
            return set()
        pools = self._list()
        own = {pool.get("Datacenter") for pool in pools if pool.get("WAN")}
        return {
            f"{node}.{pool.get('Datacenter')}"
            for pool in pools
            if pool.get("Datacenter") not in own
            for node in pool.get("FailedNodes") or ()
        }


def _sizes(pools: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many members each pool has; they need not come in the same order every time."""
    return sorted((pool_name(pool), _nodes(pool)) for pool in pools)


def _nodes(pool: dict[str, Any]) -> int:
    nodes = pool.get("NumNodes")
    return nodes if isinstance(nodes, int) else 0


def _together(pools: Iterable[dict[str, Any]]) -> KeyResult:
    """One result for all pools: every member of any of them counts."""
    result = KeyResult()
    for pool in pools:
        result.num_nodes += _nodes(pool)
        for counts, name in ((result.keys, "Keys"), (result.primary_keys, "PrimaryKeys")):
            for key, count in key_counts(pool.get(name)).items():
                counts[key] = counts.get(key, 0) + count
    result.num_responses = result.num_nodes
    return result
