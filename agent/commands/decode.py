"""``gossip decode``: what a captured packet or stream of the gossip protocol says."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from agent.commands.base import FORMAT, Command, CommandError
from agent.config_rules import decode_key
from agent.flags import Flag, UsageError
from gossip.errors import ConfigError, WireError
from gossip.wire.describe import describe_packet, describe_stream
from gossip.wire.limits import KEY_SIZES

if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]

_MAX_INPUT = 64 * 1024 * 1024  # bytes; more than any stream that a member accepts
_HEX = frozenset(b"0123456789abcdefABCDEF")
_FILLING = b" \t\r\n:"


def run(context: Context) -> int:
    """Decode one packet or stream and print it."""
    if len(context.args) > 1:
        raise UsageError(["too many arguments: one packet or stream at a time"])
    text = context.args[0] if context.args else "-"
    data = _read_stdin() if text == "-" else _from_hex(text.encode("utf-8", "replace"))
    if not data:
        raise CommandError("there is nothing to decode")
    keys = [_key(key) for key in context.flags.list("key")]
    describe = describe_stream if context.flags.on("stream") else describe_packet
    try:
        described = describe(data, keys=keys, label=context.flags.text("label"))
    except WireError as error:
        message = f"layer {error.layer}, offset {error.offset}: {error}"
        raise CommandError(message, Layer=error.layer, Offset=error.offset) from None
    context.print_json(_finite(described))
    return 0


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(data) > _MAX_INPUT:
        raise CommandError(f"the input exceeds {_MAX_INPUT} bytes")
    digits = _digits(data)
    # No message begins with a character of hex text: the message types are small numbers.
    return data if digits is None else _from_hex(data)


def _from_hex(text: bytes) -> bytes:
    digits = _digits(text)
    if digits is None or len(digits) % 2:
        reason = "an odd number of digits" if digits is not None else "other characters"
        raise CommandError(f"the input is not hex: it has {reason}")
    return bytes.fromhex(digits.decode("ascii"))


def _digits(text: bytes) -> bytes | None:
    """The hex digits of a text, or None when it holds anything else than them and filling."""
    digits = text.strip().removeprefix(b"0x").translate(None, _FILLING)
    return digits if _HEX.issuperset(digits) else None


def _key(text: str) -> bytes:
    """A key in hex or base64. Text that could be both is hex, which base64 hardly ever looks like."""
    if len(text) in {2 * size for size in KEY_SIZES} and _HEX.issuperset(text.encode()):
        return bytes.fromhex(text)
    try:
        return decode_key(text)
    except ConfigError:
        expected = "base64 or hex of 16, 24 or 32 bytes"
        raise UsageError([f"flag -key: the key is not {expected}"]) from None


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not know; a forged message may hold them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


COMMAND = Command(
    "decode",
    "[options] [hex | -]",
    "Decodes one captured UDP packet, or with -stream the bytes of one direction of a TCP exchange, "
    "and prints layers and messages as JSON. The input is hex, or - for stdin, which may be hex or "
    "raw bytes.\n\n"
    "Bytes that do not decode are reported on stderr with their layer and the offset in it; the exit "
    "code is then 1.",
    flags=(
        Flag("key", "Gossip key, in base64 or hex.", value="key", many=True, secret=True),
        Flag("label", "Label of the cluster.", value="text"),
        Flag("stream", "The input is a TCP stream."),
        FORMAT,
    ),
    examples=(
        ("gossip decode 0b81a55365714e6f0c", "Decode a nack."),
        ("gossip decode -key $(cat key) -stream - < stream.bin", "Decode an encrypted stream."),
    ),
    run=run,
)
