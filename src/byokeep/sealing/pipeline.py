"""A packed profile becomes a blob with its record, and a sealed generation becomes a room's content, or nothing.

Rules
- A fresh key for each blob, wrapped before a byte is sealed: without its holder there is no blob (R5.3-1, R5.3-3).
- The content streams from the room through the sealer into the store; it is nowhere else (R5.3-7). A few pieces are
  under way at a time; what goes wrong on one side ends the other, with the first side's own error.
- Opening compares record, blob and key with the row: the artifact store, and who read the record, are believed in
  nothing (ADR 0033). Nothing of a blob is visible before all of it was verified (R5.3-22).

It may not write a record, nor decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Final
from uuid import UUID

from byokeep.core.artifact import ArtifactKey, StoredArtifact
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.kek import Holder, KekFault, KeyContext, Wrapped
from byokeep.core.manifest import Manifest, Place
from byokeep.core.model import Environment
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.ports import ArtifactStore, KeyHolder
from byokeep.sealing.generation import Found, Generation, agreed, altered, key_of, missing, place_of, require_readable
from byokeep.sealing.ports import SealedBlob, Sealing, Sink, Source

_ANY_SIZE: Final = 2**62
_UNDER_WAY: Final = 4  # pieces
_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still takes


class Outlet:
    """A target that is written in a thread and read as a stream: :meth:`chunks` is given to a store."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_UNDER_WAY)
        self._broken = False

    def write(self, data: bytes) -> int:
        """Pass a piece on. Raises Unavailable(``stream_broken``) when nobody takes any more."""
        handed = asyncio.run_coroutine_threadsafe(self._queue.put(bytes(data)), self._loop)
        while True:
            if self._broken:
                handed.cancel()
                raise Unavailable("stream_broken")
            try:
                handed.result(_LOOK_S)
            except NotYet:
                if handed.done():
                    raise
                continue
            return len(data)

    async def finish(self) -> None:
        """Say that this was all."""
        if not self._broken:
            await self._queue.put(None)

    def break_off(self) -> None:
        """Say that nobody takes any more."""
        self._broken = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is written, to its end."""
        while (piece := await self._queue.get()) is not None:
            yield piece


class Inlet:
    """A source that is read in a thread and fed by a stream."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks = chunks
        self._rest = b""
        self._broken = False

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, none at the end. Raises what the stream raises."""
        while not self._rest:
            piece = self._next()
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def break_off(self) -> None:
        """Say that nobody waits for it any more."""
        self._broken = True

    def _next(self) -> bytes | None:
        asked: Future[bytes | None] = asyncio.run_coroutine_threadsafe(self._piece(), self._loop)
        while True:
            if self._broken:
                asked.cancel()
                raise Unavailable("stream_broken")
            try:
                return asked.result(_LOOK_S)
            except NotYet:
                if asked.done():
                    raise

    async def _piece(self) -> bytes | None:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None


async def made(sealing: Sealing, manifest: Manifest, dek_id: UUID, source: Source) -> SealedRecord:
    """Write the blob and return the record, which is written nowhere yet. A runner gives it to the broker.

    Raises:
        Rejected: What cannot be sealed; the state of the client's key.
        Unavailable: Holder or artifact store; nothing counts, what was written is swept.
        Integrity: The artifact store says that it holds something else than it was given.
    """
    dek = sealing.sealer.new_dek()
    try:
        wrapped = await sealing.keys.wrap(dek, context_of(manifest))
        blob = await _stored(sealing, manifest, dek_id, source, dek)
    finally:
        dek.wipe()
    return SealedRecord(
        manifest=manifest, dek_id=dek_id, wrapped_dek=wrapped.ciphertext, kek=wrapped.key_ref,
        kek_version=wrapped.kek_version, blob_sha256=blob.sha256, blob_size=blob.size, packed_size=blob.packed_size,
    )  # fmt: skip


async def unseal_as(
    sealing: Sealing, text: bytes, generation: Generation, environment: Environment, sink: Sink, *, found: Found
) -> SealedRecord:
    """Open a generation into a sink, with a record that somebody read.

    Args:
        text: The record, as it was given.
        generation: The row: what there must be.
        environment: Of this installation.
        sink: The room's.
        found: Is filled with what was found.

    Raises:
        Rejected: ``key_state``: its key opens nothing any more.
        Integrity: ``dek_missing``, ``blob_missing``, ``sealed_profile_altered``.
        Unavailable: Something could not be asked; nothing is known.
    """
    require_readable(generation)
    record = agreed(text, generation, environment, found=found)
    place = place_of(generation, environment)
    dek = await _unwrapped(sealing.keys, record, place)
    inlet = Inlet(_chunks(sealing.artifacts, generation))
    opening = asyncio.ensure_future(sealing.sealer.open_into(inlet, sink, dek=dek, record=record, place=place))
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
        raise Integrity("blob_missing", next_step="Restore an older generation, or log in afresh.") from None
    except Integrity:
        found.digest = await _digest(sealing.artifacts, generation)
        raise altered() from None
    finally:
        dek.wipe()
    return record


async def _unwrapped(keys: KeyHolder, record: SealedRecord, place: Place) -> Secret:
    context = KeyContext(environment=place.environment, client_id=place.client_id, profile_id=place.profile_id)
    try:
        wrapped = Wrapped(
            holder=Holder(record.kek.holder), kek_id=record.kek.key_id, kek_version=record.kek_version,
            ciphertext=record.wrapped_dek,
        )  # fmt: skip
        return await keys.unwrap(wrapped, context)
    except Integrity:
        raise altered() from None
    except Rejected as error:
        if error.code != KekFault.MISSING.value:
            raise
    raise missing("dek_missing")


async def _digest(artifacts: ArtifactStore, generation: Generation) -> bytes | None:
    """SHA-256 of what lies in the blob's place, whatever it is; None when it can not be read."""
    anything, sha256 = StoredArtifact(size=_ANY_SIZE, sha256_hex=""), hashlib.sha256()
    try:
        async for piece in artifacts.get(generation.client_id, key_of(generation), anything):
            sha256.update(piece)
    except Integrity:  # it is not what nothing can be; all of it has passed
        return sha256.digest()
    except ByokeepError:
        return None
    return sha256.digest()


