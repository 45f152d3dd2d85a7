"""``gossip keyring -rotate``: the safe sequence over HTTP, for any agent with Consul's keyring API.

    list -> install -> [nobody failed] -> use -> verify -> [nobody failed] -> remove, key by key

An operation succeeds only when every live member confirms it, so each arrow is n of n. A member that
failed would come back with old keys only and hear nobody: while there is one, the old keys stay.
"""

from __future__ import annotations

import base64
import os

from agent.client import ApiError
from agent.commands.base import CommandError, printable
from agent.commands.http import heading
from agent.commands.keyring import PATH, ask, key_argument

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.client import Client
    from agent.commands.base import Context

__all__ = ["rotate"]

FAILED = 4  # Serf's number of the status, as the API shows it
KEY_BYTES = 32  # AES-256
NO_KEY = "not a key"


class _StoppedError(Exception):
    """The rotation ends here, because of this."""


def rotate(context: Context, query: dict[str, object]) -> int:
    """Rotate to the key of the first argument, by default to a new one; 1 if old keys had to stay."""
    given = key_argument(context.args[0]) if context.args else ""
    key = given or base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")
    if _fingerprint(key) == NO_KEY:
        raise CommandError("the new key is not base64 of 16, 24 or 32 bytes")
    rotation = _Rotation(context, context.client(), key, query)
    with heading("Error rotating"):
        rotation.prepare()
    problem = ""
    try:
        rotation.run()
    except (ApiError, _StoppedError) as error:
        problem = rotation.redacted(str(error))
        rotation.report(rotation.action, rotation.about, problem)
    if context.json:
        result = {"Key": _fingerprint(key), "OK": not problem, "Steps": rotation.steps}
        context.print_json(result)
    elif problem:
        context.note("the cluster goes on with the keys it has; rotate again once this is solved")
    return 1 if problem else 0


class _Rotation:
    """One rotation; `action` and `about` name the step at hand and its key."""

    def __init__(
        self, context: Context, client: Client, key: str, query: dict[str, object]
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self.action, self.about = "list", key
        self._context = context
        self._client = client
        self._key = key
        self._query = query
        self._before: list[dict[str, Any]] = []
        self._known = {key}

    def prepare(self) -> None:
        """Look which keys there are.

        Raises:
            ApiError: the keys cannot be listed, so nothing was changed.
        """
        self._before = self._list()

    def run(self) -> None:
        """Do all steps.

        Raises:
            ApiError: an operation was not confirmed by everybody.
            _StoppedError: a member would be locked out.
        """
        self._step("install", self._key)
        self._begin("use", self._key)
        self._check_failed()
        self._step("use", self._key)
        self._begin("verify", self._key)
        after = self._list()
        self._check_moved(after)
        self.report("verify", self._key)
        old = {key for pool in (*self._before, *after) for key in pool.get("Keys") or {}}
        for key in sorted(old - {self._key}):
            self._begin("remove", key)
            self._check_failed()
            self._step("remove", key)

    def redacted(self, text: str) -> str:
        """The text without any key that is known."""
        for key in self._known:
            text = text.replace(key, f"(key {_fingerprint(key)})")
        return text

    def report(self, action: str, key: str, problem: str = "") -> None:
        """Tell how a step went."""
        step: dict[str, Any] = {"Action": action, "Key": _fingerprint(key), "OK": not problem}
        self.steps.append(step | ({"Problem": problem} if problem else {}))
        if not self._context.json:
            shown = problem.replace("\n", " ").replace("\t", "") or "ok"
            self._context.print(f"{action.ljust(7)}  {_fingerprint(key)}  {printable(shown)}")

    def _begin(self, action: str, key: str) -> None:
        self.action, self.about = action, key

    def _step(self, action: str, key: str) -> None:
        self._begin(action, key)
        ask(self._client, action, key, self._query)
        self.report(action, key)

    def _list(self) -> list[dict[str, Any]]:
        pools = self._client.request("GET", PATH, self._query).objects()
        self._known.update(key for pool in pools for key in pool.get("Keys") or {})
        if not pools:
            raise ApiError("the agent lists no pool")
        return pools

    def _check_failed(self) -> None:
        """Refuse to go on while a failed member of a pool may come back."""
        members = self._client.get("/v1/agent/members").objects()
        if any(pool.get("WAN") for pool in self._before):
            members += self._client.get("/v1/agent/members", {"wan": "1"}).objects()
        names = sorted(str(m.get("Name")) for m in members if m.get("Status") == FAILED)
        if names:
            raise _StoppedError(
                f"{', '.join(names)} failed and would come back without the new key: "
                "wait for it, or force it to leave"
            )

    def _check_moved(self, after: list[dict[str, Any]]) -> None:
        """Refuse to go on while a member does not have or use the new key."""
        counts = [pool.get("NumNodes") for pool in self._before]
        if counts != [pool.get("NumNodes") for pool in after]:
            raise _StoppedError("members came or went meanwhile: rotate again")
        for pool in after:
            total = pool.get("NumNodes")
            have = (pool.get("Keys") or {}).get(self._key, 0)
            if have != total:
                raise _StoppedError(f"only {have}/{total} nodes list the new key")
            primary = pool.get("PrimaryKeys")  # Consul before 1.11 does not tell
            if primary and primary.get(self._key, 0) != total:
                use = primary.get(self._key, 0)
                raise _StoppedError(f"only {use}/{total} nodes encrypt with the new key")


def _fingerprint(key: str) -> str:
    from gossip.wire.keyring import KeyringError, decode_key, fingerprint  # noqa: PLC0415 - slow

    try:
        return fingerprint(decode_key(key))
    except KeyringError:
        return NO_KEY
