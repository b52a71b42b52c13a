"""A runner checks a sealed profile out, alone, for as long as the broker allows it, and seals it again (ADR 0029).

Rules
- One opener at a time, across machines (:mod:`byokeep.profiles.openings`). Others learn *since when* it is open, never
  *by whom*.
- A holder asks every ``BEAT_S`` whether it may go on. It closes its browser when the answer is no, or when none came
  for ``ServiceLimits.lease_life_s``. A browser that was told to close keeps its opening until the opening runs out
  (R7.3-1).
- What the holder saw of the accounts decides at the end: a session of another account is quarantined.
- A runner's lease reads no record at the store. The broker hands out the record of the generation that the runner has
  open, while the opening is fresh, so the runner holds the wrapped key of no other profile (ADR 0033). The record is
  compared with the row first. One that is not what was sealed takes the profile out of use, and its text goes nowhere.
- The switches are held open while the store is asked, for a bounded time: either an acknowledged kill came after the
  read, or nothing is read. The opening is on the client's chain before that, and explains the entry in the store's log.
- Once a job is *sealing*, it gets no permit and no use lease. Its one lease is custody of this one profile. It may
  begin only when none of its permits is open and every account seen since the opening was the right one. Beginning
  takes the exclusive locks of the job's lanes, so no permit decided before is still uncommitted.
- A seal names the epoch and the generation it began with, and expects the accounts that this one expects. It is
  announced and committed before the first byte is written. Then come blob, record and row, in this order. The broker
  writes the announced record and no other.

It may not read what is in a blob or unwrap a key: it passes ciphertext on, and knows its length and its digest.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.gate import DenyReason, deny
from byokeep.core.manifest import Packing, RecordPlace
from byokeep.core.model import Actor, ClientId, Environment, ProfileId
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileState, Purpose
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import ArtifactKey, SealedRecord, StoredArtifact, blob_key, check_seal, parse_record
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import client_for, open_alert, stamp
from byokeep.kernel.command import record as noted
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.profiles import openings, profiles
from byokeep.profiles.openings import stored
from byokeep.profiles.profiles import Opening, Profile, locked
from byokeep.sealing.generation import Generation, StoredGeneration, key_of
from byokeep.tenancy.scopes import browser_scopes, hold_open, require_working, while_held

_OTHER: Final = f"Wait until the other run ends, or end its job. A killed one lets go after {openings.LIFE_S} s."
BEAT_S: Final = 1.0  # seconds between two questions; with what a browser needs to close, below 5
_QUARANTINE: Final = {  # cause -> alert
    "wrong_account": "profile_quarantined", "logged_out": "profile_quarantined", "challenge": "profile_quarantined",
    "altered": "profile_integrity",
}  # fmt: skip
CAUSES: Final = frozenset({"closed", "crashed", "killed", "stopped", "failed", "not_identified", *_QUARANTINE})
_ALERTS: Final = {"not_identified": "profile_not_identified", "killed": "browser_killed"}
MOST_SEALS: Final = 3  # that an opening may announce, each with a blob; the sweep takes away what is not recorded
FRESH_S: Final = 30  # seconds from the opening in which its record is handed out; a holder asks for it at once


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedProfile:
    """What the holder of an opening needs to know.

    Attributes:
        epoch: Counts openings; every later call names it.
        generation: The row of what it opens. Nothing else is accepted, whatever store and artifact store say.
        packing: How it was packed.
        environment: This installation's; a seal is bound to it.
        life_s: Seconds it may go on without an answer.
        beat_s: Seconds between two questions.
    """

    epoch: int
    generation: Generation
    packing: Packing
    environment: Environment
    life_s: int
    beat_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """A job that has a profile open, or says so. Every question about it carries these values."""

    app: BrokerApp
    actor: Actor
    client_id: ClientId
    job_id: UUID
    profile_id: UUID
    epoch: int

    @property
    def at(self) -> dict[str, object]:
        """The profile's row."""
        return {"client_id": self.client_id, "profile_id": self.profile_id}

    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """Open a transaction that sees the client's rows."""
        return self.app.db.begin(client_id=self.client_id)

    async def profile(self, tx: Tx) -> Profile:
        """Return the profile as it stands."""
        return await tx.one(Profile, "profile_get", client_id=self.client_id, id=self.profile_id)

    async def facts(self, tx: Tx, lease_id: UUID | None = None) -> Row:
        """Return what decides, to the job's own runner only: another runner's job looks like a missing one. Raises
        NotFound.
        """
        row: Row = await tx.one(
            dict, "profile_use_facts", **self.at, job_id=self.job_id, lease_id=lease_id,
            scopes=browser_scopes(self.client_id), installation_id=self.app.installation_id,
        )  # fmt: skip
        if row["runner_id"] != self.actor.id or row["profile_id"] is None:
            raise NotFound("not_found")
        return row

    async def held(self, tx: Tx) -> tuple[Profile, Opening]:
        """Return the profile and the job's opening, if the job still has it. Raises Conflict(``opening_lost``)."""
        held = await tx.maybe(Opening, "opening_of", **self.at)
        profile = await self.profile(tx)
        mine = held is not None and held.open and held.job_id == self.job_id
        mine = mine and held is not None and held.epoch == self.epoch == profile.epoch
        if held is None or not mine or held.purpose is not Purpose.USE or profile.state is not ProfileState.VALID:
            raise openings.lost()
        return profile, held

    async def in_use(self, tx: Tx) -> tuple[Row, Profile]:
        """Return the facts, and the profile at the generation that was opened. Raises Denied, Conflict."""
        row = await self.facts(tx)
        _may_use(row)
        profile, opening = await self.held(tx)
        if opening.generation != profile.generation:
            raise openings.lost()
        return row, profile

    async def sealing(self, tx: Tx) -> tuple[Profile, Opening]:
        """Return what a sealing job still has open, with the profile locked and the switches held."""
        await hold_open(tx, browser_scopes(self.client_id))
        await tx.all(None, "profile_lock", profile_id=self.profile_id)
        row = await self.facts(tx)
        require_working(row)
        if row["sealing"] is not True:
            raise Conflict("job_not_sealing", next_step="Close the browser, and report that the job is sealing.")
        return await self.held(tx)


