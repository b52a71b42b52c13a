"""A packed profile becomes a sealed generation: key, wrap, blob, record, in this order.

Rules
- A fresh key for each blob, wrapped before a byte is sealed: without its holder there is no blob (R5.3-1, R5.3-3).
- The content streams from the room through the sealer into the store; it is nowhere else (R5.3-7).
- No seal begins whose record would push one that must stay out of the store (:mod:`byokeep.core.record_room`).
- The record is written by compare-and-set on the version that was the newest when the seal began. Whoever loses is told
  so; the blob that was written then is nobody's, and the sweep takes it away.

It may not touch the database: who calls has announced the seal and records it (:mod:`.profile_book`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from byokeep.core.artifact import ArtifactKey
from byokeep.core.manifest import Manifest, Packing
from byokeep.core.model import Environment, ProfileId
from byokeep.core.record_room import check_seal
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.flows.profile_book import GenerationPlan, SealedGeneration
from byokeep.flows.profile_ports import Vault
from byokeep.flows.profiles import Profile, expected_account
from byokeep.ports import Written
from byokeep.sealing.into_store import made
from byokeep.sealing.ports import Source


async def seal(
    vault: Vault, plan: GenerationPlan, source: Source, *, browser_version: str, now: datetime
) -> SealedGeneration:
    """Seal what a source gives as the planned generation; returns what is to be recorded.

    Args:
        vault: Under a custody lease of the plan's job.
        plan: As it was announced.
        source: The packed profile.
        browser_version: Of the browser that made it.
        now: Time of the seal, UTC.

    Raises:
        Conflict: ``stale_version``: another seal was first; ``record_history_full``: it would push a good record out.
        Rejected: What can not be sealed; the state of the client's key.
        Unavailable: Holder, store or artifact store; nothing counts, what was written is swept.
        Integrity: The artifact store says that it holds something else than it was given.
    """
    manifest = manifest_of(plan.profile, plan, browser_version=browser_version, now=now)
    return await seal_as(vault, manifest, plan.dek_id, source, stays=plan.stays)


async def seal_as(vault: Vault, manifest: Manifest, dek_id: UUID, source: Source, *, stays: int) -> SealedGeneration:
    """As :func:`seal`, for who has the manifest.

    Args:
        stays: As in the plan.
    """
    ref = ProfileRef(manifest.client_id, manifest.profile_id)
    cas = await vault.custody.newest(ref)
    check_seal(newest=cas, stays=stays)
    record = await made(vault.sealing, manifest, dek_id, source)
    written = await vault.custody.write(ref, record.canonical, cas=cas)
    return sealed_of(record, written)


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


def artifact_key(plan: GenerationPlan) -> ArtifactKey:
    """Return where the blob of a plan lies."""
    return ArtifactKey(
        client_id=plan.profile.client_id, profile_id=plan.profile.id, generation=plan.generation,
        random=plan.dek_id.hex,
    )  # fmt: skip
