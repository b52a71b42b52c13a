"""A sealed generation becomes a room's content, or nothing.

Rules
- Record, blob and key are compared with the row first: the artifact store, and who read the record, are believed in
  nothing (ADR 0033).
- Nothing of a blob is visible before all of it was verified (R5.3-22).

It may not decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Final

from byokeep.core.artifact import StoredArtifact
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.kek import KekFault, KeyContext, Wrapped
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import RecordPlace
from byokeep.core.model import Environment
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.ports import ArtifactStore
from byokeep.sealing.generation import Generation, StoredGeneration, agreed, altered, key_of, missing, place_of
from byokeep.sealing.ports import Sealing, Sink

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys

_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still takes
_READABLE: Final = frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED})
_ANY_SIZE: Final = 2**62


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


async def unseal_as(
    sealing: Sealing,
    text: bytes,
    generation: Generation,
    environment: Environment,
    sink: Sink,
    *,
    found: StoredGeneration,
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


async def _unwrapped(keys: TransitKeys, record: SealedRecord, place: RecordPlace) -> Secret:
    context = KeyContext(environment=place.environment, client_id=place.client_id, profile_id=place.profile_id)
    try:
        wrapped = Wrapped(
            holder=record.kek.holder, kek_id=record.kek.key_id, kek_version=record.kek_version,
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


def require_readable(generation: Generation) -> None:
    """Raise Rejected, ``key_state``, when the generation's key opens nothing any more."""
    if generation.key_state not in _READABLE or generation.gone_at is not None:
        raise Rejected("key_state", next_step="Restore another generation, or log in afresh.",
                       state=generation.key_state.value)  # fmt: skip
