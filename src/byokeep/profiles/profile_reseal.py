"""A job seals the profile that it had open: it acts no more; then blob, record, row, in this order (ADR 0029).

Rules
- From *sealing* on the job gets no permit and no use lease; its one lease is custody of this one profile. It is let in
  only when no permit of the job is open, and when every account that was seen since the opening was the right one.
- Who begins to seal holds the exclusive locks of the job's lanes: no permit decided before is still uncommitted.
- A seal names the epoch and the generation it began with. Whoever lost the opening is refused here, and the store's
  compare-and-set refuses him there.
- It is announced and committed before the first byte is written: what a cut leaves behind is known by its key's id.
- The runner's login at the store reaches no record; the broker writes the one that was announced, and no other.

It may not read what is in a blob: it knows its length and its digest; nor read a record or unwrap its key.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from byokeep.core.artifact import ArtifactKey, StoredArtifact, blob_key
from byokeep.core.errors import Conflict, Integrity, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.kek import TRANSIT
from byokeep.core.manifest import RecordPlace
from byokeep.core.model import Actor, ClientId, Environment, ProfileId
from byokeep.core.policy import DenyReason
from byokeep.core.profile import Purpose
from byokeep.core.record_room import check_seal
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.jobs.lease import deny
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import Tx, Written
from byokeep.kernel.rows import Row
from byokeep.profiles import profile_book as book
from byokeep.profiles.profile_record import sealed_of
from byokeep.profiles.profile_use import asked, held_by, may_go_on, may_use, own, whose
from byokeep.profiles.profiles import Opening, Profile
from byokeep.tenancy.scopes import browser_scopes, hold_open, while_held


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedReseal:
    """Where a seal goes, and what its manifest must say of who made it and when: the server's word."""

    generation: int
    blob_key: str
    path: str
    created_by: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A blob as it was written. ``receipt`` says so, to the broker: it is recorded with nothing else than this."""

    sha256_hex: str
    size: int
    receipt: str


async def begin(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> None:
    """Let a job seal what came of its browser; from here on it causes no effect. Beginning again changes nothing.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: As :func:`byokeep.profiles.profile_use.may_use`; ``identity_mismatch``, ``identity_unproven``.
        Conflict: ``opening_lost``; ``permits_open``: close them first, or wait until they are called unknown;
            ``other_profile_open``.
    """
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id))
        own(actor, row)
        await hold_open(tx, browser_scopes(client_id)[:-1])
        for lane in sorted(row["lanes"]):
            await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:lane:{lane}")
        await tx.all(None, "profile_lock", profile_id=profile_id)
        row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id))
        _, opening = await held_by(tx, client_id, job_id, profile_id, epoch)
        if row["sealing"] is True:
            may_go_on(row)
            return
        may_use(row)
        await _require_right(tx, client_id, opening)
        left = await tx.one(dict, "profile_use_left_open", client_id=client_id, job_id=job_id, profile_id=profile_id)
        if left["permits"]:
            raise Conflict("permits_open", next_step="Say how each act ended, then seal.", count=left["permits"])
        if left["openings"]:
            raise Conflict("other_profile_open", next_step="Close every other browser of the job first.")
        await tx.one(UUID, "profile_use_sealing", client_id=client_id, job_id=job_id)
        await tx.append(
            Event(name=EventName.JOB_SEALING, actor=actor, outcome=Outcome.OK, client_id=client_id, object_id=job_id,
                  fields={"kind": "use", "runner": str(actor.id), "profile": str(profile_id)})
        )  # fmt: skip


async def announce(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, base: int, dek_id: UUID
) -> AnnouncedReseal:
    """Put a seal on record before anything of it is written.

    Args:
        base: The generation that was opened.
        dek_id: A new id for a new key.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: ``job_not_sealing``, and as :func:`byokeep.profiles.profile_use.may_go_on`.
        Conflict: ``opening_lost``, ``generation_moved``, ``record_history_full``.
        Integrity: ``duplicate_key_material``.
        Unavailable: The store.
    """
    client_id = await whose(app, actor, job_id)
    try:
        async with app.db.begin(client_id=client_id) as tx:
            profile, opening = await _sealing(tx, app, actor, client_id, job_id, profile_id, epoch)
            _require_base(opening, base)
            plan = await book.announce(tx, app, actor, profile, opening, dek_id=dek_id)
            async with while_held():
                newest = await app.records.newest(_ref(plan))
            await book.check_room(tx, app, actor, profile, newest=newest, stays=plan.stays)
            now = app.clock.now().replace(microsecond=0)
    except Conflict as error:
        await book.tell_full(app, actor, client_id, profile_id, error)
        raise
    return AnnouncedReseal(
        generation=plan.generation, blob_key=plan.blob_key, path=plan.path, created_by=actor.id, created_at=now
    )


async def put_blob(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, dek_id: UUID, chunks: AsyncIterator[bytes]
) -> StoredRecord:
    """Write an announced blob, once; what is not sealed, too long or cut off leaves nothing.

    Raises:
        NotFound, Denied, Conflict: As :func:`announce`; ``artifact_exists``.
        Rejected: ``not_sealed``, ``blob_too_large``.
        Unavailable: As the artifact store raises.
    """
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        _, opening = await _sealing(tx, app, actor, client_id, job_id, profile_id, epoch)
        await _require_announced(tx, client_id, opening, dek_id)
    key = blob_key(client_id, profile_id, opening.generation + 1, dek_id)
    done = await app.artifacts.put(client_id, key, _bounded(chunks, app.limits.profile_blob_max))
    return StoredRecord(sha256_hex=done.sha256_hex, size=done.size, receipt=_receipt(app, key, done))


async def record(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, base: int, dek_id: UUID,
    text: bytes, receipt: str,
) -> int:  # fmt: skip
    """Write the record and make it the newest generation, and end the opening. Recording it again changes nothing.

    Args:
        text: The record, canonical: docs/spec/manifest.md.
        receipt: Of :func:`put_blob`.

    Returns:
        The generation.

    Raises:
        NotFound, Denied, Conflict: As :func:`announce`; ``stale_version``.
        Rejected: ``bad_seal``: it is not the record of what was announced; ``bad_receipt``.
        Unavailable: The store; what may lie there then no row stands for, and it is swept.
    """
    client_id = await whose(app, actor, job_id)
    found = _parsed(text)
    async with app.db.begin(client_id=client_id) as tx:
        at = {"client_id": client_id, "profile_id": profile_id}
        done = await tx.one(dict, "profile_use_announced", **at, dek_id=dek_id, said=_said(epoch, dek_id))
        if done["sealed"] is True:
            own(actor, await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id)))
            return base + 1
        profile, opening = await _sealing(tx, app, actor, client_id, job_id, profile_id, epoch)
        _require_base(opening, base)
        await _require_announced(tx, client_id, opening, dek_id)
        plan = book.GenerationPlan(
            profile=profile, purpose=Purpose.USE, base=base, generation=base + 1, epoch=epoch, dek_id=dek_id,
            job_id=job_id, sealed_by=actor.id, environment=app.environment.value, stays=await book.stays(tx, profile),
        )  # fmt: skip
        _require_planned(found, plan)
        _require_receipt(app, opening, dek_id, found, receipt)
        await _require_right(tx, client_id, opening)
        # In the profile's line, so that a repeated call does not write twice.
        sealed = sealed_of(found, await _written(app, plan, found))
        now = await book.record(tx, app, actor, plan, sealed, rekey_days=app.limits.profile_rekey_days)
        await book.end(tx, actor, now, opening)
    return plan.generation


async def _written(app: BrokerApp, plan: book.GenerationPlan, found: SealedRecord) -> Written:
    async with while_held():
        return await app.records.write(_ref(plan), found.canonical, cas=await _room_for_record(app, plan))


async def _room_for_record(app: BrokerApp, plan: book.GenerationPlan) -> int:
    """Return the newest version of the record, when one more pushes out none that must stay."""
    newest = await app.records.newest(_ref(plan))
    check_seal(newest=newest, stays=plan.stays)
    return newest


def _ref(plan: book.GenerationPlan) -> ProfileRef:
    return ProfileRef(plan.profile.client_id, ProfileId(plan.profile.id))


async def _bounded(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise Rejected("blob_too_large", next_step="The session holds too much; log in afresh.", limit=most)
        yield chunk


async def _sealing(
    tx: Tx, app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, profile_id: UUID, epoch: int
) -> tuple[Profile, Opening]:
    """Return what a sealing job still has open, in the profile's line and under the switches."""
    await hold_open(tx, browser_scopes(client_id))
    await tx.all(None, "profile_lock", profile_id=profile_id)
    row: Row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id))
    own(actor, row)
    may_go_on(row)
    if row["sealing"] is not True:
        raise Conflict("job_not_sealing", next_step="Close the browser and say that the job seals.")
    return await held_by(tx, client_id, job_id, profile_id, epoch)


