"""The form of a sealed blob (docs/spec/sealed-blob.md), how it is sealed and opened, and the known answers checked
first.

Rules
- Making a :class:`Sealer` checks known answers, every time: a library that answers otherwise seals and opens nothing
  (S-GCM-13). The known blob comes from another implementation of the format, made by hand from AES-GCM and HKDF. It
  must open, must not open when one bit differs, and a fresh seal must open again.
- A data key is 32 bytes from the system's generator and seals one blob. The stream's key and the commitment come from
  one HKDF (SHA-256) of data key and salt, under different labels: the commitment tells nothing about the key.
- Header, then zstd inside Tink's streaming AEAD, as they come: memory does not grow with the stream. An unfinished blob
  is no blob: it lacks its end, and opening refuses it.
- The header has one length and one version: there is no older mode to fall back to. Header and commitment are checked
  in constant time before anything is decrypted. A segment is verified before it is decompressed. The sink commits after
  the end of the blob was verified: size, digest, finality and the size of what came out.
- Whatever is wrong with blob, key, record or manifest, the error is the same one (S-GCM-10). An unreadable source is
  not such a fault: that is the source's own error. No more comes out than the record says, however well it is
  compressed.

It may not keep a key beyond the call, or buffer what it seals anywhere but in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import IO, Any, Final, cast
from uuid import UUID

import zstandard
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tink import TinkError, cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.known_answer import require_answer
from byokeep.core.manifest import ExpectedAccount, Manifest, Packing, RecordPlace
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import MAGIC, SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.generation import (
    BUFFER,
    Ahead,
    OpeningStream,
    SealedBlob,
    Sink,
    Source,
    Stop,
    Target,
    Writing,
    in_thread,
)

BLOB_FORMAT: Final = "byokeep-sealed-blob/1"
VERSION: Final = 1
# zstd, then Tink's AES-GCM-HKDF streaming: SHA-256, AES-256, segments of 1 MiB.
SUITE: Final = 1
SALT: Final = 32  # bytes
COMMITMENT: Final = 32  # bytes
HEADER: Final = 80  # bytes
_SALT_AT: Final = 16


def header(salt: bytes, commitment: bytes) -> bytes:
    """Return what precedes the sealed stream, in clear.

    Args:
        salt: 32 random bytes, used only for this blob.
        commitment: 32 bytes, derived from key and salt; shows which key sealed the blob, but not the key.
    """
    return MAGIC + VERSION.to_bytes(2, "big") + SUITE.to_bytes(2, "big") + bytes(4) + salt + commitment


def refusal() -> Integrity:
    """Return the one error for a blob that cannot be opened as what it should be."""
    return Integrity("sealed_blob_unreadable", next_step="The blob is quarantined. See who can write to its store.")


def require_header(data: bytes, dek: Secret) -> bytes:
    """Return the salt in the first :data:`HEADER` bytes of a blob of this key; compares in constant time.

    Raises:
        Integrity: The one refusal, for another length, magic, version, suite, commitment, or bits that are not zero.
        Rejected: As :func:`commitment`.
    """
    salt = data[_SALT_AT : _SALT_AT + SALT]
    if not hmac.compare_digest(data, header(salt, commitment(dek, salt))):
        raise refusal()
    return salt


def binding(manifest: Manifest, dek_id: UUID, head: bytes) -> bytes:
    """Return the associated data: a blob opens as this profile, at this generation, with this manifest, or not at all.

    Every field has one spelling and ends with a line end, which none can contain, so two different sets of fields never
    give the same bytes.
    """
    place = manifest.place
    fields = (
        BLOB_FORMAT, place.environment.value, str(place.client_id), str(place.profile_id), str(place.generation),
        str(dek_id), manifest.hash.hex(), head.hex(),
    )  # fmt: skip
    return "".join(field + "\n" for field in fields).encode("ascii")


DEK: Final = 32  # bytes
LEVEL: Final = 3  # the zstd command's default
WINDOW: Final = 21  # log2 of bytes, for a stream compressed at this level
SEGMENT: Final = 1024 * 1024  # bytes of sealed text
_STREAM: Final = f"{BLOB_FORMAT} stream key".encode()
_COMMITMENT: Final = f"{BLOB_FORMAT} key commitment".encode()
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
        raise Unavailable("no_randomness", next_step="Fix the system's source of randomness.") from None


def commitment(dek: Secret, salt: bytes) -> bytes:
    """Return what a header says about the key, 32 bytes.

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
        raise Rejected("bad_dek", next_step="Unwrap the data key of this blob: it is 32 random bytes.")
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=label).derive(key)


