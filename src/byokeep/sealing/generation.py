"""One sealed generation and the one path to and from it, used by service and SDK: into the artifact store and back.

Rules
- The row says which manifest, which key, which blob. Neither the artifact store nor whoever read the record is believed
  (ADR 0033). A missing record and a missing key are named. Everything else that is wrong is the same error, and the
  caller also learns whose things were found there (R5.3-15).
- A fresh key for each blob, wrapped before a byte is sealed: without OpenBao there is no blob (R5.3-1, R5.3-3). A key
  in clear is a Secret that its user wipes.
- The content streams between workspace, sealer and store and is nowhere else (R5.3-7). Only a few pieces are under way
  or read ahead, so memory does not grow when one side is slow. A failure on one side ends the other, with the first
  side's own error. Nothing of a blob is visible before all of it was verified (R5.3-22).
- A stream's error stays its own: the library would turn it into one of the library's, so it is kept and raised again.
  After a failure nothing more is written: the library ends a stream when its object goes away, and an abandoned blob
  must not be ended properly. Whoever leaves early waits until the reading has stopped.

It may not read or write a record, know a library that seals, or decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.kek import KekFault, KeyContext, Wrapped
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Manifest, RecordPlace
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.sealed_record import ArtifactKey, SealedRecord, StoredArtifact, blob_key, parse_record
from byokeep.core.secret import Secret
from byokeep.kernel.ports import ArtifactStore
from byokeep.process import to_its_end

ALTERED: Final = "sealed_profile_altered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One sealed state: which blob, which key, where its record is. ``gone_at``: blob and record are destroyed.

    ``accounts_hash``: its manifest's. None: not known, as of one that an older release sealed; not told to a runner.
    """

    client_id: ClientId
    profile_id: UUID
    generation: int
    dek_id: UUID
    holder: str
    kek_id: str
    kek_version: int
    blob_key: str
    blob_sha256: bytes
    blob_size: int
    packed_size: int
    manifest_hash: bytes
    record_version: int
    browser_version: str
    key_state: KeyState
    sealed_at: datetime
    sealed_by: UUID
    job_id: UUID
    store_request: str
    gone_at: datetime | None
    accounts_hash: bytes | None = None

    @property
    def at(self) -> dict[str, object]:
        """Its row."""
        return {"client_id": self.client_id, "profile_id": self.profile_id, "generation": self.generation}


@dataclass(slots=True, kw_only=True)
class StoredGeneration:
    """What was found in a profile's place, to find out whose it is. Filled as far as it got."""

    dek_id: UUID | None = None
    profile_id: UUID | None = None
    digest: bytes | None = None


def key_of(generation: Generation) -> ArtifactKey:
    """Return where a generation's blob is: under a random name that is used once, the key's own id."""
    return blob_key(generation.client_id, generation.profile_id, generation.generation, generation.dek_id)


def agreed(text: bytes, generation: Generation, environment: Environment, *, found: StoredGeneration) -> SealedRecord:
    """Parse the record of a generation, whoever it came from.

    Raises:
        Integrity: ``dek_missing``; ``sealed_profile_altered``: it is not the one that the row was written with.
    """
    record = parsed(text, found)
    check_same(record, generation, environment)
    return record


def check_same(record: SealedRecord, generation: Generation, environment: Environment) -> None:
    """Pass if this is the record that the row was written with. Raises Integrity(``sealed_profile_altered``)."""
    same = (
        record.manifest.place == place_of(generation, environment)
        and record.manifest.hash == generation.manifest_hash
        and record.dek_id == generation.dek_id
        and record.blob_sha256 == generation.blob_sha256
        and record.blob_size == generation.blob_size
        and record.kek.holder == generation.holder
        and record.kek.key_id == generation.kek_id
    )
    if not same:
        raise altered()


def place_of(generation: Generation, environment: Environment) -> RecordPlace:
    """Return what a generation's manifest and key must be bound to."""
    return RecordPlace(
        environment=environment, client_id=generation.client_id, profile_id=ProfileId(generation.profile_id),
        generation=generation.generation,
    )  # fmt: skip


def missing(code: str) -> Integrity:
    """Return the error for a part that is missing."""
    return Integrity(code, next_step="Restore an older generation, or log in again. Find out who removed it.")


def altered() -> Integrity:
    """Return the one error for a part that is not what was sealed."""
    return Integrity(ALTERED, next_step="The profile is quarantined. Find out who can write to its stores.")


def parsed(text: bytes, found: StoredGeneration) -> SealedRecord:
    """Parse a record and note whose it is. Raises Integrity: ``dek_missing``, ``sealed_profile_altered``."""
    if _keyless(text):
        raise missing("dek_missing")
    try:
        record = parse_record(text)
    except Integrity:
        raise altered() from None
    found.dek_id, found.profile_id = record.dek_id, record.manifest.profile_id
    return record


