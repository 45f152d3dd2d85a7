"""Keys of the whole pool: every member is asked to change its keyring, and says how it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossip.errors import WireError
from gossip.events import MemberStatus, QueryAnswer
from gossip.wire.keyring import KeyringError, decode_key, encode_key, fingerprint
from gossip.wire.serf import KeyRequest, KeyResponse, decode_serf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gossip.aio import Cluster

__all__ = ["KeyManager", "KeyResult", "RotationStep"]

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
    def problem(self) -> str:
        """Why it is not `ok`, in one line with the members' own words; empty when it is."""
        parts = []
        if self.num_errors:
            parts.append(f"{self.num_errors}/{self.num_nodes} nodes reported failure")
            parts += [f"{node}: {text}" for node, text in sorted(self.messages.items())]
        if self.missing:
            parts.append(f"no answer of {', '.join(sorted(self.missing))}")
        return "; ".join(parts)


@dataclass(slots=True, frozen=True)
class RotationStep:
    """One step of a rotation, done or failed.

    Attributes:
        action: ``list``, ``install``, ``use``, ``verify`` or ``remove``.
        key: the key that it is about.
        result: what the members answered; None when they were not asked.
        problem: why the rotation ends here; empty when it goes on.
    """

    action: str
    key: bytes = field(repr=False)
    result: KeyResult | None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it worked."""
        return not self.problem

    @property
    def fingerprint(self) -> str:
        """Names the key without showing it."""
        return fingerprint(self.key)


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
        return await self._ask("install-key", key, relay_factor)

    async def use(self, key: bytes, *, relay_factor: int = 0) -> KeyResult:
        """Everybody encrypts with a key, which must be installed.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self._ask("use-key", key, relay_factor)

    async def remove(self, key: bytes, *, relay_factor: int = 0) -> KeyResult:
        """Everybody drops a key, which must not be the one in use.

        Nothing is checked first; `rotate` removes keys only when nobody needs them any more.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self._ask("remove-key", key, relay_factor)

    async def list(self, *, relay_factor: int = 0) -> KeyResult:
        """Who has which keys.

        Raises:
            LimitError: the query cannot be sent.
        """
        return await self._ask("list-keys", b"", relay_factor)

    async def rotate(
        self, key: bytes, *, relay_factor: int = 0, ignore_failed: bool = False
    ) -> AsyncIterator[RotationStep]:
        """Move the pool to a new key: install, use, and remove all others.

        Every step has to be confirmed by every member that is alive, and the new key has to be the
        primary one everywhere before an old one goes. A failed member would come back with old keys
        only and hear nobody, so while there is one the new key is installed but not used. Where a step
        fails the pool goes on with the keys it has; once the reason is gone, rotate again.

        Args:
            key: the new key.
            relay_factor: each answer comes through so many other members too.
            ignore_failed: members that failed are not waited for: they are gone for good.

        Yields:
            Each step when it is over. The one that is not `ok` is the last.
        """
        listed = await self.list(relay_factor=relay_factor)
        yield (step := RotationStep("list", key, listed, listed.problem))
        if not step.ok:
            return
        installed = await self.install(key, relay_factor=relay_factor)
        yield (step := RotationStep("install", key, installed, installed.problem))
        if not step.ok:
            return
        if failed := self._failed(ignore=ignore_failed):
            yield RotationStep("use", key, None, failed)
            return
        used = await self.use(key, relay_factor=relay_factor)
        yield (step := RotationStep("use", key, used, used.problem))
        if not step.ok:
            return
        verified = await self.list(relay_factor=relay_factor)
        problem = verified.problem or _unmoved(key, used, verified)
        yield (step := RotationStep("verify", key, verified, problem))
        if not step.ok:
            return
        for old in sorted({*listed.keys, *verified.keys} - {encode_key(key)}):
            old_key = decode_key(old)
            if failed := self._failed(ignore=ignore_failed):
                yield RotationStep("remove", old_key, None, failed)
                return
            removed = await self.remove(old_key, relay_factor=relay_factor)
            yield (step := RotationStep("remove", old_key, removed, removed.problem))
            if not step.ok:
                return

    def _failed(self, *, ignore: bool) -> str:
        """Why no key may be taken from failed members; empty when there are none."""
        members = self._cluster.members()
        names = sorted(m.name for m in members if m.status is MemberStatus.FAILED)
        if ignore or not names:
            return ""
        return (
            f"{', '.join(names)} failed and would come back without the new key: "
            "wait for it, or force it to leave"
        )

    async def _ask(self, operation: str, key: bytes, relay_factor: int) -> KeyResult:
        async with self._turn:
            result = KeyResult()
            members = self._cluster.members()
            waiting = {m.name for m in members if m.status is MemberStatus.ALIVE}
            result.num_nodes = len(waiting)
            async with self._cluster.query(
                f"_serf_{operation}", KeyRequest(key).encode(), relay_factor=relay_factor
            ) as replies:
                async for reply in replies:
                    if isinstance(reply, QueryAnswer):
                        _count(result, reply)
                        waiting.discard(reply.node)
                    if not waiting:
                        break
            result.missing = sorted(waiting)
            return result


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
        for text in keys:
            try:
                key = encode_key(decode_key(text))
            except KeyringError:
                continue  # no genuine member lists such a thing
            if key in counts or len(counts) < MAX_KEYS_LISTED:
                counts[key] = counts.get(key, 0) + 1


def _unmoved(key: bytes, used: KeyResult, listed: KeyResult) -> str:
    """Why the old keys are still needed although everybody said that it uses the new one."""
    wanted = encode_key(key)
    lacking = listed.num_responses - listed.keys.get(wanted, 0)
    elsewhere = sum(n for primary, n in listed.primary_keys.items() if primary != wanted)
    late = sorted(set(listed.answered) - set(used.answered))
    if lacking:
        return f"{lacking}/{listed.num_responses} nodes do not list the new key"
    if elsewhere:
        return f"{elsewhere}/{listed.num_responses} nodes still encrypt with another key"
    if late:
        return f"{', '.join(late)} joined meanwhile: rotate again"
    return ""
