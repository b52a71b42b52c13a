"""Sealing: a stream of bytes becomes a blob under a key of its own.

Rules
- A data key is 32 bytes of the system's generator and seals one blob.
- Key of the stream and commitment come from one HKDF (SHA-256) of data key and salt, under different labels: who knows
  the commitment knows nothing of the key, and no two keys share one.
- Header, then zstd inside Tink's streaming AEAD, as they come: memory does not grow with the stream.
- A blob that was not finished is no blob: it lacks its end, and opening refuses it.

It may not keep a key beyond the call, nor buffer what it seals anywhere but in memory.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import cache
from typing import IO, Any, Final, cast
from uuid import UUID

import zstandard
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tink import TinkError, cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from byokeep.core.envelope import COMMITMENT, FORMAT, SALT, Header, binding
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.manifest import Manifest, RecordPlace
from byokeep.core.secret import Secret
from byokeep.sealing.store import SealedBlob, Source, Target
from byokeep.sealing.stream import BUFFER, OpeningStream, Stop, Writing, in_thread

DEK: Final = 32  # bytes
LEVEL: Final = 3  # what the zstd command takes
WINDOW: Final = 21  # log2 of bytes; of a stream compressed at this level
SEGMENT: Final = 1024 * 1024  # bytes of sealed text
_STREAM: Final = f"{FORMAT} stream key".encode()
_COMMITMENT: Final = f"{FORMAT} key commitment".encode()
_JOB: Final = 2 * 1024 * 1024  # bytes; two threads work on one each
_THREADS: Final = 2
_TYPE: Final = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"


def new_dek() -> Secret:
    """Return a fresh data key of 32 bytes, which seals one blob and is then wrapped. Nothing older goes into it.

    Raises:
        Unavailable: ``no_randomness``: the system gives none, so there is no key.
    """
    try:
        return Secret(os.urandom(DEK))
    except (OSError, NotImplementedError):
        raise Unavailable("no_randomness", next_step="See to the system's source of randomness.") from None


def new_salt() -> bytes:
    """Return a salt for one blob."""
    return os.urandom(SALT)


def commitment(dek: Secret, salt: bytes) -> bytes:
    """Return what a header says of the key, 32 bytes.

    Raises:
        Rejected: ``bad_dek``: a key that is not 32 bytes.
    """
    return _derived(dek, salt, _COMMITMENT, COMMITMENT)


def stream_aead(dek: Secret, salt: bytes) -> Any:
    """Return Tink's streaming AEAD under the key of one blob.

    Raises:
        Rejected: ``bad_dek``: a key that is not 32 bytes.
    """
    _register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=_derived(dek, salt, _STREAM, DEK))
    key.params.ciphertext_segment_size = SEGMENT
    key.params.derived_key_size = DEK
    key.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = _TYPE
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    return cleartext_keyset_handle.from_keyset(keyset).primitive(streaming_aead.StreamingAead)


@cache
def _register() -> None:
    streaming_aead.register()


def _derived(dek: Secret, salt: bytes, label: bytes, size: int) -> bytes:
    key = dek.reveal()
    if len(key) != DEK:
        raise Rejected("bad_dek", next_step="A data key is 32 random bytes; unwrap the one of this blob.")
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=label).derive(key)


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