def _keyless(text: bytes) -> bool:
    """Whether a record lacks its wrapped key and nothing else can be said about it."""
    try:
        said = read_json(text)
    except ValueError:
        return False
    return isinstance(said, dict) and "manifest" in said and not said.get("wrapped_dek")


BUFFER: Final = 1024 * 1024  # bytes
_AHEAD: Final = 3  # pieces that are read ahead
_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still accepts
_UNDER_WAY: Final = 4  # pieces between a sealer and a store
T = TypeVar("T")


class Stop(threading.Event):
    """Tells work in another thread that nobody waits for it any more: then it is ``set``."""

    def check(self) -> None:
        """Stop if asked to.

        Raises:
            Unavailable: ``sealing_given_up``.
        """
        if self.is_set():
            raise Unavailable("sealing_given_up")


async def in_thread(work: Callable[[Stop], T]) -> T:
    """Run work in a thread. A cancelled caller waits until the work has stopped: no sink changes behind its back."""
    stop = Stop()
    return await to_its_end(asyncio.to_thread(work, stop), hurry=stop.set)


class _Counted:
    """What passes through the library: counted and digested. A stream's own error is kept until somebody takes it."""

    closed = False

    def __init__(self, stop: Stop) -> None:
        self._stop, self._sha256 = stop, hashlib.sha256()
        self.size = 0
        self.failure: BaseException | None = None

    def took_failure(self) -> BaseException | None:
        """Return the stream's own error and forget it: keeping it would keep everything that it passed through."""
        failure, self.failure = self.failure, None
        return failure

    def digest(self) -> bytes:
        """Return the SHA-256 of what has passed."""
        return self._sha256.digest()

    def close(self) -> None:
        """Do nothing: whoever gave the stream closes it."""


class OpeningStream(_Counted):
    """A source as the library wants it.

    Args:
        counted: Whether to take the SHA-256 of what passes.
        silent: Whether an error is kept and ends the stream, instead of being raised: the library never releases one
            that passes through it, or what that holds. A silent reader asks :meth:`took_failure`.
    """

    def __init__(self, source: Source, stop: Stop, *, counted: bool = False, silent: bool = False) -> None:
        super().__init__(stop)
        self._source, self._counted, self._silent = source, counted, silent

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = BUFFER) -> bytes:
        """Return 1 to ``size`` bytes, none at the end."""
        try:
            self._stop.check()
            data = self._source.read(size)
        except BaseException as error:
            self.failure = error
            if self._silent:
                return b""
            raise
        self.size += len(data)
        if self._counted:
            self._sha256.update(data)
        return data


class Writing(_Counted):
    """A target as the library wants it, which falls silent when it is given up.

    An error is kept, not raised, for the reason given at :class:`OpeningStream`; it tells the work to stop.
    """

    def __init__(self, target: Target, stop: Stop) -> None:
        super().__init__(stop)
        self._target = target
        self.given_up = False

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes) -> int:
        """Pass ``data`` on, unless given up; returns its length in any case."""
        if self.given_up:
            return len(data)
        try:
            self._target.write(data)
        except BaseException as error:
            self.failure, self.given_up = error, True
            self._stop.set()
            return len(data)
        self.size += len(data)
        self._sha256.update(data)
        return len(data)


class Ahead:
    """Calls ``read`` in a thread of its own until it returns nothing; leaving the block ends the thread.

    Args:
        read: Returns the next piece, at most ``size`` bytes, none at the end.
        size: Bytes of a piece.
    """

    def __init__(self, read: Callable[[int], bytes], size: int) -> None:
        self._read, self._size = read, size
        self._pool = ThreadPoolExecutor(1, "sealing-ahead")
        self._ready: deque[Future[bytes]] = deque()
        self._over = threading.Event()

    def __enter__(self) -> Ahead:
        self._ready.extend(self._pool.submit(self._piece) for _ in range(_AHEAD))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._pool.shutdown(cancel_futures=True)
        # An error holds the frames it passed; they hold the decompressor, which holds this and which no garbage
        # collection sees. Kept here, the error would keep all of it, buffers included, for good.
        self._ready.clear()

    def read(self, size: int) -> bytes:
        """Return the next piece, none at the end. Raises what the reading raised, each time."""
        piece = self._ready[0].result() if self._ready else b""
        if piece:
            self._ready.popleft()
            self._ready.append(self._pool.submit(self._piece))
        return piece

    def _piece(self) -> bytes:
        """Return the first piece in line. The end or an error stays there, so whoever reads on meets it again."""
        if self._over.is_set():
            return b""
        try:
            piece = self._read(self._size)
        except BaseException:
            self._over.set()
            raise
        if not piece:
            self._over.set()
        return piece