async def _chunks(artifacts: ArtifactStore, generation: Generation) -> AsyncIterator[bytes]:
    expected = StoredArtifact(size=generation.blob_size, sha256_hex=generation.blob_sha256.hex())
    reading = artifacts.get(generation.client_id, key_of(generation), expected)
    try:
        async for piece in reading:
            yield piece
    finally:
        if (close := getattr(reading, "aclose", None)) is not None:
            await close()


def context_of(manifest: Manifest) -> KeyContext:
    """Return what the key of a manifest's blob is wrapped for."""
    return KeyContext(
        environment=manifest.environment, client_id=manifest.client_id, profile_id=manifest.profile_id
    )  # fmt: skip


async def _stored(by: Sealing, manifest: Manifest, dek_id: UUID, source: Source, dek: Secret) -> SealedBlob:
    """Seal and store in one go; either side's failure, or the caller's end, ends the other's work."""
    outlet = Outlet()
    key = ArtifactKey(
        client_id=manifest.client_id, profile_id=manifest.profile_id, generation=manifest.generation, random=dek_id.hex
    )  # fmt: skip
    putting = asyncio.ensure_future(by.artifacts.put(manifest.client_id, key, outlet.chunks()))
    putting.add_done_callback(lambda _: outlet.break_off())
    sealing = asyncio.ensure_future(
        by.sealer.seal(source, outlet, dek=dek, dek_id=dek_id, manifest=manifest, place=manifest.place)
    )
    try:
        blob = await asyncio.shield(sealing)
        await outlet.finish()
        stored = await putting
    except BaseException as error:
        outlet.break_off()
        refused = putting.exception() if putting.done() and not putting.cancelled() else None
        for task in (sealing, putting):
            task.cancel()
        await asyncio.gather(sealing, putting, return_exceptions=True)
        raise refused or error from None
    if stored.size != blob.size or stored.sha256_hex != blob.sha256.hex():
        raise Integrity("artifact_altered", next_step="Look at the artifact store; nothing was recorded.")
    return blob