async def seal(
    source: Source, target: Target, *, dek: Secret, dek_id: UUID, manifest: Manifest, place: RecordPlace
) -> SealedBlob:
    """Seal everything that a source gives, in a thread.

    Args:
        source: What is sealed: a packed profile.
        target: Where the blob goes; if this raises, the caller drops what is there.
        dek: A fresh key; the caller makes sure that it seals nothing else.
        manifest: What the profile is; bound to the blob.
        place: Which profile the caller means.

    Raises:
        Rejected: ``manifest_of_another_profile``, ``bad_dek``, ``nothing_to_seal``.
        Unavailable: ``sealing_failed``: the library failed.
        Exception: What source or target raised.
    """
    if manifest.place != place:
        raise Rejected("manifest_of_another_profile", next_step="Seal a profile with the manifest made for it.")
    return await in_thread(lambda stop: seal_now(source, target, dek, dek_id, manifest, stop))


def seal_now(source: Source, target: Target, dek: Secret, dek_id: UUID, manifest: Manifest, stop: Stop) -> SealedBlob:
    """Do as :func:`seal` does, in this thread; blocks."""
    salt = os.urandom(SALT)
    head = header(salt, commitment(dek, salt))
    reading, writing = OpeningStream(source, stop), Writing(target, stop)
    sealed: Any = None
    try:
        writing.write(head)
        sealed = stream_aead(dek, salt).new_encrypting_stream(writing, binding(manifest, dek_id, head))
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
    """Return the error that says what happened: a stream's before a library's."""
    if failure := writing.took_failure() or reading.took_failure():
        return failure
    if isinstance(error, TinkError | zstandard.ZstdError | io.UnsupportedOperation):
        return Unavailable("sealing_failed")
    return error


def _let_go(sealed: Any) -> None:
    """End the library's object now, while what it writes goes nowhere; after a success it is already closed."""
    if sealed is not None and not sealed.closed:
        with suppress(TinkError, OSError, ValueError):
            sealed.close()


_INNER: Final = 40  # bytes of the library's own header: its length, a salt, a nonce prefix
_TAG: Final = 16  # bytes


async def open_into(source: Source, sink: Sink, *, dek: Secret, record: SealedRecord, place: RecordPlace) -> None:
    """Open a blob into a sink, in a thread. The sink is always committed or aborted.

    Args:
        source: The blob.
        sink: Where its content goes.
        dek: The record's key, unwrapped.
        record: What the store says about the blob.
        place: Which profile, at which generation, the caller wants.

    Raises:
        Integrity: ``sealed_blob_unreadable``: this is not, byte for byte, what was sealed as this profile.
        Exception: What source or sink raised.
    """
    await in_thread(lambda stop: open_now(source, sink, dek, record, place, stop))


def open_now(source: Source, sink: Sink, dek: Secret, record: SealedRecord, place: RecordPlace, stop: Stop) -> None:
    """Do as :func:`open_into` does, in this thread; blocks."""
    try:
        _verified(OpeningStream(source, stop, counted=True, silent=True), sink, dek, record, place)
        stop.check()
    except BaseException as error:
        sink.abort()
        # Without the frames that it passed: they hold the library's buffers for as long as anybody holds the error.
        error.__context__ = None
        raise error.with_traceback(None)  # noqa: B904
    sink.commit()


def _verified(reading: OpeningStream, sink: Sink, dek: Secret, record: SealedRecord, place: RecordPlace) -> None:
    """Write everything to the sink; returns only when all of the blob was verified."""
    if record.manifest.place != place:
        raise refusal()
    try:
        head = _first(reading)
        if failure := reading.took_failure():
            raise failure
        bound = binding(record.manifest, record.dek_id, head)
        stream = stream_aead(dek, require_header(head, dek)).new_decrypting_stream(reading, bound)
    except (TinkError, Rejected):
        raise _opening_cause(reading) from None
    opened = _Opened(stream, reading)
    with Ahead(opened.read, BUFFER) as ahead:
        _decompress(ahead, sink, record.packed_size)
    if not reading.size == record.blob_size == _blob_size(opened.size) or reading.digest() != record.blob_sha256:
        raise refusal()