async def _holder(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int = 0) -> _Holder:
    """Return the caller as a holder, if the actor may lease for the job at all.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
    """
    client_id = await client_for(app, actor, Verb.LEASE_USE, "job", job_id)
    return _Holder(app=app, actor=actor, client_id=client_id, job_id=job_id, profile_id=profile_id, epoch=epoch)


async def open_profile(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, lease_id: UUID) -> OpenedProfile:
    """Open a profile for a job, and for nobody else meanwhile.

    Args:
        lease_id: The job's use lease, for the record.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: ``switch_closed``, ``client_not_active``, ``job_not_open``, ``job_sealing``, ``lease_expired``,
            ``platform_not_declared``, ``lane_not_declared``, ``profile_not_usable``.
        Conflict: ``profile_in_use``, with ``since``.
    """
    holder = await _holder(app, actor, job_id, profile_id)
    async with holder.begin() as tx:
        await hold_open(tx, browser_scopes(holder.client_id))
        await tx.all(None, "profile_lock", profile_id=profile_id)
        row = await holder.facts(tx, lease_id)
        _may_use(row)
        if row["leased"] is not True:
            raise deny(DenyReason.LEASE_EXPIRED)
        if row["usable"] is not True:
            raise deny(DenyReason.PROFILE_NOT_USABLE)
        held = await tx.maybe(Opening, "opening_of", **holder.at)
        if held is not None and held.open:
            raise Conflict("profile_in_use", since=stamp(held.opened_at), next_step=_OTHER)
        profile = await holder.profile(tx)
        sealed, taken = await _newest(tx, profile), None
        if await openings.rolled_back(tx, holder.client_id, profile_id, profile.generation):
            await openings.quarantine(tx, app, actor, profile, cause=openings.ROLLED_BACK, alert="profile_integrity",
                                  lanes_off=False)  # fmt: skip
        else:
            taken = await openings.take(
                tx, app, actor, profile, purpose=Purpose.USE, job_id=job_id, lease=str(lease_id)
            )
    if taken is None:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    return OpenedProfile(
        epoch=taken.epoch, generation=sealed, packing=profile.packing, environment=app.environment,
        life_s=app.limits.lease_life_s, beat_s=BEAT_S,
    )  # fmt: skip


