"""A packed profile becomes a blob in the store, and the record that goes with it.

Rules
- A fresh key for each blob, wrapped before a byte is sealed: without its holder there is no blob (R5.3-1, R5.3-3).
- The content streams from the room through the sealer into the store; it is nowhere else (R5.3-7). A few pieces are
  under way at a time; what goes wrong on one side ends the other, with the first side's own error.

It may not write a record: who calls does, or gives it to the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import TimeoutError as NotYet
from typing import Final
from uuid import UUID

from byokeep.core.artifact import ArtifactKey
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.kek import KeyContext
from byokeep.core.manifest import Manifest
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.ports import SealedBlob, Sealing, Source

_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still takes
_UNDER_WAY: Final = 4  # pieces


class UploadStream:
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


def context_of(manifest: Manifest) -> KeyContext:
    """Return what the key of a manifest's blob is wrapped for."""
    return KeyContext(
        environment=manifest.environment, client_id=manifest.client_id, profile_id=manifest.profile_id
    )  # fmt: skip


async def _stored(by: Sealing, manifest: Manifest, dek_id: UUID, source: Source, dek: Secret) -> SealedBlob:
    """Seal and store in one go; either side's failure, or the caller's end, ends the other's work."""
    outlet = UploadStream()
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