async def _require_right(tx: Tx, client_id: ClientId, opening: Opening) -> None:
    """Let pass what a job saw to be the right account's; nothing of another's session is kept (R5.3-17)."""
    seen = await tx.all(
        dict, "profile_use_seen", client_id=client_id, profile_id=opening.profile_id, opened_at=opening.opened_at
    )
    if any(one["identity"] == "mismatch" for one in seen):
        raise deny(DenyReason.IDENTITY_MISMATCH)
    of_this_run = [one["identity"] for one in seen if one["since_opened"]]
    if not of_this_run or set(of_this_run) != {"match"}:
        raise deny(DenyReason.IDENTITY_UNPROVEN)


async def _require_announced(tx: Tx, client_id: ClientId, opening: Opening, dek_id: UUID) -> None:
    found = await tx.one(
        dict, "profile_use_announced", client_id=client_id, profile_id=opening.profile_id, dek_id=dek_id,
        said=_said(opening.epoch, dek_id),
    )  # fmt: skip
    if found["announced"] is not True:
        raise Conflict("seal_not_announced", next_step="Announce the seal with this key first.")


def _said(epoch: int, dek_id: UUID) -> str:
    return json.dumps({"fields": {"epoch": epoch, "dek": str(dek_id)}})


def _require_base(opening: Opening, base: int) -> None:
    if opening.generation != base:
        raise Conflict("generation_moved", next_step="Another seal was first; open the profile again.",
                       opened=opening.generation)  # fmt: skip


