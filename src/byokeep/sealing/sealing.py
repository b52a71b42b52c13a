"""Sealing: a stream of bytes becomes a blob.

Rules
- Header, then zstd inside Tink's streaming AEAD, as they come: memory does not grow with the stream.
- A blob that was not finished is no blob: it lacks its end, and opening refuses it.

It may not buffer what it seals anywhere but in memory.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import IO, Any, Final, cast
from uuid import UUID

import zstandard
from tink import TinkError

from byokeep.core.envelope import Header, binding
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.manifest import Manifest, RecordPlace
from byokeep.core.secret import Secret
from byokeep.sealing.keys import commitment, new_salt, stream_aead
from byokeep.sealing.ports import SealedBlob, Source, Target
from byokeep.sealing.stream import BUFFER, OpeningStream, Stop, Writing, in_thread

LEVEL: Final = 3  # what the zstd command takes
WINDOW: Final = 21  # log2 of bytes; of a stream compressed at this level
_JOB: Final = 2 * 1024 * 1024  # bytes; two threads work on one each
_THREADS: Final = 2


async def seal(
    source: Source, target: Target, *, dek: Secret, dek_id: UUID, manifest: Manifest, place: RecordPlace
) -> SealedBlob:
    """Seal everything that a source gives, in a thread.

    Args:
        source: What is sealed: a packed profile.
        target: Where the blob goes; the caller drops what is there when this raises.
        dek: A fresh key; the caller sees to it that it seals nothing else.
        manifest: What the profile is; bound to the blob.
        place: Which profile the caller means.

    Raises:
        Rejected: ``manifest_of_another_profile``, ``bad_dek``, ``nothing_to_seal``.
        Unavailable: ``sealing_failed``: the library did.
        Exception: What source or target raised.
    """
    if manifest.place != place:
        raise Rejected("manifest_of_another_profile", next_step="Seal a profile with the manifest made for it.")
    return await in_thread(lambda stop: seal_now(source, target, dek, dek_id, manifest, stop))


def seal_now(source: Source, target: Target, dek: Secret, dek_id: UUID, manifest: Manifest, stop: Stop) -> SealedBlob:
    """As :func:`seal`, in this thread; blocks."""
    salt = new_salt()
    header = Header(salt=salt, commitment=commitment(dek, salt))
    reading, writing = OpeningStream(source, stop), Writing(target, stop)
    sealed: Any = None
    try:
        writing.write(bytes(header))
        sealed = stream_aead(dek, salt).new_encrypting_stream(writing, binding(manifest, dek_id, header))
        _compress(reading, sealed)
        if not reading.size:
            raise Rejected("nothing_to_seal")
        stop.check()
        sealed.close()
        stop.check()  # the last write may have failed
    except BaseException as error:
        writing.given_up = True
        raise _cause(error, reading, writing) from None
    finally:
        _let_go(sealed)
    return SealedBlob(sha256=writing.digest(), size=writing.size, packed_size=reading.size)


def _compress(reading: OpeningStream, sealed: Any) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=WINDOW, threads=_THREADS, job_size=_JOB, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    compressor.copy_stream(cast("IO[bytes]", reading), sealed, read_size=BUFFER, write_size=BUFFER)


def _cause(error: BaseException, reading: OpeningStream, writing: Writing) -> BaseException:
    """The error that says what happened: that of a stream before that of a library."""
    if failure := writing.took_failure() or reading.took_failure():
        return failure
    if isinstance(error, TinkError | zstandard.ZstdError | io.UnsupportedOperation):
        return Unavailable("sealing_failed")
    return error


def _let_go(sealed: Any) -> None:
    """End the library's object now, while what it writes goes nowhere; after a success it is closed already."""
    if sealed is not None and not sealed.closed:
        with suppress(TinkError, OSError, ValueError):
            sealed.close()
