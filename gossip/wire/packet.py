"""The layers of a UDP packet, outermost first; all but the message are optional.

::

    label | encryption | CRC-32 | compression | compound | message(s)

Label and encryption stand at the front once, the checksum right behind them once; compression and
compound may hold each other, to a bounded depth.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from gossip.errors import ConfigError, LimitError, WireError
from gossip.wire.codec import FieldError, decode_fields, pack, raw, u8
from gossip.wire.keyring import NONCE_SIZE, Keyring
from gossip.wire.keyring import OVERHEAD as ENCRYPTION_OVERHEAD
from gossip.wire.limits import (
    COMPOUND_PARTS_MAX,
    LABEL_MAX,
    NESTING_MAX,
    PACKET_DECOMPRESSED_MAX,
    PACKET_MAX,
)
from gossip.wire.lzw import compress, decompress
from gossip.wire.messages import MessageType, field_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LayerSettings", "PacketCodec", "is_probe_traffic", "split_label"]

_COMPOUND: Final = MessageType.COMPOUND.value
_COMPRESS: Final = MessageType.COMPRESS.value
_HAS_CRC: Final = MessageType.HAS_CRC.value
_HAS_LABEL: Final = MessageType.HAS_LABEL.value
_PROBE_TYPES: Final = frozenset(
    {
        MessageType.PING.value,
        MessageType.INDIRECT_PING.value,
        MessageType.ACK.value,
        MessageType.NACK.value,
        MessageType.ALIVE.value,
    }
)
_WRAPPERS: Final = frozenset({_COMPOUND, _COMPRESS, _HAS_CRC, _HAS_LABEL})


def split_label(data: bytes) -> tuple[bytes | None, int]:
    """Read the label in front of a packet and where the rest begins; None without a label.

    Raises:
        WireError: the label is cut short or empty.
    """
    if not data or data[0] != _HAS_LABEL:
        return None, 0
    if len(data) < 2:
        raise WireError("label: ends before its length", layer="label", offset=1)
    end = 2 + data[1]
    if end == 2:
        raise WireError("label: is empty", layer="label", offset=1)
    if len(data) < end:
        raise WireError(
            f"label: {data[1]} bytes are declared and {len(data) - 2} there",
            layer="label",
            offset=len(data),
        )
    return data[2:end], end


class LayerSettings:
    """What packets and streams of one pool have in common.

    Args:
        keyring: keys; None or empty for no encryption. It may change at any time.
        label: the pool's label; empty for none.
        skip_inbound_label_check: a proxy has taken the label off what arrives.
        verify_incoming: refuse what is not encrypted although there are keys.
        verify_outgoing: encrypt what is sent when there are keys.
        compress: compress what is sent; what arrives is always decompressed.
        new_nonce: gives 12 unpredictable bytes per call.

    Raises:
        ConfigError: the label is longer than 255 bytes.
    """

    def __init__(
        self,
        *,
        keyring: Keyring | None = None,
        label: str = "",
        skip_inbound_label_check: bool = False,
        verify_incoming: bool = True,
        verify_outgoing: bool = True,
        compress: bool = False,
        new_nonce: Callable[[], bytes],
    ) -> None:
        self.keyring = keyring if keyring is not None else Keyring()
        self.label = label
        self.label_bytes = label.encode()
        if len(self.label_bytes) > LABEL_MAX:
            raise ConfigError(
                f"label of {len(self.label_bytes)} bytes exceeds the limit of {LABEL_MAX}"
            )
        self.label_header = (
            bytes((_HAS_LABEL, len(self.label_bytes))) + self.label_bytes if label else b""
        )
        self.skip_inbound_label_check = skip_inbound_label_check
        self.verify_incoming = verify_incoming
        self.verify_outgoing = verify_outgoing
        self.compress = compress
        self.new_nonce = new_nonce

    def check_label(self, label: bytes | None) -> None:
        """Judge the label found in front of a packet or stream, None when there was none.

        Raises:
            WireError: it is not the one that is expected.
        """
        if self.skip_inbound_label_check:
            if label is not None:
                raise WireError(f"label: {label!r} is unexpected behind a proxy", layer="label")
        elif (label or b"") != self.label_bytes:
            raise WireError(f"label: {label or b''!r} is not {self.label_bytes!r}", layer="label")

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """Encrypt with the primary key and a fresh nonce."""
        nonce = self.new_nonce()
        assert len(nonce) == NONCE_SIZE  # noqa: S101 - the driver's callable
        return self.keyring.encrypt(plain, aad, nonce)

    @property
    def encrypts(self) -> bool:
        """Whether what is sent is encrypted."""
        return self.verify_outgoing and bool(self.keyring)


class _Budget:
    """What the compressed parts of one packet may still expand to, in bytes."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class PacketCodec(LayerSettings):
    """Wraps messages into packets and unwraps them; the arguments are those of `LayerSettings`.

    Attributes:
        dropped_parts: parts of compounds that were left out because they are cut short, empty or
            do not unwrap; the rest of their packet was accepted, as memberlist does.
    """

    dropped_parts: int = 0

    @property
    def overhead(self) -> int:
        """Bytes of label and encryption, to leave out of a packet's budget."""
        return len(self.label_header) + (ENCRYPTION_OVERHEAD if self.encrypts else 0)

    def encode(self, parts: Sequence[bytes], *, crc: bool = False) -> list[bytes]:
        """Wrap encoded messages into as few packets as 255 per compound allows.

        Args:
            parts: the messages, type byte first; several travel as a compound.
            crc: add the checksum, which members of memberlist protocol 5 and later understand.

        Raises:
            LimitError: one of several parts is longer than 65,535 bytes.
        """
        if len(parts) == 1:
            packets = [parts[0]]
        else:
            packets = [
                _compound(parts[start : start + COMPOUND_PARTS_MAX])
                for start in range(0, len(parts), COMPOUND_PARTS_MAX)
            ]
        if self.compress:
            packets = [_compressed_if_smaller(packet) for packet in packets]
        if crc:
            packets = [b"\x0c" + crc32(packet).to_bytes(4) + packet for packet in packets]
        if self.encrypts:
            packets = [self.seal(packet, self.label_bytes) for packet in packets]
        if self.label_header:
            packets = [self.label_header + packet for packet in packets]
        return packets

    def decode(self, data: bytes) -> list[bytes]:
        """Unwrap a packet into its messages, type byte first; `decode_message` reads them.

        Raises:
            WireError: the packet as a whole is refused.
        """
        if not self.label_header and not self.keyring and data and data[0] not in _WRAPPERS:
            return [data]
        return self.decode_layers(data, [])

    def decode_layers(self, data: bytes, layers: list[str]) -> list[bytes]:
        """Do as `decode`, and append the name of each wrapper to `layers`, outermost first."""
        label, start = split_label(data)
        self.check_label(label)
        if label is not None:
            layers.append("label")
            data = data[start:]
        if self.keyring:
            try:
                plain = self.keyring.decrypt(data, self.label_bytes)
            except WireError:
                if self.verify_incoming:
                    raise
            else:
                layers.append(f"encrypt-v{data[0]}")
                data = plain
        if len(data) >= 5 and data[0] == _HAS_CRC:
            layers.append("crc32")
            data = _checked(data)
        leaves: list[bytes] = []
        self._unwrap(data, leaves, layers, NESTING_MAX, _Budget(PACKET_DECOMPRESSED_MAX))
        return leaves

    def _unwrap(
        self, data: bytes, leaves: list[bytes], layers: list[str], depth: int, budget: _Budget
    ) -> None:
        """Append the messages in `data` to `leaves`."""
        if not data:
            raise WireError("a packet or part of one is empty", layer="packet")
        kind = data[0]
        if kind not in {_COMPOUND, _COMPRESS}:
            leaves.append(data)
            return
        if not depth:
            raise WireError(f"more than {NESTING_MAX} layers of wrappers", layer="packet")
        if kind == _COMPRESS:
            layers.append("compress-lzw")
            self._unwrap(_decompressed(data, budget), leaves, layers, depth - 1, budget)
            return
        layers.append("compound")
        for part in self._parts(data):
            if part and part[0] != _COMPOUND and part[0] != _COMPRESS:
                leaves.append(part)  # nearly all: the call below costs more than this packet
                continue
            try:
                self._unwrap(part, leaves, layers, depth - 1, budget)
            except WireError:
                self.dropped_parts += 1

    def _parts(self, data: bytes) -> list[bytes]:
        """Cut a compound into the parts that are there whole."""
        if len(data) < 2:
            raise WireError("compound: ends before its count", layer="compound", offset=1)
        count = data[1]
        position = 2 + 2 * count
        if len(data) < position:
            raise WireError(
                f"compound: ends inside the lengths of its {count} parts",
                layer="compound",
                offset=len(data),
            )
        parts: list[bytes] = []
        for index in range(2, position, 2):
            end = position + (data[index] << 8 | data[index + 1])
            if end > len(data):
                self.dropped_parts += count - len(parts)
                break
            parts.append(data[position:end])
            position = end
        return parts


