"""A sealed generation in the store: sealed with its record, and opened by the record that its row was written with.

Rules
- No seal begins whose record would push one that must stay out of the store (:mod:`byokeep.core.record_room`).
- The record is written by compare-and-set on the version that was the newest when the seal began. Whoever loses is told
  so; the blob that was written then is nobody's, and the sweep takes it away.
- The row says which version, which manifest, which blob; the store is believed in nothing, and neither is who read it.
- What is missing is named: record or key. Whatever else is wrong is one and the same error, and the caller learns
  beside it whose things were found there (R5.3-15).
- A record that is older than the row was put back by somebody: ``superseded`` (R5.3-24).

It may not touch the database, nor decide what follows from a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.manifest import Manifest, Packing
from byokeep.core.model import Environment, ProfileId
from byokeep.core.record_room import check_seal
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.kernel.ports import Written
from byokeep.profiles.profile_app import Records
from byokeep.profiles.profile_book import GenerationPlan, SealedGeneration
from byokeep.profiles.profiles import Profile, expected_account
from byokeep.sealing.generation import Generation, StoredGeneration, agreed, missing, parsed
from byokeep.sealing.store import Sealing, Sink, Source, require_readable

MISSING: Final = frozenset({"manifest_missing", "dek_missing", "blob_missing"})
_GONE: Final = frozenset({"record_missing", "store_not_found", "secret_version_gone"})


class ReadRecords(Protocol):
    """Records of profiles, to be read alone."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound(``record_missing``), Unavailable, Denied."""


async def seal(
    sealing: Sealing, records: Records, manifest: Manifest, dek_id: UUID, source: Source, *, stays: int
) -> SealedGeneration:
    """Seal what a source gives and write its record; returns what is to be recorded in the database.

    Args:
        sealing, records: Under a custody lease of the client.
        manifest: As :func:`manifest_of` of the seal that was announced.
        source: The packed profile.
        stays: The oldest version of the record that must not fall out of the store; 0 = none.

    Raises:
        Conflict: ``stale_version``: another seal was first; ``record_history_full``: it would push a good record out.
        Rejected: What cannot be sealed; the state of the client's key.
        Unavailable: OpenBao or artifact store; nothing counts, what was written is swept.
        Integrity: The artifact store says that it holds something else than it was given.
    """
    ref = ProfileRef(manifest.client_id, manifest.profile_id)
    cas = await records.newest(ref)
    check_seal(newest=cas, stays=stays)
    record = await sealing.seal(manifest, dek_id, source)
    return sealed_of(record, await records.write(ref, record.canonical, cas=cas))


async def unseal(
    sealing: Sealing, records: ReadRecords, generation: Generation, environment: Environment, sink: Sink, *,
    found: StoredGeneration, others: Sequence[Generation] = (),
) -> SealedRecord:  # fmt: skip
    """Open a generation into a sink, with the record that lies in the store.

    Args:
        sealing, records: Under a custody lease of the client.
        sink: Of the workspace.
        generation, environment, found, others: As :func:`stored`.

    Raises:
        Rejected: ``key_state``: its key opens nothing any more.
        Integrity: ``manifest_missing``, ``dek_missing``, ``blob_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: Something could not be asked; nothing is known.
    """
    require_readable(generation)
    text = await stored(records, generation, environment, found=found, others=others)
    return await sealing.unseal(text, generation, environment, sink, found=found)


async def stored(
    records: ReadRecords, generation: Generation, environment: Environment, *, found: StoredGeneration,
    others: Sequence[Generation] = (),
) -> bytes:  # fmt: skip
    """Return the text of a generation's record, as the store has it.

    Args:
        generation: The row: what there must be.
        environment: Of this installation.
        found: Is filled with what was found.
        others: Every row of the profile: a newer version that one of them stands for is no stranger.

    Raises:
        Integrity: ``manifest_missing``, ``dek_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: The store could not be asked; nothing is known.
    """
    ref = ProfileRef(generation.client_id, generation.profile_id)
    newest = await records.newest(ref)
    if not newest:
        raise missing("manifest_missing")
    known = {one.record_version for one in (generation, *others)}
    if newest > generation.record_version and newest not in known:
        await _refuse_replay(records, ref, (generation, *others), newest)
    text = await _read(records, ref, generation.record_version)
    agreed(text, generation, environment, found=found)
    return text


def sealed_of(record: SealedRecord, written: Written) -> SealedGeneration:
    """Return what a record says, once it was written."""
    return SealedGeneration(
        holder=record.kek.holder, kek_id=record.kek.key_id, kek_version=record.kek_version,
        blob_sha256=record.blob_sha256, blob_size=record.blob_size, packed_size=record.packed_size,
        manifest_hash=record.manifest.hash, record_version=written.version, store_request=written.request_id,
        browser_version=record.manifest.browser_version,
    )  # fmt: skip


def manifest_of(profile: Profile, plan: GenerationPlan, *, browser_version: str, now: datetime) -> Manifest:
    """Return the manifest of a planned generation; who and when are the server's own (R5.3-13)."""
    accounts = sorted(map(expected_account, profile.accounts), key=lambda one: (one.platform.value, one.account))
    return Manifest(
        environment=Environment(plan.environment), client_id=profile.client_id, profile_id=ProfileId(profile.id),
        generation=plan.generation, platforms=tuple(sorted(profile.platforms)), accounts=tuple(accounts),
        created_by=plan.sealed_by, created_at=now.astimezone(UTC).replace(microsecond=0),
        packing=Packing(profile.packing.value), browser_version=browser_version,
    )  # fmt: skip


async def _refuse_replay(records: ReadRecords, ref: ProfileRef, rows: Sequence[Generation], newest: int) -> None:
    """A newer version that no row stands for and that is no newer generation was put back by somebody.

    Two may be there that nobody put back: what a seal left that was cut, and a key that was wrapped anew and whose row
    has not followed yet.
    """
    try:
        later = parsed(await _read(records, ref, newest), StoredGeneration())
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


async def _read(records: ReadRecords, ref: ProfileRef, version: int) -> bytes:
    try:
        return await records.read(ref, version)
    except ByokeepError as error:
        if error.code not in _GONE:
            raise
    raise missing("manifest_missing")