class _Bridge:
    """Connects a thread with the loop that made this; ``break_off`` frees the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._broken = False

    def break_off(self) -> None:
        """Say that the other side is gone."""
        self._broken = True

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work in the loop, from the thread. Raises Unavailable(``stream_broken``)."""
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            if self._broken:
                asked.cancel()
                raise Unavailable("stream_broken")
            try:
                return asked.result(_LOOK_S)
            except NotYet:
                if asked.done():
                    raise


class DownloadStream(_Bridge):
    """A source that is read in a thread and fed by a stream."""

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""
        self._taking = asyncio.Lock()

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, none at the end. Raises what the stream raises."""
        while not self._rest:
            piece = self._wait(self._piece())
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    async def _piece(self) -> bytes | None:
        async with self._taking:
            return await anext(self._chunks, None)

    async def close(self) -> None:
        """Let go of what the stream holds, once nobody waits for a piece of it."""
        async with self._taking:
            await self._chunks.aclose()


class UploadStream(_Bridge):
    """A target that is written in a thread and read as a stream: a store is given :meth:`chunks`."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_UNDER_WAY)

    def write(self, data: bytes) -> int:
        """Pass a piece on. Raises Unavailable(``stream_broken``) if nobody takes any more."""
        self._wait(self._queue.put(bytes(data)))
        return len(data)

    async def finish(self) -> None:
        """Say that this was all."""
        if not self._broken:
            await self._queue.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is written, to its end."""
        while (piece := await self._queue.get()) is not None:
            yield piece


if TYPE_CHECKING:
    from byokeep.sealing.sealer import Sealer
    from byokeep.sealing.transit import TransitKeys

_READABLE: Final = frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED})
_ANY_SIZE: Final = 2**62


class Source(Protocol):
    """Where bytes come from; called in another thread."""

    def read(self, size: int, /) -> bytes:
        """Return 1 to ``size`` bytes, none at the end."""


class Target(Protocol):
    """Where a blob goes; called in another thread. Whoever seals into it drops it if sealing fails."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Sink(Protocol):
    """Where opened bytes go; called in another thread. Nothing of it may be visible before ``commit``."""

    def write(self, data: memoryview, /) -> object:
        """Take all of ``data``, which is overwritten after the call."""

    def commit(self) -> object:
        """Make it visible: everything was verified. Called once, last."""

    def abort(self) -> object:
        """Drop everything. Called once, last, instead of ``commit``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBlob:
    """What a blob's record says about it: SHA-256 (32 bytes), its size, and the size of what it was made of."""

    sha256: bytes
    size: int
    packed_size: int


