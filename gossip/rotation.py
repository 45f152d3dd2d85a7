"""Rotation: moving pools to a new key without locking anybody out.

    list -> install -> [nobody failed] -> use -> verify -> [nobody failed] -> remove, key by key

Every step has to be confirmed by every member that is alive, and the new key has to be the primary one
everywhere before an old one goes. A failed member would come back with old keys only and hear nobody, so
while there is one the new key is installed but not used. Where a step fails the pools go on with the keys
that they have; all steps can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from gossip.errors import GossipError
from gossip.wire.keyring import decode_key, encode_key, fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gossip.keys import KeyResult

__all__ = ["RotatedKeys", "RotationAction", "RotationError", "RotationStep", "rotate"]

RotationAction: TypeAlias = Literal["list", "install", "use", "verify", "remove"]
_FIRST: tuple[RotationAction, ...] = ("list", "install", "use", "verify")


class RotationError(GossipError):
    """A step was not done, or not by everybody; the text is for people."""


class RotatedKeys(Protocol):
    """The keys of a pool, or of several together, as a rotation needs them."""

    async def ask(self, action: RotationAction, key: bytes) -> KeyResult:
        """Have every member do a step; ``verify`` lists the keys as ``list`` does.

        Raises:
            RotationError: it cannot be said who did it.
        """

    async def failed(self) -> Sequence[str]:
        """Members that failed and may come back with the keys that they had."""


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


async def rotate(keys: RotatedKeys, key: bytes) -> AsyncIterator[RotationStep]:
    """Rotate to a key.

    Yields:
        Each step when it is over. The one that is not `ok` is the last.
    """
    done: dict[str, RotationStep] = {}
    for action in _FIRST:
        step = await _step(keys, action, key)
        if action == "verify" and step.ok:
            step = replace(step, problem=_unmoved(key, done["use"], step))
        yield step
        if not step.ok:
            return
        done[action] = step
    listed = {old for action in ("list", "verify") for old in _keys(done[action])}
    for old in sorted(listed - {encode_key(key)}):
        step = await _step(keys, "remove", decode_key(old))
        yield step
        if not step.ok:
            return


async def _step(keys: RotatedKeys, action: RotationAction, key: bytes) -> RotationStep:
    try:
        if action in {"use", "remove"} and (names := await keys.failed()):
            raise RotationError(
                f"{', '.join(names)} failed and would come back without the new key: "
                "wait for it, or force it to leave"
            )
        result = await keys.ask(action, key)
    except RotationError as error:
        return RotationStep(action, key, None, str(error))
    return RotationStep(action, key, result, result.problem)


def _keys(step: RotationStep) -> dict[str, int]:
    return step.result.keys if step.result else {}


def _unmoved(key: bytes, use: RotationStep, verify: RotationStep) -> str:
    """Why the old keys are still needed although everybody said that it uses the new one."""
    used, listed = use.result, verify.result
    assert used is not None  # noqa: S101 - a step without a result is the last
    assert listed is not None  # noqa: S101 - likewise
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
