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

import asyncio
from datetime import UTC, datetime
from uuid import UUID

from byokeep.core.artifact import ArtifactKey
from byokeep.core.errors import Integrity
from byokeep.core.kek import KeyContext
from byokeep.core.manifest import Manifest, Packing
from byokeep.core.model import Environment, ProfileId
from byokeep.core.record_room import check_seal
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.flows.profile_book import Plan, Sealed
from byokeep.flows.profile_pipe import Outlet
from byokeep.flows.profile_ports import SealedBlob, Sealing, Source, Vault
from byokeep.flows.profiles import Profile, expected_account
from byokeep.ports import Written


async def seal(vault: Vault, plan: Plan, source: Source, *, browser_version: str, now: datetime) -> Sealed:
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


async def seal_as(vault: Vault, manifest: Manifest, dek_id: UUID, source: Source, *, stays: int) -> Sealed:
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


async def made(sealing: Sealing, manifest: Manifest, dek_id: UUID, source: Source) -> SealedRecord:
    """Write the blob and return the record, which is written nowhere yet. A runner gives it to the broker.

    Raises: As :func:`seal`, but for what the store says.
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


def sealed_of(record: SealedRecord, written: Written) -> Sealed:
    """Return what a record says, once it was written."""
    return Sealed(
        holder=record.kek.holder, kek_id=record.kek.key_id, kek_version=record.kek_version,
        blob_sha256=record.blob_sha256, blob_size=record.blob_size, packed_size=record.packed_size,
        manifest_hash=record.manifest.hash, record_version=written.version, store_request=written.request_id,
        browser_version=record.manifest.browser_version,
    )  # fmt: skip


def manifest_of(profile: Profile, plan: Plan, *, browser_version: str, now: datetime) -> Manifest:
    """Return the manifest of a planned generation; who and when are the server's own (R5.3-13)."""
    accounts = sorted(map(expected_account, profile.accounts), key=lambda one: (one.platform.value, one.account))
    return Manifest(
        environment=Environment(plan.environment), client_id=profile.client_id, profile_id=ProfileId(profile.id),
        generation=plan.generation, platforms=tuple(sorted(profile.platforms)), accounts=tuple(accounts),
        created_by=plan.sealed_by, created_at=now.astimezone(UTC).replace(microsecond=0),
        packing=Packing(profile.packing.value), browser_version=browser_version,
    )  # fmt: skip


def context_of(manifest: Manifest) -> KeyContext:
    """Return what the key of a manifest's blob is wrapped for."""
    return KeyContext(
        environment=manifest.environment, client_id=manifest.client_id, profile_id=manifest.profile_id
    )  # fmt: skip


def artifact_key(plan: Plan) -> ArtifactKey:
    """Return where the blob of a plan lies."""
    return _key(plan.profile.client_id, plan.profile.id, plan.generation, plan.dek_id)


def _key(client_id: UUID, profile_id: UUID, generation: int, dek_id: UUID) -> ArtifactKey:
    """A name that is random, and used once: the key's own id."""
    return ArtifactKey(client_id=client_id, profile_id=profile_id, generation=generation, random=dek_id.hex)


async def _stored(by: Sealing, manifest: Manifest, dek_id: UUID, source: Source, dek: Secret) -> SealedBlob:
    """Seal and store in one go; either side's failure, or the caller's end, ends the other's work."""
    outlet = Outlet()
    key = _key(manifest.client_id, manifest.profile_id, manifest.generation, dek_id)
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