def _must_be_wrapped(dek: Secret, ciphertext: str) -> None:
    """Refuse a key that a holder of keys returned unwrapped, in any spelling. Raises Integrity(``dek_not_wrapped``)."""
    body = ciphertext.rpartition(":")[2]
    for decoded in (base64.b64decode, base64.urlsafe_b64decode, bytes.fromhex):
        with suppress(ValueError):
            if dek.matches(decoded(body)):
                step = "The key provider wrapped nothing. Look there first."
                raise Integrity("dek_not_wrapped", next_step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """Makes and opens blobs, under a lease that reaches the client's key."""

    sealer: Sealer
    artifacts: ArtifactStore
    keys: TransitKeys

    async def seal(self, manifest: Manifest, dek_id: UUID, source: Source) -> SealedRecord:
        """Write the blob and return its record, not yet written: a worker writes it, a runner asks the broker to.

        Raises:
            Rejected: What cannot be sealed; the state of the client's key.
            Unavailable: OpenBao or the artifact store; nothing counts, and what was written is swept.
            Integrity: The artifact store says it holds something other than it was given; ``dek_not_wrapped``.
        """
        with self.sealer.new_dek() as dek:
            wrapped = await self.keys.wrap(dek, context_of(manifest))
            _must_be_wrapped(dek, wrapped.ciphertext)
            blob = await self._stored(manifest, dek_id, source, dek)
        return SealedRecord(
            manifest=manifest, dek_id=dek_id, wrapped_dek=wrapped.ciphertext, kek=wrapped.key_ref,
            kek_version=wrapped.kek_version, blob_sha256=blob.sha256, blob_size=blob.size, packed_size=blob.packed_size,
        )  # fmt: skip

    async def _stored(self, manifest: Manifest, dek_id: UUID, source: Source, dek: Secret) -> SealedBlob:
        """Seal and store in one go; a failure of either side, or the caller's end, ends the other's work."""
        outlet = UploadStream()
        key = blob_key(manifest.client_id, manifest.profile_id, manifest.generation, dek_id)
        putting = asyncio.ensure_future(self.artifacts.put(manifest.client_id, key, outlet.chunks()))
        putting.add_done_callback(lambda _: outlet.break_off())
        sealing = asyncio.ensure_future(
            self.sealer.seal(source, outlet, dek=dek, dek_id=dek_id, manifest=manifest, place=manifest.place)
        )
        try:
            blob = await asyncio.shield(sealing)
            finishing = asyncio.ensure_future(outlet.finish())  # which waits for ever if nobody takes any more
            try:
                await asyncio.wait({finishing, putting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                finishing.cancel()
            stored = await putting
        except BaseException as error:
            outlet.break_off()
            refused = putting.exception() if putting.done() and not putting.cancelled() else None
            for task in (sealing, putting):
                task.cancel()
            await asyncio.gather(sealing, putting, return_exceptions=True)
            raise (error if isinstance(error, asyncio.CancelledError) else refused or error) from None
        if stored.size != blob.size or stored.sha256_hex != blob.sha256.hex():
            raise Integrity("artifact_altered", next_step="Nothing was recorded. Check the artifact store.")
        return blob

    async def unseal(
        self, text: bytes, generation: Generation, environment: Environment, sink: Sink, *, found: StoredGeneration
    ) -> SealedRecord:
        """Open a generation into a sink, with a record that somebody has read.

        Args:
            text: The record, as it was given.
            generation: The row, which says what must be there.
            environment: This installation's.
            sink: The workspace's.
            found: Filled with what was found.

        Raises:
            Rejected: ``key_state``: its key no longer opens anything.
            Integrity: ``dek_missing``, ``blob_missing``, ``sealed_profile_altered``.
            Unavailable: Something could not be asked; nothing is known.
        """
        require_readable(generation)
        record = agreed(text, generation, environment, found=found)
        place = place_of(generation, environment)
        dek = await self._unwrapped(record)
        expected = StoredArtifact(size=generation.blob_size, sha256_hex=generation.blob_sha256.hex())
        inlet = DownloadStream(self.artifacts.get(generation.client_id, key_of(generation), expected))
        opening = asyncio.ensure_future(self.sealer.open_into(inlet, sink, dek=dek, record=record, place=place))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            inlet.break_off()
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            raise
        except NotFound as error:
            if error.code != "blob_missing":
                raise
            raise Integrity("blob_missing", next_step="Restore an older generation, or log in again.") from None
        except Integrity:
            found.digest = await _digest(self.artifacts, generation)
            raise altered() from None
        finally:
            dek.wipe()
            await inlet.close()
        return record

    async def _unwrapped(self, record: SealedRecord) -> Secret:
        try:
            return await self.keys.unwrap(wrapped_of(record), context_of(record.manifest))
        except Integrity:
            raise altered() from None
        except Rejected as error:
            if error.code != KekFault.MISSING.value:
                raise
        raise missing("dek_missing")


def wrapped_of(record: SealedRecord) -> Wrapped:
    """Return the wrapped key of a record. Raises Integrity(``wrapped_key_broken``)."""
    return Wrapped(
        holder=record.kek.holder, kek_id=record.kek.key_id, kek_version=record.kek_version,
        ciphertext=record.wrapped_dek,
    )  # fmt: skip


def context_of(manifest: Manifest) -> KeyContext:
    """Return what the key of a manifest's blob is wrapped for."""
    return KeyContext(environment=manifest.environment, client_id=manifest.client_id, profile_id=manifest.profile_id)


async def _digest(artifacts: ArtifactStore, generation: Generation) -> bytes | None:
    """Return the SHA-256 of what is in the blob's place, whatever it is; None if it cannot be read."""
    anything, sha256 = StoredArtifact(size=_ANY_SIZE, sha256_hex=""), hashlib.sha256()
    try:
        async with aclosing(artifacts.get(generation.client_id, key_of(generation), anything)) as pieces:
            async for piece in pieces:
                sha256.update(piece)
    except Integrity:  # nothing can match what was expected; all of it has passed
        return sha256.digest()
    except ByokeepError:
        return None
    return sha256.digest()


def require_readable(generation: Generation) -> None:
    """Raise Rejected, ``key_state``, if the generation's key no longer opens anything."""
    if generation.key_state not in _READABLE or generation.gone_at is not None:
        raise Rejected("key_state", next_step="Restore another generation, or log in again.",
                       state=generation.key_state.value)  # fmt: skip
