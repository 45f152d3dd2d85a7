"""Challenges: why a copy of a sealed request does nothing when it is sent again.

A server hands out a random challenge, and obeys a request only if it names the current challenge or the
one before, and only once. A request that names another one is answered with the current challenge, and
the client, having done nothing yet, sends it again; from then on it knows the challenge, so in the long
run a request still takes one round trip. (HTTP's Digest scheme does this with its ``stale`` nonces.)

The other way, a time in each request and a window of seconds, was not taken: datacenters disagree about
the time, and a server that restarts or another server of the pool would take the copy, having not seen
the original. Challenges need no clock in common, die with the process, and belong to one server.

    current --LIFE seconds, or USES requests--> previous --the same again--> unknown

So what is remembered is bounded, and a request that somebody held back is void after two lives at most.
Only requests that a gossip key opened get here; a stranger cannot make the challenge change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Challenges"]

LIFE = 60.0
"""Seconds until a challenge becomes the previous one."""
USES = 8192
"""Requests until it does; each is remembered, in about 100 bytes, for as long as it would be obeyed."""


class Challenges:
    """The challenges of one server.

    Args:
        new_challenge: makes a text that nobody can guess.
    """

    def __init__(self, new_challenge: Callable[[], str]) -> None:
        self._new = new_challenge
        self._seen: dict[str, set[bytes]] = {}  # the previous challenge and the current one
        self._current = ""
        self._turns_at = 0.0

    def current(self, now: float) -> str:
        """The challenge to name in the next request."""
        if not self._current or now >= self._turns_at or len(self._seen[self._current]) >= USES:
            previous = self._seen.get(self._current, set())
            # Left alone for longer than that, the previous one is over as well.
            is_over = now >= self._turns_at + LIFE
            self._seen = {} if not self._current or is_over else {self._current: previous}
            self._current = self._new()
            self._seen[self._current] = set()
            self._turns_at = now + LIFE
        return self._current

    def use(self, challenge: str, salt: bytes, now: float) -> bool:
        """Use a challenge once; False when it is unknown, and nothing may be done.

        Args:
            challenge: that the request names.
            salt: of the request's envelope.
            now: seconds, monotonic.

        Raises:
            WireError: the request was here before.
        """
        self.current(now)
        seen = self._seen.get(challenge)
        if seen is None or len(seen) >= 2 * USES:
            return False
        if salt in seen:
            raise WireError("the request was here before", layer="forward")
        seen.add(salt)
        return True
