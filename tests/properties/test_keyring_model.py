"""The keyring compared with a list of keys, and what was sealed with which of them."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.errors import WireError
from gossip.wire.keyring import Keyring, KeyringError
from tests.effort import MACHINES

KEYS = [bytes((number,)) * size for number, size in ((1, 16), (2, 16), (3, 24), (4, 32))]
keys = st.sampled_from(KEYS)


class KeyringMachine(RuleBasedStateMachine):
    """A ring that an operator changes while packets are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Keyring()
        self.keys: list[bytes] = []
        self.sealed: list[tuple[bytes, bytes, bytes]] = []

    @rule(key=keys)
    def install(self, key: bytes) -> None:
        self.ring.install(key)
        if key not in self.keys:
            self.keys.append(key)

    @rule(key=keys)
    def use(self, key: bytes) -> None:
        if key in self.keys:
            self.ring.use(key)
            self.keys.remove(key)
            self.keys.insert(0, key)
        else:
            with pytest.raises(KeyringError):
                self.ring.use(key)

    @rule(key=keys)
    def remove(self, key: bytes) -> None:
        if self.keys[:1] == [key]:
            with pytest.raises(KeyringError):
                self.ring.remove(key)
        else:
            self.ring.remove(key)
            self.keys = [kept for kept in self.keys if kept != key]

    @rule(size=st.integers(2, 40).filter(lambda size: size not in {16, 24, 32}))
    def a_key_of_another_size(self, size: int) -> None:
        with pytest.raises(KeyringError):
            self.ring.install(bytes(size))

    @rule(
        plain=st.binary(max_size=40), version=st.sampled_from([0, 1]), label=st.binary(max_size=3)
    )
    def seal(self, plain: bytes, version: int, label: bytes) -> None:
        if self.keys:
            nonce = len(self.sealed).to_bytes(12)
            data = self.ring.encrypt(plain, label, nonce, version=version)
            assert self.ring.decrypt(data, label) == plain
            with pytest.raises(WireError):
                self.ring.decrypt(data, label + b"x")
            self.sealed = [*self.sealed, (self.keys[0], data, label)][-6:]

    @invariant()
    def the_ring_is_the_list(self) -> None:
        assert list(self.ring.keys) == self.keys
        assert (len(self.ring), bool(self.ring)) == (len(self.keys), bool(self.keys))
        assert self.ring.primary == (self.keys[0] if self.keys else None)
        assert not any(key.hex() in repr(self.ring) for key in KEYS)

    @invariant()
    def what_was_sealed_opens_while_its_key_is_there(self) -> None:
        for key, data, label in self.sealed:
            if key in self.keys:
                self.ring.decrypt(data, label)
            else:
                with pytest.raises(WireError):
                    self.ring.decrypt(data, label)


TestKeyring = KeyringMachine.TestCase
TestKeyring.settings = MACHINES