async def beat(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> int:
    """Return for how many seconds a holder's browser may stay open. It waits for no lock: the holder asks again.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: It must close, because of a switch, the client's state or the job's end.
        Conflict: ``opening_lost``: it ended, another one has begun, or the profile was taken out of use.
        Unavailable: Could not be checked.
    """
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    async with holder.begin() as tx:
        require_working(await holder.facts(tx))
        _, opening = await holder.held(tx)
        await openings.beat(tx, opening)
    return app.limits.lease_life_s


async def blob(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int
) -> tuple[Generation, AsyncGenerator[bytes, None]]:
    """Return the generation that the job has open, and its sealed blob.

    Raises:
        NotFound, Denied, Conflict: As :func:`beat`.
        Unavailable: As the artifact store raises, also while the chunks are read.
    """
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    async with holder.begin() as tx:
        _, profile = await holder.in_use(tx)
        sealed = await _newest(tx, profile)
    expected = StoredArtifact(size=sealed.blob_size, sha256_hex=sealed.blob_sha256.hex())
    chunks = _looked_at(app, actor, profile, app.artifacts.get(holder.client_id, key_of(sealed), expected))
    return sealed, chunks


async def end(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, cause: str) -> None:
    """End an opening: the browser is closed and nothing of the profile is left. Ending it twice changes nothing.

    Args:
        cause: One of ``CAUSES``. ``wrong_account``, an account that this job found to be another's, ``logged_out``,
            ``challenge`` and ``altered`` quarantine the profile: nobody opens it again before a person has looked or
            logged in (R5.3-15, R5.3-17).

    Raises:
        NotFound: No such job or profile for this runner.
        Rejected: ``bad_cause``.
    """
    if cause not in CAUSES:
        raise Rejected("bad_cause", next_step="Give one of: " + ", ".join(sorted(CAUSES)) + ".")
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    async with holder.begin() as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        await holder.facts(tx)
        held = await tx.maybe(Opening, "opening_of", **holder.at)
        if held is None or held.job_id != job_id or held.epoch != epoch:
            return
        profile = await holder.profile(tx)
        if not await openings.end(tx, actor, profile, held, cause=cause):
            return
        seen = await tx.all(dict, "profile_use_seen", **holder.at, job_id=job_id, opened_at=held.opened_at)
        if any(one["seen"] == "mismatch" for one in seen):
            cause = "wrong_account"
        if cause in _QUARANTINE:
            await take_out(tx, app, actor, profile, cause)
        elif cause in _ALERTS:
            await open_alert(tx, app, actor, reason=_ALERTS[cause], severity="warning", client_id=holder.client_id,
                             object_id=profile_id)  # fmt: skip


def _may_use(row: Row) -> None:
    """Let a job pass that may have a profile open.

    Raises:
        Denied: As :func:`require_working`; ``job_sealing``, ``lane_not_declared``, ``platform_not_declared``.
    """
    require_working(row)
    reason = (
        DenyReason.JOB_SEALING if row["sealing"] is not False
        else DenyReason.LANE_NOT_DECLARED if row["declared"] is not True
        else DenyReason.PLATFORM_NOT_DECLARED if row["of_a_declared_platform"] is not True
        else None
    )  # fmt: skip
    if reason is not None:
        raise deny(reason)


async def _looked_at(
    app: BrokerApp, actor: Actor, profile: Profile, stored: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Pass a blob on. A blob that is missing, or is not what was stored, takes its profile out of use."""
    try:
        async with aclosing(stored) as chunks:
            async for chunk in chunks:
                yield chunk
    except (Integrity, NotFound):
        async with app.db.begin(client_id=profile.client_id) as tx:
            await take_out(tx, app, actor, await locked(tx, profile.client_id, profile.id), "altered")
        raise


async def take_out(tx: Tx, app: BrokerApp, actor: Actor, profile: Profile, cause: str) -> None:
    """Quarantine a profile for what was found. A profile already in quarantine keeps its first reason."""
    if profile.state is not ProfileState.QUARANTINED:
        await openings.quarantine(tx, app, actor, profile, cause=cause, alert=_QUARANTINE[cause], lanes_off=False)


async def _newest(tx: Tx, profile: Profile) -> Generation:
    found = await tx.maybe(Generation, "generation_of", **profile.at, generation=profile.generation)
    if found is None:
        raise Denied(DenyReason.PROFILE_NOT_USABLE.value)
    return found


async def sealed_record(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> bytes:
    """Return the record of the generation that the job has open: docs/spec/manifest.md.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: As :func:`_may_use`; ``profile_not_usable``.
        Conflict: ``opening_lost``; ``opening_not_fresh``.
        Integrity: ``manifest_missing``, ``dek_missing``, ``superseded``, ``sealed_profile_altered``; the profile is out
            of use then.
        Unavailable: The store; ``store_timeout``.
    """
    holder, looked_at = await _holder(app, actor, job_id, profile_id, epoch), 0
    while True:
        async with holder.begin() as tx:
            await hold_open(tx, browser_scopes(holder.client_id))
            rows = await _just_opened(tx, holder)
            try:
                async with while_held():
                    text = await stored(app.records, rows[0], app.environment, found=StoredGeneration(), others=rows)
                await holder.held(tx)
            except Integrity as error:
                refused = error
            else:
                return text
        # A key that is wrapped anew meanwhile takes the row to another version, and this one away.
        if refused.code != "manifest_missing" or rows[0].record_version == looked_at:
            break
        looked_at = rows[0].record_version
    async with holder.begin() as tx:
        await take_out(tx, app, actor, await locked(tx, holder.client_id, profile_id), "altered")
    raise refused


async def _just_opened(tx: Tx, holder: _Holder) -> list[Generation]:
    """Return the rows of a profile that this job has just opened, the one that it opened first."""
    row, profile = await holder.in_use(tx)
    rows = await tx.all(Generation, "generations_of", **holder.at, limit=profiles.KEPT_IN_VIEW)
    if row["usable"] is not True or not rows or rows[0].generation != profile.generation:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    if not await tx.one(lambda row: row["fresh"] is True, "opening_fresh", **holder.at, within_s=FRESH_S):
        raise Conflict("opening_not_fresh", next_step="Open the profile again, and take its record at once.")
    return rows


async def begin(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> None:
    """Let a job seal what came of its browser; from here on it causes no effect. Beginning again changes nothing.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: As :func:`_may_use`; ``identity_mismatch``, ``identity_unproven``.
        Conflict: ``opening_lost``; ``permits_open``: close them first, or wait until they are called unknown;
            ``other_profile_open``.
    """
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    async with holder.begin() as tx:
        row = await holder.facts(tx)
        await hold_open(tx, browser_scopes(holder.client_id)[:-1])
        for lane in sorted(row["lanes"]):
            await tx.all(None, "switch_lock_exclusive", scope=f"client:{holder.client_id}:lane:{lane}")
        await tx.all(None, "profile_lock", profile_id=profile_id)
        row = await holder.facts(tx)
        _, opening = await holder.held(tx)
        if row["sealing"] is True:
            require_working(row)
            return
        _may_use(row)
        await _require_right(tx, holder, opening)
        left = await tx.one(dict, "profile_use_left_open", **holder.at, job_id=job_id)
        if left["permits"]:
            raise Conflict("permits_open", next_step="Report how each act ended, then seal.", count=left["permits"])
        if left["openings"]:
            raise Conflict("other_profile_open", next_step="Close every other browser of the job first.")
        await tx.one(UUID, "profile_use_sealing", client_id=holder.client_id, job_id=job_id)
        await noted(
            tx, actor, EventName.JOB_SEALING, client_id=holder.client_id, object_id=job_id, kind="use",
            runner=actor.id, profile=profile_id,
        )  # fmt: skip


async def announce(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, base: int, dek_id: UUID
) -> tuple[openings.GenerationPlan, str]:
    """Put a seal on record before anything of it is written; returns where it goes, and when its manifest was made.

    Args:
        base: The generation that was opened.
        dek_id: A new id for a new key.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: ``job_not_sealing``, and as :func:`require_working`.
        Conflict: ``opening_lost``, ``generation_moved``, ``record_history_full``; ``too_many_seals``: announced and not
            recorded, each with another key.
        Integrity: ``duplicate_key_material``.
        Unavailable: The store.
    """
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    try:
        async with holder.begin() as tx:
            profile, opening = await holder.sealing(tx)
            _require_base(opening, base)
            others = {"said": _said(epoch), "dek": _said(epoch, dek_id)}
            if await tx.one(int, "profile_use_unrecorded", **holder.at, **others) >= MOST_SEALS:
                raise Conflict("too_many_seals", next_step="End this job, find out what fails, and use another job.")
            async with while_held():
                newest = await app.records.newest(ProfileRef(profile.client_id, ProfileId(profile.id)))
            plan = await openings.announce(tx, app, actor, profile, opening, dek_id=dek_id, newest=newest)
            return plan, stamp(await _announced(tx, holder, dek_id))
    except (Conflict, Integrity) as error:
        await openings.tell_refused(app, actor, holder.client_id, profile_id, error)
        raise


async def put_blob(
    app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, dek_id: UUID, chunks: AsyncIterator[bytes]
) -> tuple[StoredArtifact, str]:
    """Write an announced blob, once; what is not sealed, too long or cut off leaves nothing.

    Returns it as it was written, and a receipt for the broker: it is recorded with nothing else than this.

    Raises:
        NotFound, Denied, Conflict: As :func:`announce`; ``artifact_exists``.
        Rejected: ``not_sealed``, ``blob_too_large``.
        Unavailable: As the artifact store raises.
    """
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    async with holder.begin() as tx:
        _, opening = await holder.sealing(tx)
        await _announced(tx, holder, dek_id)
    key = blob_key(holder.client_id, profile_id, opening.generation + 1, dek_id)
    done = await app.artifacts.put(holder.client_id, key, _bounded(chunks, app.limits.profile_blob_max))
    return done, _receipt(app, key, done)


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
    holder = await _holder(app, actor, job_id, profile_id, epoch)
    try:
        found = parse_record(text)
    except Integrity:
        raise _bad_seal() from None
    async with holder.begin() as tx:
        done = await tx.one(dict, "profile_use_announced", **holder.at, dek_id=dek_id, said=_said(epoch, dek_id))
        if done["sealed"] is True:
            await holder.facts(tx)
            return base + 1
        profile, opening = await holder.sealing(tx)
        _require_base(opening, base)
        at = await _announced(tx, holder, dek_id)
        plan = await openings.plan_of(tx, actor, profile, opening, dek_id, base=base)
        _require_planned(app, found, plan, at, await _newest(tx, profile))
        _require_receipt(app, opening, dek_id, found, receipt)
        await _require_right(tx, holder, opening)
        # In the profile's line, so that a repeated call does not write twice.
        ref = ProfileRef(profile.client_id, ProfileId(profile.id))
        async with while_held():
            newest = await app.records.newest(ref)
            check_seal(newest=newest, stays=plan.stays)  # one more pushes out none that must stay
            written = await app.records.write(ref, found.canonical, cas=newest)
        now = await openings.record(tx, app, actor, plan, found, written)
        await openings.end(tx, actor, now, opening)
    return plan.generation


async def _bounded(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise Rejected("blob_too_large", next_step="The session holds too much. Log in again.", limit=most)
        yield chunk


async def _require_right(tx: Tx, holder: _Holder, opening: Opening) -> None:
    """Let pass what a job saw to be the right account's; nothing of another's session is kept (R5.3-17)."""
    seen = await tx.all(dict, "profile_use_seen", **holder.at, job_id=holder.job_id, opened_at=opening.opened_at)
    if any(one["identity"] == "mismatch" for one in seen):
        raise deny(DenyReason.IDENTITY_MISMATCH)
    if {one["seen"] for one in seen} - {None} != {"match"}:
        raise deny(DenyReason.IDENTITY_UNPROVEN)


async def _announced(tx: Tx, holder: _Holder, dek_id: UUID) -> datetime:
    """Return when a seal was announced, whole seconds, as its manifest must say. Raises Conflict if it was not."""
    found = await tx.one(dict, "profile_use_announced", **holder.at, dek_id=dek_id, said=_said(holder.epoch, dek_id))
    at: datetime | None = found["announced_at"]
    if at is None:
        raise Conflict("seal_not_announced", next_step="Announce the seal with this key first.")
    return at


def _said(epoch: int, dek_id: UUID | None = None) -> str:
    return json.dumps({"fields": {"epoch": epoch} | ({} if dek_id is None else {"dek": str(dek_id)})})


def _require_base(opening: Opening, base: int) -> None:
    if opening.generation != base:
        raise Conflict("generation_moved", next_step="Another seal was first. Open the profile again.",
                       opened=opening.generation)  # fmt: skip


def _receipt(app: BrokerApp, key: ArtifactKey, found: StoredArtifact) -> str:
    return app.token_key(f"profile-blob/{key.text}/{found.size}/{found.sha256_hex}".encode()).hex()


def _require_receipt(app: BrokerApp, opening: Opening, dek_id: UUID, sealed: SealedRecord, receipt: str) -> None:
    key = blob_key(opening.client_id, opening.profile_id, opening.generation + 1, dek_id)
    found = StoredArtifact(size=sealed.blob_size, sha256_hex=sealed.blob_sha256.hex())
    if not hmac.compare_digest(_receipt(app, key, found).encode(), receipt.encode()):
        raise Rejected("bad_receipt", next_step="Record the blob as the broker took it.")


def _require_planned(
    app: BrokerApp, found: SealedRecord, plan: openings.GenerationPlan, at: datetime, opened: Generation
) -> None:
    """Let pass the record of exactly what was announced: place, generation, key, maker, time, and the accounts of what
    was opened (ADR 0101). If its row does not say which, their ids are the profile's as they now stand (ADR 0102).
    """
    said, profile = found.manifest, plan.profile
    place = RecordPlace(
        environment=app.environment, client_id=profile.client_id, profile_id=ProfileId(profile.id),
        generation=plan.generation,
    )  # fmt: skip
    if said.place != place or found.dek_id != plan.dek_id or (said.created_by, said.created_at) != (plan.sealed_by, at):
        raise _bad_seal()
    undigested = opened.accounts_hash is None
    if [(one.platform, one.account, undigested and one.account_id) for one in said.accounts] != sorted(
        (one.platform, one.account, undigested and one.external_id) for one in profile.accounts
    ):
        raise _bad_seal()
    if opened.accounts_hash not in (None, said.accounts_hash) or said.packing.value != profile.packing.value:
        raise _bad_seal()


def _bad_seal() -> Rejected:
    return Rejected("bad_seal", next_step="Send the record of what was announced: see docs/spec/manifest.md.")
