"""Stream messages: what one direction of a TCP connection carries.

::

    dialer    [label header] message          acceptor    message

    message = type body                                   plain
            | 9  {Algo, Buf}                              compressed, Buf holds a plain message
            | 10 length(4) envelope                       encrypted, holds one of the above

A push/pull has no outer length: its header tells how many node records follow and how many bytes of
user state. `StreamReader` therefore reads as bytes arrive, without waiting for the peer to close and
without reserving memory for what a header merely announces.

States of a reader::

    LABEL --> ENVELOPE --+--> encrypted: whole envelope --> PLAIN
                         +--> PLAIN --+--> compressed: whole Buf, then in slices --> BODY
                                      +--> BODY --> DONE
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from gossip.errors import LimitError, WireError
from gossip.wire.body import BodyReader
from gossip.wire.codec import FieldError, MapStream, raw, u8
from gossip.wire.keyring import OVERHEAD as ENCRYPTION_OVERHEAD
from gossip.wire.limits import (
    ENCRYPTED_STREAM_MAX,
    LABEL_MAX,
    STREAM_COMPRESSED_MAX,
    STREAM_DECOMPRESSED_MAX,
    STREAM_SLICE,
)
from gossip.wire.lzw import Decompressor
from gossip.wire.messages import ErrorReply, Message, MessageType, field_error
from gossip.wire.packet import LayerSettings, compressed, split_label

__all__ = ["StreamCodec", "StreamReader"]

_ENCRYPT: Final = MessageType.ENCRYPT.value
_COMPRESS: Final = MessageType.COMPRESS.value
_HAS_LABEL: Final = MessageType.HAS_LABEL.value
_HEADER_SIZE: Final = 5  # type byte and length in front of an envelope


class StreamCodec(LayerSettings):
    """Wraps stream messages; the arguments are those of `LayerSettings`."""

    def encode(self, message: bytes, *, dialer: bool) -> bytes:
        """Wrap one encoded message for a stream.

        Args:
            message: type byte first; a user message in its stream form.
            dialer: whether we opened the connection; only the dialer's side carries the label.

        Raises:
            LimitError: it is larger than a peer would accept encrypted, 20 MiB.
        """
        if self.compress:
            message = compressed(message)
        if self.encrypts:
            length = len(message) + ENCRYPTION_OVERHEAD
            if length > ENCRYPTED_STREAM_MAX:
                raise LimitError(
                    f"a stream message of {length} bytes exceeds the limit of {ENCRYPTED_STREAM_MAX}"
                )
            header = bytes((_ENCRYPT,)) + length.to_bytes(4)
            message = header + self.seal(message, header + self.label_bytes)
        return self.label_header + message if dialer else message


class _Stage(Enum):
    LABEL = "label"
    ENVELOPE = "envelope"
    PLAIN = "plain"
    COMPRESSED = "compressed"
    EXPANDING = "expanding"
    BODY = "body"
    DONE = "done"


class StreamReader:
    """Reads the one message of a stream's inbound direction; feed it, then read it.

    Args:
        codec: keys, label and switches.
        dialer: whether we opened the connection; then an answer is read, which has no label.
        body: reads the plain message; given by tools that also want to see its bytes.

    After the message or a `WireError` the reader is done and ignores what it is fed.
    """

    def __init__(self, codec: StreamCodec, *, dialer: bool, body: BodyReader | None = None) -> None:
        self.layers: list[str] = []
        """Names of the wrappers found so far, outermost first."""
        self._codec = codec
        self._dialer = dialer
        self._stage = _Stage.ENVELOPE if dialer else _Stage.LABEL
        self._data = bytearray()
        self._sealed = False  # the data is an envelope's content: what arrives is not part of it
        self._stalled = True
        self._taken = 0
        self._packed: MapStream | None = None
        self._expander: Decompressor | None = None
        self._body: BodyReader | None = body if body is not None else BodyReader()

    @property
    def done(self) -> bool:
        """Whether the message was read or refused."""
        return self._stage is _Stage.DONE

    @property
    def busy(self) -> bool:
        """Whether `read` can go on without new data."""
        return not self._stalled and self._stage is not _Stage.DONE

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        if data and not self._sealed and self._stage is not _Stage.DONE:
            self._data += data
            self._stalled = False

    def read(self) -> Message | None:
        """Work on what was fed, for a few milliseconds at most; give the message when complete.

        None means that data is missing or, if `busy`, that `read` should be called again after
        others have had their turn.

        Raises:
            WireError: the stream is refused.
        """
        if self._stage is _Stage.DONE:
            return None
        try:
            message = self._step()
        except WireError:
            self._finish()
            raise
        if message is not None:
            self._finish()
        return message

    def feed_eof(self) -> None:
        """Note that the peer closed its side; call `read` until not `busy` before.

        Raises:
            WireError: it closed inside a message.
        """
        if self._stage is not _Stage.DONE:
            error = self._cut_short()
            self._finish()
            raise error

    def error_reply(self, error: WireError) -> bytes | None:
        """Give the bytes that tell the dialer why it was refused; None if it is not told.

        As in memberlist only an acceptor replies, and neither to a wrong label nor to a stream
        that just ended.
        """
        if self._dialer or error.layer in {"label", "stream"}:
            return None
        return self._codec.encode(ErrorReply(str(error)).encode(), dialer=False)

    def _finish(self) -> None:
        """Drop all that was kept."""
        self._stage = _Stage.DONE
        self._data = bytearray()
        self._packed = self._expander = self._body = None

    def _take(self, size: int) -> bytes:
        """Take bytes from the front of the data."""
        piece = bytes(self._data[:size])
        del self._data[:size]
        self._taken += len(piece)
        return piece

    def _cut_short(self) -> WireError:
        return WireError(
            f"stream: ends inside a message after {self._taken + len(self._data)} bytes",
            layer="stream",
            offset=self._taken + len(self._data),
        )

    def _step(self) -> Message | None:
        """Pass the stages for which there is data, and one slice of a message."""
        for stage, pass_stage in (
            (_Stage.LABEL, self._pass_label),
            (_Stage.ENVELOPE, self._pass_envelope),
            (_Stage.PLAIN, self._pass_type),
            (_Stage.COMPRESSED, self._pass_compressed),
        ):
            if self._stage is stage and not pass_stage():
                self._stalled = not self._data or stage is not _Stage.COMPRESSED
                if self._stalled and self._sealed:
                    raise self._cut_short()
                return None
        if self._expander is not None:
            return self._expand(self._expander)
        message = self._read_body(self._take(STREAM_SLICE))
        self._stalled = not self._data
        if message is None and self._stalled and self._sealed:
            raise self._cut_short()
        return message

    def _pass_label(self) -> bool:
        """Read the dialer's label; False when it has not arrived whole."""
        if not self._data:
            return False
        if self._data[0] == _HAS_LABEL and (
            len(self._data) < 2 or len(self._data) < 2 + self._data[1]
        ):
            return False
        label, end = split_label(bytes(self._data[: 2 + LABEL_MAX]))
        self._codec.check_label(label)
        if label is not None:
            self.layers.append("label")
            self._take(end)
        self._stage = _Stage.ENVELOPE
        return True

    def _pass_envelope(self) -> bool:
        """Read an envelope if there is one; False when it has not arrived whole."""
        if not self._data:
            return False
        keyring = self._codec.keyring
        if self._data[0] != _ENCRYPT:
            if keyring and self._codec.verify_incoming:
                raise WireError(
                    "Encryption is configured but remote state is not encrypted", layer="encrypt"
                )
            self._stage = _Stage.PLAIN
            return True
        if not keyring:
            raise WireError(
                "Remote state is encrypted and encryption is not configured", layer="encrypt"
            )
        if len(self._data) < _HEADER_SIZE:
            return False
        length = int.from_bytes(self._data[1:_HEADER_SIZE])
        if length > ENCRYPTED_STREAM_MAX:
            raise WireError(
                f"Remote node state is larger than limit ({length} of {ENCRYPTED_STREAM_MAX})",
                layer="encrypt",
                offset=1,
            )
        if len(self._data) < _HEADER_SIZE + length:
            return False
        header, envelope = self._take(_HEADER_SIZE), self._take(length)
        plain = keyring.decrypt(envelope, header + self._codec.label_bytes)
        self.layers.append(f"encrypt-v{envelope[0]}")
        self._data = bytearray(plain)
        self._sealed = True
        self._stage = _Stage.PLAIN
        return True

    def _pass_type(self) -> bool:
        """Tell a compressed message from others; False when there is no type byte."""
        if not self._data:
            return False
        if self._data[0] == _COMPRESS:
            self.layers.append("compress-lzw")
            self._take(1)
            self._packed = MapStream("compress", STREAM_COMPRESSED_MAX + 64)
            self._stage = _Stage.COMPRESSED
        else:
            self._stage = _Stage.BODY
        return True

    def _pass_compressed(self) -> bool:
        """Gather a compressed message, a slice per call; False when it is not there whole."""
        assert self._packed is not None  # noqa: S101 - made when this stage began
        if self._data:
            self._packed.feed(self._take(16 * STREAM_SLICE))  # copied only: larger slices do
        fields = self._packed.next()
        if fields is None:
            return False
        try:
            algorithm, content = u8(fields, b"Algo"), raw(fields, b"Buf")
        except FieldError as error:
            raise field_error(error, "compress", 1) from None
        if algorithm:
            raise WireError(
                f"compress: algorithm {algorithm} is unknown", layer="compress", offset=1
            )
        if len(content) > STREAM_COMPRESSED_MAX:
            raise WireError(
                f"compress: {len(content)} bytes exceed the limit of {STREAM_COMPRESSED_MAX}",
                layer="compress",
                offset=1,
            )
        self._packed = None
        self._expander = Decompressor(content, STREAM_DECOMPRESSED_MAX)
        self._stage = _Stage.EXPANDING
        return True

    def _expand(self, expander: Decompressor) -> Message | None:
        """Decompress and read one slice."""
        message = self._read_body(expander.step(STREAM_SLICE))
        if message is None and expander.finished:
            raise self._cut_short()
        return message

    def _read_body(self, piece: bytes) -> Message | None:
        """Read a slice of the plain message."""
        assert self._body is not None  # noqa: S101 - dropped when done only
        return self._body.feed(piece) if piece else None
