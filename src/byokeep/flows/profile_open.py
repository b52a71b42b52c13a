"""A sealed generation becomes a room's content, or nothing: record, blob and key are compared with the row first.

Rules
- The row says which record, which blob, which generation; the store and the artifact store are believed in nothing.
- What is missing is named: record, key or blob. Whatever else is wrong is one and the same error, and the caller
  learns beside it whose things were found there (R5.3-15); of records: :mod:`.profile_record`.
- A record that came by other hands than the store's is compared all the same (ADR 0033).
- Nothing of a blob is visible before all of it was verified (R5.3-22).

It may not touch the database, nor decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from byokeep.core.artifact import ArtifactKey, StoredArtifact
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected
from byokeep.core.kek import Holder, KekFault, KeyContext, Wrapped
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Place
from byokeep.core.model import Environment
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.flows.profile_pipe import Inlet
from byokeep.flows.profile_ports import Sealing, Sink, Vault
from byokeep.flows.profile_record import Found, agreed, altered, missing, place_of, stored
from byokeep.flows.profiles import Generation
from byokeep.ports import ArtifactStore, KeyHolder

MISSING: Final = frozenset({"manifest_missing", "dek_missing", "blob_missing"})
_READABLE: Final = frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED})
_ANY_SIZE: Final = 2**62


async def unseal(
    vault: Vault, generation: Generation, environment: Environment, sink: Sink, *, found: Found,
    others: Sequence[Generation] = (),
) -> SealedRecord:  # fmt: skip
    """Open a generation into a sink, with the record that lies in the store.

    Args:
        vault: Under a custody lease of the client.
        generation: The row: what there must be.
        environment: Of this installation.
        sink: The room's.
        found: Is filled with what was found.
        others: Every row of the profile: a newer version that one of them stands for is no stranger.

    Raises:
        Rejected: ``key_state``: its key opens nothing any more.
        Integrity: ``manifest_missing``, ``dek_missing``, ``blob_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: Something could not be asked; nothing is known.
    """
    _require_readable(generation)
    text = await stored(vault.custody, generation, environment, found=found, others=others)
    return await unseal_as(vault.sealing, text, generation, environment, sink, found=found)


async def unseal_as(
    sealing: Sealing, text: bytes, generation: Generation, environment: Environment, sink: Sink, *, found: Found
) -> SealedRecord:
    """As :func:`unseal`, with a record that somebody else read.

    Args:
        text: The record, as it was given.
    """
    _require_readable(generation)
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


def key_of(generation: Generation) -> ArtifactKey:
    """Return where the blob of a generation lies."""
    return ArtifactKey(
        client_id=generation.client_id, profile_id=generation.profile_id, generation=generation.generation,
        random=generation.dek_id.hex,
    )  # fmt: skip


def _require_readable(generation: Generation) -> None:
    if generation.key_state not in _READABLE or generation.gone_at is not None:
        raise Rejected("key_state", next_step="Restore another generation, or log in afresh.",
                       state=generation.key_state.value)  # fmt: skip


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