def _receipt(app: BrokerApp, key: ArtifactKey, found: StoredArtifact) -> str:
    return app.token_key(f"profile-blob/{key.text}/{found.size}/{found.sha256_hex}".encode()).hex()


def _require_receipt(app: BrokerApp, opening: Opening, dek_id: UUID, sealed: SealedRecord, receipt: str) -> None:
    key = blob_key(opening.client_id, opening.profile_id, opening.generation + 1, dek_id)
    found = StoredArtifact(size=sealed.blob_size, sha256_hex=sealed.blob_sha256.hex())
    if not hmac.compare_digest(_receipt(app, key, found).encode(), receipt.encode()):
        raise Rejected("bad_receipt", next_step="Record the blob as the broker took it.")


def _parsed(text: bytes) -> SealedRecord:
    try:
        return parse_record(text)
    except Integrity:
        raise _bad_seal() from None


def _require_planned(found: SealedRecord, plan: book.GenerationPlan) -> None:
    """Let pass the record of exactly what was announced: place, generation, key and maker."""
    said, profile = found.manifest, plan.profile
    place = RecordPlace(
        environment=Environment(plan.environment), client_id=profile.client_id, profile_id=ProfileId(profile.id),
        generation=plan.generation,
    )  # fmt: skip
    if said.place != place or found.dek_id != plan.dek_id or said.created_by != plan.sealed_by:
        raise _bad_seal()
    if found.kek.holder != TRANSIT or said.packing.value != profile.packing.value:
        raise _bad_seal()


def _bad_seal() -> Rejected:
    return Rejected("bad_seal", next_step="Send the record of what was announced; see docs/spec/manifest.md.")