def _compound(parts: Sequence[bytes]) -> bytes:
    count = len(parts)
    try:
        header = struct.pack(f">BB{count}H", _COMPOUND, count, *map(len, parts))
    except struct.error:
        largest = max(map(len, parts))
        raise LimitError(f"a part of {largest} bytes exceeds the limit of {PACKET_MAX}") from None
    return header + b"".join(parts)


def compressed(message: bytes) -> bytes:
    """Wrap one message into memberlist's compression."""
    return b"\x09" + pack({"Algo": 0, "Buf": compress(message)})


def _compressed_if_smaller(packet: bytes) -> bytes:
    wrapped = compressed(packet)
    return wrapped if len(wrapped) < len(packet) else packet


def _decompressed(data: bytes, budget: _Budget) -> bytes:
    fields = decode_fields(data[1:], "compress")
    try:
        algorithm, content = u8(fields, b"Algo"), raw(fields, b"Buf")
    except FieldError as error:
        raise field_error(error, "compress", 1) from None
    if algorithm:
        raise WireError(f"compress: algorithm {algorithm} is unknown", layer="compress", offset=1)
    available, budget.left = budget.left, 0  # a part that fails has used up what there was
    plain = decompress(content, available)
    budget.left = available - len(plain)
    return plain


def _checked(data: bytes) -> bytes:
    payload = data[5:]
    expected, actual = int.from_bytes(data[1:5]), crc32(payload)
    if expected != actual:
        raise WireError(
            f"crc32: {actual:08x} was computed and {expected:08x} declared",
            layer="crc32",
            offset=1,
        )
    return payload


def is_probe_traffic(data: bytes) -> bool:
    """Guess, without decoding, whether a packet's first message keeps somebody from being suspected.

    Pings, acks and alives go in front where packets have to wait. Behind a label, encryption or
    compression nothing shows, and all packets are alike.
    """
    start = 5 if data[:1] == b"\x0c" else 0
    if data[start : start + 1] == b"\x07" and len(data) > start + 1:
        start += 2 + 2 * data[start + 1]
    return len(data) > start and data[start] in _PROBE_TYPES