def _first(reading: OpeningStream) -> bytes:
    """Return the header, or less if the blob is shorter."""
    parts, missing = [], HEADER
    while missing and (data := reading.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _blob_size(size: int) -> int:
    """Return the size of the only blob for a stream of ``size`` bytes; the library also reads an empty last segment."""
    first, other = SEGMENT - _INNER - _TAG, SEGMENT - _TAG
    segments = 1 + max(0, -(-(size - first) // other))
    return HEADER + _INNER + size + segments * _TAG


def _decompress(opened: Ahead, sink: Sink, packed_size: int) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW)
    # Across frames, so that what follows the first is checked too; more than one gives more than was packed.
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
    """What the library decrypted. A failure is the one refusal, or the blob's own error."""

    def __init__(self, stream: Any, reading: OpeningStream) -> None:
        # The reader below the buffer, which would copy every segment again; the buffer closes it when it goes away.
        self._buffered, self._stream = stream, stream.raw
        self._reading = reading
        self.size = 0

    def read(self, size: int = BUFFER) -> bytes:
        """Return verified bytes, none once the end was verified."""
        try:
            data = self._stream.read(size) or b""
        except (TinkError, ValueError):
            raise _opening_cause(self._reading) from None
        if failure := self._reading.took_failure():
            raise failure
        self.size += len(data)
        return data


def _opening_cause(reading: OpeningStream) -> BaseException:
    """Return the blob's own error if it could not be read, else the one refusal."""
    return reading.took_failure() or refusal()


_ANSWER: Final = b"byokeep known answer"
_DEK: Final = bytes(range(32))
_SALT: Final = bytes(range(32, 64))
_KNOWN_COMMITMENT: Final = bytes.fromhex("3dcb50fdb1e247e462e8ae3b78058a158a368ef9ee2edb46223c3d373bd6d29c")
_SEALED: Final = bytes.fromhex(
    "3fbaa3d3483581ed2569f7bc7dd5ecbe3642eb127ca9fc1e150f9a45ebd4c6c0a3dd221680322a6412caa12429"
)
_BLOB: Final = (
    b"BYOKSEAL" + bytes.fromhex("0001000100000000") + _SALT + _KNOWN_COMMITMENT
    + b"\x28" + bytes(range(64, 103)) + _SEALED
)  # fmt: skip


class Sealer:
    """Makes blobs and opens them. Making it checks the known answers, which blocks for a few milliseconds.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """

    new_dek = staticmethod(new_dek)
    seal = staticmethod(seal)
    open_into = staticmethod(open_into)

    def __init__(self) -> None:
        require_answer(_held, libraries="versions of tink and zstandard")


def _held() -> bool:
    record = _record(_BLOB, UUID(int=4))
    altered = _BLOB[:-1] + bytes([_BLOB[-1] ^ 1])
    return (
        commitment(Secret(_DEK), _SALT) == _KNOWN_COMMITMENT
        and _opened(_BLOB, Secret(_DEK), record) == _ANSWER
        and _opened(altered, Secret(_DEK), _record(altered, UUID(int=4))) is None
        and _round_trip()
    )


def _round_trip() -> bool:
    dek, dek_id, target = new_dek(), UUID(int=5), io.BytesIO()
    seal_now(io.BytesIO(_ANSWER), target, dek, dek_id, _manifest(), Stop())
    blob = target.getvalue()
    return _opened(blob, dek, _record(blob, dek_id)) == _ANSWER


def _opened(blob: bytes, dek: Secret, record: SealedRecord) -> bytes | None:
    sink = _Sink()
    try:
        open_now(io.BytesIO(blob), sink, dek, record, record.manifest.place, Stop())
    except Integrity:
        return None
    return sink.getvalue()


def _record(blob: bytes, dek_id: UUID) -> SealedRecord:
    return SealedRecord(
        manifest=_manifest(), dek_id=dek_id, wrapped_dek="known-answer" * 4, kek=KeyRef("transit", "known-answer"),
        kek_version=1, blob_sha256=hashlib.sha256(blob).digest(), blob_size=len(blob), packed_size=len(_ANSWER),
    )  # fmt: skip


def _manifest() -> Manifest:
    account = ExpectedAccount(
        platform=Provider.X, account="acme", account_id="4711", username="acme", display_name="Acme Büro"
    )
    return Manifest(
        environment=Environment.PRODUCTION, client_id=ClientId(UUID(int=1)), profile_id=ProfileId(UUID(int=2)),
        generation=1, platforms=(Provider.X,), accounts=(account,), created_by=UUID(int=3),
        created_at=datetime(2026, 3, 1, 12, tzinfo=UTC), packing=Packing.PORTABLE, browser_version="156.0.8078.79",
    )  # fmt: skip


class _Sink(io.BytesIO):
    def commit(self) -> None:
        """It is read only when opening it has returned."""

    def abort(self) -> None:
        """It is not read."""
