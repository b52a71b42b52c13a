"""The one path of a sealed profile, used by service and SDK: into the artifact store, and back, or not at all.

Rules
- A fresh key for each blob, wrapped before a byte is sealed: without OpenBao there is no blob (R5.3-1, R5.3-3).
- The content streams between workspace, sealer and store; it is nowhere else (R5.3-7). A few pieces are under way at a
  time; what goes wrong on one side ends the other, with the first side's own error.
- Record, blob and key are compared with the row first: the artifact store, and who read the record, are believed in
  nothing (ADR 0033). Nothing of a blob is visible before all of it was verified (R5.3-22).
- A key in clear is a Secret that its user wipes.

It may not read or write a record, know a library that seals, or decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from byokeep.core.artifact import StoredArtifact, blob_key
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected
from byokeep.core.kek import KekFault, KeyContext, Wrapped
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Manifest
from byokeep.core.model import Environment
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.kernel.ports import ArtifactStore
from byokeep.sealing.generation import Generation, StoredGeneration, agreed, altered, key_of, missing, place_of
from byokeep.sealing.stream import DownloadStream, UploadStream

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
    """Where a blob goes; called in another thread. Who seals into it drops it when sealing fails."""

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
    """What the record of a blob says of it: SHA-256 (32 bytes), its bytes, and the bytes that it was made of."""

    sha256: bytes
    size: int
    packed_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What makes a blob and opens one, under a lease that reaches the client's key."""

    sealer: Sealer
    artifacts: ArtifactStore
    keys: TransitKeys

    async def seal(self, manifest: Manifest, dek_id: UUID, source: Source) -> SealedRecord:
        """Write the blob and return its record, which is written nowhere yet: a worker does, a runner asks the broker.

        Raises:
            Rejected: What cannot be sealed; the state of the client's key.
            Unavailable: OpenBao or artifact store; nothing counts, what was written is swept.
            Integrity: The artifact store says that it holds something else than it was given.
        """
        dek = self.sealer.new_dek()
        try:
            wrapped = await self.keys.wrap(dek, context_of(manifest))
            blob = await self._stored(manifest, dek_id, source, dek)
        finally:
            dek.wipe()
        return SealedRecord(
            manifest=manifest, dek_id=dek_id, wrapped_dek=wrapped.ciphertext, kek=wrapped.key_ref,
            kek_version=wrapped.kek_version, blob_sha256=blob.sha256, blob_size=blob.size, packed_size=blob.packed_size,
        )  # fmt: skip

    async def _stored(self, manifest: Manifest, dek_id: UUID, source: Source, dek: Secret) -> SealedBlob:
        """Seal and store in one go; either side's failure, or the caller's end, ends the other's work."""
        outlet = UploadStream()
        key = blob_key(manifest.client_id, manifest.profile_id, manifest.generation, dek_id)
        putting = asyncio.ensure_future(self.artifacts.put(manifest.client_id, key, outlet.chunks()))
        putting.add_done_callback(lambda _: outlet.break_off())
        sealing = asyncio.ensure_future(
            self.sealer.seal(source, outlet, dek=dek, dek_id=dek_id, manifest=manifest, place=manifest.place)
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

    async def unseal(
        self, text: bytes, generation: Generation, environment: Environment, sink: Sink, *, found: StoredGeneration
    ) -> SealedRecord:
        """Open a generation into a sink, with a record that somebody read.

        Args:
            text: The record, as it was given.
            generation: The row: what there must be.
            environment: Of this installation.
            sink: Of the workspace.
            found: Is filled with what was found.

        Raises:
            Rejected: ``key_state``: its key opens nothing any more.
            Integrity: ``dek_missing``, ``blob_missing``, ``sealed_profile_altered``.
            Unavailable: Something could not be asked; nothing is known.
        """
        require_readable(generation)
        record = agreed(text, generation, environment, found=found)
        place = place_of(generation, environment)
        dek = await self._unwrapped(record)
        inlet = DownloadStream(_chunks(self.artifacts, generation))
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
            raise Integrity("blob_missing", next_step="Restore an older generation, or log in afresh.") from None
        except Integrity:
            found.digest = await _digest(self.artifacts, generation)
            raise altered() from None
        finally:
            dek.wipe()
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
    return KeyContext(
        environment=manifest.environment, client_id=manifest.client_id, profile_id=manifest.profile_id
    )  # fmt: skip


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


def require_readable(generation: Generation) -> None:
    """Raise Rejected, ``key_state``, when the generation's key opens nothing any more."""
    if generation.key_state not in _READABLE or generation.gone_at is not None:
        raise Rejected("key_state", next_step="Restore another generation, or log in afresh.",
                       state=generation.key_state.value)  # fmt: skip
