"""Opening: a blob becomes the stream that it was made of, or nothing.

Rules
- Header and commitment are checked before anything is decrypted, a segment is verified before it is decompressed, and
  the sink commits after the end of the blob was verified: size, digest, finality and the size of what came out.
- Whatever is wrong with blob, key, record or manifest, the error is the same one. A source that can not be read is not
  wrong: that is the source's own error.
- No more comes out than the record says, however well it is compressed.

It may not tell which check failed.
"""

from __future__ import annotations

from typing import IO, Any, Final, cast

import zstandard
from tink import TinkError

from byokeep.core.envelope import HEADER, binding, parse_header, refusal, require_commitment
from byokeep.core.errors import Rejected
from byokeep.core.manifest import RecordPlace
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.blob import SEGMENT, WINDOW, commitment, stream_aead
from byokeep.sealing.store import Sink, Source
from byokeep.sealing.stream import BUFFER, Ahead, OpeningStream, Stop, in_thread

_INNER: Final = 40  # bytes of the library's own header: its length, a salt, a nonce prefix
_TAG: Final = 16  # bytes


async def open_into(source: Source, sink: Sink, *, dek: Secret, record: SealedRecord, place: RecordPlace) -> None:
    """Open a blob into a sink, in a thread. The sink is committed or aborted, never neither.

    Args:
        source: The blob.
        sink: Where its content goes.
        dek: The record's key, unwrapped.
        record: What the store says of the blob.
        place: Which profile, at which generation, the caller wants.

    Raises:
        Integrity: ``sealed_blob_unreadable``: this is not, byte for byte, what was sealed as this profile.
        Exception: What source or sink raised.
    """
    await in_thread(lambda stop: open_now(source, sink, dek, record, place, stop))


def open_now(source: Source, sink: Sink, dek: Secret, record: SealedRecord, place: RecordPlace, stop: Stop) -> None:
    """As :func:`open_into`, in this thread; blocks."""
    try:
        _verified(OpeningStream(source, stop, counted=True, silent=True), sink, dek, record, place)
        stop.check()
    except BaseException as error:
        sink.abort()
        # Not the frames that it passed: they hold the library's buffers, for as long as anybody holds the error.
        error.__context__ = None
        raise error.with_traceback(None)  # noqa: B904
    sink.commit()


def _verified(reading: OpeningStream, sink: Sink, dek: Secret, record: SealedRecord, place: RecordPlace) -> None:
    """Write everything to the sink; returns only when all of the blob was verified."""
    if record.manifest.place != place:
        raise refusal()
    try:
        first = _first(reading)
        if failure := reading.took_failure():
            raise failure
        header = parse_header(first)
        require_commitment(header, commitment(dek, header.salt))
        stream = stream_aead(dek, header.salt).new_decrypting_stream(
            reading, binding(record.manifest, record.dek_id, header)
        )
    except (TinkError, Rejected):
        raise _cause(reading) from None
    opened = _Opened(stream, reading)
    with Ahead(opened.read, BUFFER) as ahead:
        _decompress(ahead, sink, record.packed_size)
    if not reading.size == record.blob_size == _blob_size(opened.size) or reading.digest() != record.blob_sha256:
        raise refusal()


def _first(reading: OpeningStream) -> bytes:
    """The header, or less when the blob is shorter."""
    parts, missing = [], HEADER
    while missing and (data := reading.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _blob_size(size: int) -> int:
    """Bytes of the only blob that holds a stream of ``size``: the library would also read an empty last segment."""
    first, other = SEGMENT - _INNER - _TAG, SEGMENT - _TAG
    segments = 1 + max(0, -(-(size - first) // other))
    return HEADER + _INNER + size + segments * _TAG


def _decompress(opened: Ahead, sink: Sink, packed_size: int) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW)
    # Across frames, so that what follows the first one is looked at as well; more than one gives more than was packed.
    source = cast("IO[bytes]", opened)
    plain = decompressor.stream_reader(source, read_size=BUFFER, read_across_frames=True, closefd=False)
    buffer = memoryview(bytearray(BUFFER))
    left = packed_size
    while True:
        try:
            size = plain.readinto(buffer)
        except zstandard.ZstdError:
            raise refusal() from None
        left -= size
        if left < 0:
            raise refusal()
        if not size:
            break
        sink.write(buffer[:size])
    if left or opened.read(BUFFER):
        raise refusal()


class _Opened:
    """What the library decrypted; what goes wrong is the one refusal, or the blob's own error."""

    def __init__(self, stream: Any, reading: OpeningStream) -> None:
        # The reader below the buffer, which would copy every segment once more; the buffer closes it when it goes away.
        self._buffered, self._stream = stream, stream.raw
        self._reading = reading
        self.size = 0

    def read(self, size: int = BUFFER) -> bytes:
        """Return verified bytes, none when the end was verified."""
        try:
            data = self._stream.read(size) or b""
        except (TinkError, ValueError):
            raise _cause(self._reading) from None
        if failure := self._reading.took_failure():
            raise failure
        self.size += len(data)
        return data


def _cause(reading: OpeningStream) -> BaseException:
    """The blob's own error if it could not be read, else the one refusal."""
    return reading.took_failure() or refusal()
