"""Keys of the whole pool: every member is asked to change its keyring, and says how it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeAlias

from gossip.arguments import checked_payload
from gossip.errors import GossipError, LimitError, WireError
from gossip.events import MemberStatus, QueryAnswer
from gossip.rotation import RotationError, RotationStep, rotate
from gossip.wire.keyring import KeyringError, decode_key, encode_key
from gossip.wire.limits import KEY_SIZES
from gossip.wire.serf import KeyRequest, KeyResponse, decode_serf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gossip.aio import Cluster
    from gossip.rotation import RotationAction

__all__ = ["KeyManager", "KeyOperation", "KeyResult", "RotationStep", "key_counts"]

KeyOperation: TypeAlias = Literal["list", "install", "use", "remove"]

_QUERIES: Mapping[KeyOperation, str] = {
    "list": "_serf_list-keys",
    "install": "_serf_install-key",
    "use": "_serf_use-key",
    "remove": "_serf_remove-key",
}
MAX_KEYS_LISTED = 1024
"""Different keys of a list that are counted; a member that invents keys gets no further."""


@dataclass(slots=True)
class KeyResult:
    """What the members answered.

    Attributes:
        messages: text by member: why it refused, or what it adds to its answer.
        num_nodes: members that were alive when they were asked.
        num_responses: members that answered.
        num_errors: members that refused, or whose answer made no sense.
        keys: of a list, how many members have each key (base64).
        primary_keys: of a list, how many members encrypt with each key; Serf before 0.9 does not say.
        answered: members that answered.
        missing: members that were alive and did not.
    """

    messages: dict[str, str] = field(default_factory=dict)
    num_nodes: int = 0
    num_responses: int = 0
    num_errors: int = 0
    keys: dict[str, int] = field(default_factory=dict, repr=False)
    primary_keys: dict[str, int] = field(default_factory=dict, repr=False)
    answered: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every member answered, and none refused."""
        return not self.num_errors and not self.missing

    @property
    def summary(self) -> str:
        """Why it is not `ok`, in Serf's words; empty when it is."""
        if self.num_errors:
            return f"{self.num_errors}/{self.num_nodes} nodes reported failure"
        if self.missing:
            return f"{self.num_responses}/{self.num_nodes} nodes reported success"
        return ""

    @property
    def problem(self) -> str:
        """Why it is not `ok`, in one line with the members' own words; empty when it is."""
        parts = []
        if self.num_errors:
            parts.append(self.summary)
            parts += [f"{node}: {text}" for node, text in sorted(self.messages.items())]
        if self.missing:
            parts.append(f"no answer of {', '.join(sorted(self.missing))}")
        return "; ".join(parts)


class KeyManager:
    """Changes the keys of a pool through one of its members; `gossip.Cluster.keys` is one.

    Operations can be repeated: what is done already counts as done. They take their turns, and as long
    as the slowest member, at most the default time of a query.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turn = asyncio.Lock()

    async def install(self, key: bytes, *, relay_factor: int = 0) -> KeyResult:
        """Everybody adds a key, to decrypt with.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self.operate("install", key, relay_factor=relay_factor)

    async def use(self, key: bytes, *, relay_factor: int = 0) -> KeyResult:
        """Everybody encrypts with a key, which must be installed.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self.operate("use", key, relay_factor=relay_factor)

    async def remove(self, key: bytes, *, relay_factor: int = 0) -> KeyResult:
        """Everybody drops a key, which must not be the one in use.

        Nothing is checked first; `rotate` removes keys only when nobody needs them any more.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self.operate("remove", key, relay_factor=relay_factor)

    async def list(self, *, relay_factor: int = 0) -> KeyResult:
        """Who has which keys.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self.operate("list", relay_factor=relay_factor)

    def rotate(
        self, key: bytes, *, relay_factor: int = 0, ignore_failed: bool = False
    ) -> AsyncIterator[RotationStep]:
        """Move the pool to a new key: install, use, and remove all others.

        Every step has to be confirmed by every member that is alive; see `gossip.rotation`. Where one
        fails the pool goes on with the keys it has; once the reason is gone, rotate again.

        Args:
            key: the new key.
            relay_factor: each answer comes through so many other members too.
            ignore_failed: members that failed are not waited for: they are gone for good.

        Yields:
            Each step when it is over. The one that is not `ok` is the last.
        """
        return rotate(_Rotated(self._cluster, relay_factor, ignore_failed), key)

    async def operate(
        self, operation: KeyOperation, key: bytes = b"", *, relay_factor: int = 0
    ) -> KeyResult:
        """Any of the above by its name; a list needs no key.

        Raises:
            LimitError: the query cannot be sent, or no key is so long.
        """
        query = _QUERIES[operation]
        body = b"" if operation == "list" else checked_payload("key", key)
        if operation != "list" and len(body) not in KEY_SIZES:
            raise LimitError(f"a key of {len(body)} bytes is not 16, 24 or 32 bytes long")
        async with self._turn:
            result = KeyResult()
            members = self._cluster.members()
            waiting = {m.name for m in members if m.status is MemberStatus.ALIVE}
            result.num_nodes = len(waiting)
            async with self._cluster.query(
                query, KeyRequest(body).encode(), relay_factor=relay_factor
            ) as replies:
                async for reply in replies:
                    if isinstance(reply, QueryAnswer):
                        _count(result, reply)
                        waiting.discard(reply.node)
                    if not waiting:
                        break
            result.missing = sorted(waiting)
            return result


@dataclass(slots=True)
class _Rotated:
    """The keys of one pool for `gossip.rotation`."""

    cluster: Cluster
    relay_factor: int
    ignore_failed: bool

    async def ask(self, action: RotationAction, key: bytes) -> KeyResult:
        """Ask all members."""
        operation = "list" if action == "verify" else action
        try:
            return await self.cluster.keys.operate(operation, key, relay_factor=self.relay_factor)
        except GossipError as error:
            raise RotationError(str(error)) from None

    async def failed(self) -> list[str]:
        """Who failed, as far as this member knows."""
        members = [] if self.ignore_failed else self.cluster.members()
        return sorted(m.name for m in members if m.status is MemberStatus.FAILED)


def _count(result: KeyResult, answer: QueryAnswer) -> None:
    result.num_responses += 1
    result.answered.append(answer.node)
    try:
        response = decode_serf(answer.payload)
        if not isinstance(response, KeyResponse):
            raise WireError("it is another message")
    except WireError as error:
        result.num_errors += 1
        result.messages[answer.node] = f"Invalid key query response: {error}"
        return
    if response.message or not response.result:
        result.messages[answer.node] = response.message
    result.num_errors += not response.result
    primary = [response.primary_key] if response.primary_key else []
    for counts, keys in ((result.keys, response.keys), (result.primary_keys, primary)):
        for key in key_counts(dict.fromkeys(keys, 1)):
            if key in counts or len(counts) < MAX_KEYS_LISTED:
                counts[key] = counts.get(key, 0) + 1


def key_counts(listed: object) -> dict[str, int]:
    """Members by key (base64) of a list that came from elsewhere, without what is no key or number."""
    counts: dict[str, int] = {}
    entries = listed.items() if isinstance(listed, dict) else ()
    for text, count in islice(entries, MAX_KEYS_LISTED):
        try:
            key = encode_key(decode_key(text))
        except KeyringError:
            continue  # no genuine member lists such a thing
        if type(count) is int:
            counts[key] = count
    return counts
