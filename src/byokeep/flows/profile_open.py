"""A sealed generation becomes a room's content, or nothing: record, blob and key are compared with the row first.

Rules
- The row says which record, which blob, which generation; the store and the artifact store are believed in nothing.
- What is missing is named: record, key or blob. Whatever else is wrong is one and the same error, and the caller
  learns beside it whose things were found there (R5.3-15).
- A record that is older than the row was put back by somebody: ``superseded`` (R5.3-24).
- Nothing of a blob is visible before all of it was verified (R5.3-22).

It may not touch the database, nor decide what follows from a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.artifact import ArtifactKey, StoredArtifact
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Rejected
from byokeep.core.kek import Holder, KekFault, KeyContext, Wrapped
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Place
from byokeep.core.model import Environment, ProfileId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.core.secret import Secret
from byokeep.flows.profile_pipe import Inlet
from byokeep.flows.profile_ports import Sink, Vault
from byokeep.flows.profiles import Generation

ALTERED: Final = "sealed_profile_altered"
MISSING: Final = frozenset({"manifest_missing", "dek_missing", "blob_missing"})
_READABLE: Final = frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED})
_ANY_SIZE: Final = 2**62
_GONE: Final = frozenset({"record_missing", "store_not_found", "secret_version_gone"})


@dataclass(slots=True, kw_only=True)
class Found:
    """What was found in a profile's place, for whoever has to find out whose it is. Filled as far as it came."""

    dek_id: UUID | None = None
    profile_id: UUID | None = None
    digest: bytes | None = None


async def unseal(
    vault: Vault, generation: Generation, environment: Environment, sink: Sink, *, found: Found,
    others: Sequence[Generation] = (),
) -> SealedRecord:  # fmt: skip
    """Open a generation into a sink.

    Args:
        vault: Under a lease of the client.
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
    if generation.key_state not in _READABLE or generation.gone_at is not None:
        raise Rejected("key_state", next_step="Restore another generation, or log in afresh.",
                       state=generation.key_state.value)  # fmt: skip
    record = await _record(vault, generation, others, found)
    place = Place(
        environment=environment, client_id=generation.client_id, profile_id=ProfileId(generation.profile_id),
        generation=generation.generation,
    )  # fmt: skip
    if not _same(record, generation, place):
        raise _altered()
    dek = await _unwrapped(vault, record, place)
    inlet = Inlet(_chunks(vault, generation))
    opening = asyncio.ensure_future(vault.sealer.open_into(inlet, sink, dek=dek, record=record, place=place))
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
        found.digest = await _digest(vault, generation)
        raise _altered() from None
    finally:
        dek.wipe()
    return record


def key_of(generation: Generation) -> ArtifactKey:
    """Return where the blob of a generation lies."""
    return ArtifactKey(
        client_id=generation.client_id, profile_id=generation.profile_id, generation=generation.generation,
        random=generation.dek_id.hex,
    )  # fmt: skip


async def _record(vault: Vault, generation: Generation, others: Sequence[Generation], found: Found) -> SealedRecord:
    ref = ProfileRef(generation.client_id, generation.profile_id)
    newest = await vault.custody.newest(ref)
    if not newest:
        raise _missing("manifest_missing")
    known = {one.record_version for one in (generation, *others)}
    if newest > generation.record_version and newest not in known:
        await _refuse_replay(vault, ref, (generation, *others), newest)
    return _parsed(await _read(vault, ref, generation.record_version), found)


async def _refuse_replay(vault: Vault, ref: ProfileRef, rows: Sequence[Generation], newest: int) -> None:
    """A newer version that no row stands for and that is no newer generation was put back by somebody.

    Two may be there that nobody put back: what a seal left that was cut, and a key that was wrapped anew and whose row
    has not followed yet.
    """
    try:
        later = _parsed(await _read(vault, ref, newest), Found())
    except Integrity as error:
        if error.code == "manifest_missing":  # deleted, or destroyed by the sweep
            return
        raise
    rewrapped = any(
        later.manifest.hash == row.manifest_hash and later.dek_id == row.dek_id and later.kek_version > row.kek_version
        for row in rows
    )
    opened = max(row.generation for row in rows)
    if later.manifest.generation <= opened and not rewrapped:
        raise Integrity("superseded", next_step="Somebody put an older record back; look who can write to the store.",
                        generation=opened, put_back=later.manifest.generation)  # fmt: skip


async def _read(vault: Vault, ref: ProfileRef, version: int) -> bytes:
    try:
        return await vault.custody.read(ref, version)
    except ByokeepError as error:
        if error.code not in _GONE:
            raise
    raise _missing("manifest_missing")


def _parsed(text: bytes, found: Found) -> SealedRecord:
    if _keyless(text):
        raise _missing("dek_missing")
    try:
        record = parse_record(text)
    except Integrity:
        raise _altered() from None
    found.dek_id, found.profile_id = record.dek_id, record.manifest.profile_id
    return record


def _keyless(text: bytes) -> bool:
    """Whether a record lacks its wrapped key and nothing else can be said of it."""
    try:
        said = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and "manifest" in said and not said.get("wrapped_dek")


def _same(record: SealedRecord, generation: Generation, place: Place) -> bool:
    """Whether a record is the one that the row was written with."""
    return (
        record.manifest.place == place
        and record.manifest.hash == generation.manifest_hash
        and record.dek_id == generation.dek_id
        and record.blob_sha256 == generation.blob_sha256
        and record.blob_size == generation.blob_size
        and record.kek.holder == generation.holder
        and record.kek.key_id == generation.kek_id
    )


async def _unwrapped(vault: Vault, record: SealedRecord, place: Place) -> Secret:
    context = KeyContext(environment=place.environment, client_id=place.client_id, profile_id=place.profile_id)
    try:
        wrapped = Wrapped(
            holder=Holder(record.kek.holder), kek_id=record.kek.key_id, kek_version=record.kek_version,
            ciphertext=record.wrapped_dek,
        )  # fmt: skip
        return await vault.custody.keys.unwrap(wrapped, context)
    except Integrity:
        raise _altered() from None
    except Rejected as error:
        if error.code != KekFault.MISSING.value:
            raise
    raise _missing("dek_missing")


async def _digest(vault: Vault, generation: Generation) -> bytes | None:
    """SHA-256 of what lies in the blob's place, whatever it is; None when it can not be read."""
    anything, sha256 = StoredArtifact(size=_ANY_SIZE, sha256_hex=""), hashlib.sha256()
    try:
        async for piece in vault.artifacts.get(generation.client_id, key_of(generation), anything):
            sha256.update(piece)
    except Integrity:  # it is not what nothing can be; all of it has passed
        return sha256.digest()
    except ByokeepError:
        return None
    return sha256.digest()


async def _chunks(vault: Vault, generation: Generation) -> AsyncIterator[bytes]:
    expected = StoredArtifact(size=generation.blob_size, sha256_hex=generation.blob_sha256.hex())
    reading = vault.artifacts.get(generation.client_id, key_of(generation), expected)
    try:
        async for piece in reading:
            yield piece
    finally:
        if (close := getattr(reading, "aclose", None)) is not None:
            await close()


def _missing(code: str) -> Integrity:
    return Integrity(code, next_step="Restore an older generation, or log in afresh; find out who took it away.")


def _altered() -> Integrity:
    return Integrity(ALTERED, next_step="The profile is quarantined; look who can write to its stores.")
