"""Openings and seals of profiles: who has one open, what was announced, what became of it, and the record in the store.

Rules
- One opener at a time, across machines. An opening lives by signs of life, and a seal must hold its epoch.
- A seal is announced before anything is written, and recorded in one transaction or not at all. Whoever lost the
  opening, or began from an older generation, is told so, and nothing of theirs counts. The row follows the record in
  the store, never the other way round (ADR 0026). The record is written by compare-and-set on the version that was the
  newest when the seal began. The loser's blob belongs to nobody, and the sweep removes it.
- Rows count for less than the client's audit chain: removing rows opens no older generation (R5.3-24). A record older
  than its row was put back by somebody: ``superseded``.
- The row says which version, which manifest, which blob. Neither the store nor whoever read it is believed. A missing
  record and a missing key are named. Everything else that is wrong is the same error, and the caller also learns whose
  things were found there (R5.3-15).
- No seal begins whose record would push one that must stay out of the store. An alert opens when half of the room for
  records is used up; a refusal opens another. A rotation of the client's key frees the room
  (:func:`byokeep.profiles.kek_tasks.rewrap`).
- A key id that was seen before is refused: a source of randomness that repeats itself guards nothing (R2.3-2).
- Destroyed keys stay destroyed, whatever is restored. Their ids are kept apart as tombstones, and a profile's own id as
  soon as it is being shredded. If the database calls such a key anything else, a restore brought it back: it is
  destroyed again, on record and with an alert, and no profile that depends on it is opened. Tombstones that cannot be
  read are an alert of their own.

It may not hold a key, open a blob other than into a sink, or decide what follows from a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core import profile as life
from byokeep.core.errors import ByokeepError, Conflict, Integrity
from byokeep.core.events import EventName, Outcome
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.manifest import Manifest, Packing
from byokeep.core.model import Actor, Client, ClientId, Environment, ProfileId
from byokeep.core.profile import ProfileAct, Purpose
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import FULL, SealedRecord, check_seal, is_low
from byokeep.kernel import incidents
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import Said, open_alert, stamp
from byokeep.kernel.command import record as noted
from byokeep.kernel.ports import ProfileRecords, Tx, Written
from byokeep.kernel.sops import SopRun
from byokeep.profiles import kek, profiles
from byokeep.profiles.kek import ProfileCustody, check_protect
from byokeep.profiles.profiles import Opening, Profile, expected_account, locked
from byokeep.sealing.generation import (
    Generation,
    Sealing,
    Sink,
    Source,
    StoredGeneration,
    agreed,
    missing,
    parsed,
    require_readable,
)

_LOOKED_AT: Final = life.RETAINED + 1  # generations
LIFE_S: Final = 30  # seconds an opening lasts without a sign of life
ROLLED_BACK: Final = "generation_rolled_back"
LOW: Final = "record_history_low"
DUPLICATE: Final = "duplicate_key_material"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """A seal that was announced: where everything goes, and what it starts from.

    Attributes:
        base: The generation it starts from; ``generation`` is one more than the newest.
        epoch: The epoch of the opening that seals.
        stays: The oldest version of the record that must not fall out of the store; 0 = none.
    """

    profile: Profile
    purpose: Purpose
    base: int
    generation: int
    epoch: int
    dek_id: UUID
    job_id: UUID
    sealed_by: UUID
    stays: int = 0

    @property
    def blob_key(self) -> str:
        """The blob's place in the artifact store, under its client's prefix; written once."""
        return f"clients/{self.profile.client_id}/profiles/{self.profile.id}/{self.generation}-{self.dek_id}"

    @property
    def path(self) -> str:
        """The record's place in the secret store."""
        return f"kv/clients/{self.profile.client_id}/profiles/{self.profile.id}"


async def take(
    tx: Tx, app: App, actor: Actor, profile: Profile, *, purpose: Purpose, job_id: UUID, lease: str = "",
    work: UUID | None = None, anything: bool = False,
) -> Opening:  # fmt: skip
    """Open a profile for one opener. Everybody else waits until it ends or gives no more signs of life.

    Args:
        profile: As it was read in this transaction, under its lock.
        lease: The id of the lease that it is opened under.
        work: The work that it is opened for.
        anything: Whatever the state: nothing will be opened, only kept from others.

    Raises:
        Conflict: ``profile_state``; ``profile_in_use``.
    """
    if not anything:
        life.check_openable(profile.state, purpose)
    held = await tx.maybe(Opening, "opening_of", **profile.at)
    if held is not None and held.open:
        step = f"Wait until it is closed, or end that job. A killed one lets go after {LIFE_S} s."
        raise Conflict("profile_in_use", next_step=step, job=held.job_id, purpose=held.purpose.value,
                       since=stamp(held.opened_at))  # fmt: skip
    epoch = await tx.one(int, "opening_epoch", client_id=profile.client_id, id=profile.id)
    taken = await tx.maybe(
        Opening, "opening_take", **profile.at, epoch=epoch, generation=profile.generation, purpose=purpose.value,
        job_id=job_id, opener_id=actor.id, life_s=LIFE_S,
    )  # fmt: skip
    if taken is None:
        raise Conflict("profile_in_use", next_step="Wait until it is closed: only one may have it open at a time.")
    await profiles.note(
        tx, EventName.PROFILE_OPENED, actor, profile, kind=purpose, epoch=epoch, job=job_id, work=work,
        lease=lease or None,
    )  # fmt: skip
    return taken


async def beat(tx: Tx, opening: Opening) -> None:
    """Give a sign of life.

    Raises:
        Conflict: ``opening_lost``: it is over, or somebody else has it.
    """
    if await tx.maybe(datetime, "opening_beat", **opening.at, life_s=LIFE_S) is None:
        raise lost()


async def end(tx: Tx, actor: Actor, profile: Profile, opening: Opening, *, cause: str = "closed") -> bool:
    """End an opening; False if it was already over."""
    if await tx.maybe(str, "opening_end", **opening.at) is None:
        return False
    await profiles.note(
        tx, EventName.PROFILE_OPENING_ENDED, actor, profile, kind=opening.purpose, epoch=opening.epoch,
        job=opening.job_id, cause=cause,
    )  # fmt: skip
    return True


async def announce(
    tx: Tx, app: App, actor: Actor, profile: Profile, opening: Opening, *, dek_id: UUID, newest: int,
    base: int | None = None,
) -> GenerationPlan:  # fmt: skip
    """Record a seal before anything of it is written; returns the plan. Alerts people when little room is left.

    Args:
        profile: As it was read in this transaction, under its lock.
        opening: The sealer's.
        dek_id: A new id for a new key.
        newest: The newest version of the record in the store.
        base: The generation whose content is sealed; default: the one that was opened.

    Raises:
        Conflict: ``opening_lost``, ``generation_moved``, ``profile_state``; ``record_history_full``.
        Integrity: ``duplicate_key_material``: a profile, of whichever client, has used the id. Whoever rolls back for
            one of the last two calls :func:`tell_refused`.
    """
    held = await tx.maybe(Opening, "opening_of", **profile.at)
    if held is None or held.epoch != opening.epoch or not held.open:
        raise lost()
    life.after(profile.state, _act(opening.purpose, restored=base is not None))
    if profile.generation != opening.generation:
        raise Conflict("generation_moved", next_step="Another seal was first. Open the profile again.",
                       opened=opening.generation, newest=profile.generation)  # fmt: skip
    if await tx.maybe(UUID, "dek_used", dek_id=dek_id) is not None:
        step = "Do not seal on this machine until its source of randomness has been examined."
        raise Integrity(DUPLICATE, profile=profile.id, next_step=step)
    plan = await plan_of(tx, actor, profile, opening, dek_id, base=profile.generation if base is None else base)
    check_seal(newest=newest, stays=plan.stays)
    if is_low(newest=newest, stays=plan.stays):
        await open_alert(
            tx, app, actor, reason=LOW, severity="warning", client_id=profile.client_id, object_id=profile.id
        )
    await _note_seal(tx, EventName.PROFILE_SEAL, actor, plan, outcome=Outcome.INTENDED)
    return plan


async def plan_of(
    tx: Tx, actor: Actor, profile: Profile, opening: Opening, dek_id: UUID, *, base: int
) -> GenerationPlan:
    """Return the plan of a seal by the one who has a profile open."""
    rows = await tx.all(Generation, "generations_of", **profile.at, limit=_LOOKED_AT)
    oldest = profile.generation - life.RETAINED
    restorable = [row.record_version for row in rows if row.generation >= oldest and row.gone_at is None]
    return GenerationPlan(
        profile=profile, purpose=opening.purpose, base=base, generation=profile.generation + 1, epoch=opening.epoch,
        dek_id=dek_id, job_id=opening.job_id, sealed_by=actor.id, stays=min(restorable, default=0),
    )  # fmt: skip


async def record(
    tx: Tx, app: App, actor: Actor, plan: GenerationPlan, sealed: SealedRecord, written: Written, *,
    work: UUID | None = None,
) -> Profile:  # fmt: skip
    """Make a sealed generation the newest: row, profile and record together; returns the profile as it then is.

    Raises:
        Conflict: ``opening_lost``, ``generation_moved``, ``profile_state``: another was first; what this one wrote
            belongs to nobody, and the sweep removes it.
        Rejected, Integrity: As :func:`byokeep.profiles.kek.check_protect`: the key that wrapped it may not.
    """
    now = await locked(tx, plan.profile.client_id, plan.profile.id)
    held = await tx.maybe(Opening, "opening_of", **now.at)
    if held is None or held.epoch != plan.epoch or now.epoch != plan.epoch:
        raise lost()
    to = life.after(now.state, _act(plan.purpose, restored=plan.base not in (now.generation, 0)))
    sealed_at = await tx.one(
        datetime, "generation_insert", **now.at, generation=plan.generation, dek_id=plan.dek_id,
        blob_key=plan.blob_key, sealed_by=plan.sealed_by, job_id=plan.job_id,
        holder=sealed.kek.holder, kek_id=sealed.kek.key_id, kek_version=sealed.kek_version,
        blob_sha256=sealed.blob_sha256, blob_size=sealed.blob_size, packed_size=sealed.packed_size,
        manifest_hash=sealed.manifest.hash, accounts_hash=sealed.manifest.accounts_hash,
        record_version=written.version, store_request=written.request_id,
        browser_version=sealed.manifest.browser_version,
    )  # fmt: skip
    client: Client = await tx.one(Client, "client_get", id=now.client_id)
    due_at = life.next_due(sealed_at=sealed_at, risk=client.risk, days=app.limits.profile_rekey_days)
    done = await tx.maybe(
        UUID, "profile_sealed", **now.row, generation=plan.generation,
        base=plan.generation - 1, epoch=plan.epoch, state=to.value, state_from=now.state.value, due_at=due_at,
        clears=life.clears_due(now.due_cause, plan.purpose),
    )  # fmt: skip
    if done is None:
        raise Conflict("generation_moved", next_step="Another seal was first. Open the profile again.")
    # Whoever wrapped it, in whatever process, must have used a version that may protect now (S-NIST-4, S-NIST-8).
    await check_protect(tx, app, holder=sealed.kek.holder, kek_id=sealed.kek.key_id, version=sealed.kek_version)
    run = await tx.maybe(SopRun, "sop_of_profile", **now.at)
    await _note_seal(
        tx, EventName.PROFILE_SEALED, actor, plan, version=written.version, blob_digest=sealed.blob_sha256,
        size=sealed.blob_size, manifest=sealed.manifest.hash, browser=sealed.manifest.browser_version, due_at=due_at,
        holder=sealed.kek.holder, kek=sealed.kek.key_id, kek_version=sealed.kek_version,
        store_request=written.request_id, sop=run and run.id, work=work,
    )  # fmt: skip
    return await tx.one(Profile, "profile_get", **now.row)


async def rolled_back(tx: Tx, client_id: ClientId, profile_id: UUID, newest: int) -> bool:
    """Whether the client's chain has a seal of a newer generation than ``newest``, the newest of the rows.

    A row and its record come in one transaction, and rows are never removed: somebody put the rows back. A seal that
    was cut has no such record, whatever it left in the store.
    """
    return await tx.one(int, "profile_sealed_last", client_id=client_id, profile_id=profile_id) > newest


async def give_up(tx: Tx, actor: Actor, plan: GenerationPlan, *, reason: str) -> None:
    """Record that an announced seal came to nothing and that nothing of it is left."""
    await _note_seal(tx, EventName.PROFILE_SEAL, actor, plan, outcome=Outcome.FAILED, reason=reason)


async def quarantine(
    tx: Tx, app: App, actor: Actor, profile: Profile, *, cause: str, alert: str = "profile_quarantined",
    lanes_off: bool = True, said: Mapping[str, Said] | None = None,
) -> None:  # fmt: skip
    """Take a profile out of use until a person has looked; the browser lane of its accounts goes off.

    A platform that asks a challenge has locked the account out, as far as anyone can tell: an incident (R6.3-3).

    Args:
        cause: Why; one of our codes.
        alert: The reason of the alert.
        lanes_off: Whether this process may switch lanes; if not, the gate denies by the profile's state.
        said: More fields of the record.
    """
    if not life.living(profile.state):
        return
    if cause == "challenge":
        await incidents.opened(
            tx, app, actor, IncidentKind.LOCKOUT, client_id=profile.client_id, source=IncidentSource.PLATFORM,
            object_kind="profile", object_id=profile.id,
        )  # fmt: skip
    await profiles.move(tx, profile, ProfileAct.QUARANTINE, reason=cause)
    if lanes_off:
        await lanes_off_of(tx, actor, profile.client_id, profile.id)
    await profiles.note(tx, EventName.PROFILE_QUARANTINED, actor, profile, Outcome.FAILED, cause=cause, **(said or {}))
    await open_alert(tx, app, actor, reason=alert, client_id=profile.client_id, object_id=profile.id)


async def lanes_off_of(tx: Tx, actor: Actor, client_id: ClientId, profile_id: UUID) -> None:
    """Switch the browser lane off for every account of a profile, each on record."""
    for row in await tx.all(dict, "profile_lanes_off", client_id=client_id, profile_id=profile_id):
        await noted(
            tx, actor, EventName.LANES_SET, client_id=client_id, object_id=row["id"], platform=row["platform"],
            lanes=",".join(row["lanes"]),
        )  # fmt: skip


async def quarantine_like(app: App, actor: Actor, profile: Profile, *, cause: str, found: StoredGeneration) -> None:
    """Quarantine a profile, and every other whose blob, key or name was found in its place (R5.3-15)."""
    like = {"dek_id": found.dek_id, "blob_sha256": found.digest, "profile_id": found.profile_id}
    rows = await app.db.read(dict, "generations_like", like, every_client=True)
    others = {(row["client_id"], row["profile_id"]) for row in rows} - {(profile.client_id, profile.id)}
    for client_id, one in ((profile.client_id, profile.id), *sorted(others)):
        async with app.db.begin(client_id=client_id) as tx:
            await tx.all(None, "profile_lock", profile_id=one)
            now = await tx.maybe(Profile, "profile_get", client_id=client_id, id=one)
            if now is not None:
                await quarantine(tx, app, actor, now, cause=cause, alert="profile_integrity")


async def tell_refused(app: App, actor: Actor, client_id: ClientId, profile_id: UUID, error: ByokeepError) -> None:
    """Raise the alert about a seal that was refused, as one too many or for lack of room or of a fresh key."""
    if error.code in (FULL, DUPLICATE, "too_many_seals"):
        async with app.db.begin(client_id=client_id) as tx:
            await open_alert(tx, app, actor, reason=error.code, client_id=client_id, object_id=profile_id)


def plan_from(said: dict[str, Any], profile: Profile) -> GenerationPlan:
    """Rebuild a plan from the fields of the record that announced it.

    Raises:
        ValueError, KeyError, TypeError: It is not such a record.
    """
    return GenerationPlan(
        profile=profile, purpose=Purpose.REKEY, base=int(said["generation"]) - 1, generation=int(said["generation"]),
        epoch=int(said["epoch"]), dek_id=UUID(said["dek"]), job_id=UUID(said["job"]), sealed_by=profile.created_by,
    )  # fmt: skip


def _act(purpose: Purpose, *, restored: bool) -> ProfileAct:
    """Return what a seal does to a profile: a job that only saves leaves it valid, all others ask for a proof."""
    if purpose is Purpose.USE:
        return ProfileAct.SAVE
    return ProfileAct.RESTORE if restored and purpose is Purpose.REKEY else ProfileAct.SEAL


def lost() -> Conflict:
    """Return the refusal for somebody whose opening is over."""
    return Conflict("opening_lost", next_step="Open the profile again. What was not sealed is lost.")


async def _note_seal(tx: Tx, name: EventName, actor: Actor, plan: GenerationPlan, **said: Any) -> None:
    said |= {"generation": plan.generation, "dek": plan.dek_id, "epoch": plan.epoch, "path": plan.path}
    await profiles.note(tx, name, actor, plan.profile, job=plan.job_id, **said)


MISSING: Final = frozenset({"manifest_missing", "dek_missing", "blob_missing"})
_GONE: Final = frozenset({"record_missing", "store_not_found", "secret_version_gone"})


async def seal(
    sealing: Sealing, records: ProfileCustody, manifest: Manifest, dek_id: UUID, source: Source, *, stays: int
) -> tuple[SealedRecord, Written]:
    """Seal what a source gives and write its record; returns both, to be recorded in the database.

    Args:
        sealing, records: Under a custody lease of the client.
        manifest: As :func:`manifest_of` returns it for the announced seal.
        source: The packed profile.
        stays: The oldest version of the record that must not fall out of the store; 0 = none.

    Raises:
        Conflict: ``stale_version``: another seal was first; ``record_history_full``: it would push a good record out.
        Rejected: What cannot be sealed; the state of the client's key.
        Unavailable: OpenBao or the artifact store; nothing counts, and what was written is swept.
        Integrity: The artifact store says that it holds something other than it was given.
    """
    ref = ProfileRef(manifest.client_id, manifest.profile_id)
    cas = await records.newest(ref)
    check_seal(newest=cas, stays=stays)
    record = await sealing.seal(manifest, dek_id, source)
    return record, await records.write(ref, record.canonical, cas=cas)


async def unseal(
    sealing: Sealing, records: ProfileRecords, generation: Generation, environment: Environment, sink: Sink, *,
    found: StoredGeneration, others: Sequence[Generation] = (),
) -> SealedRecord:  # fmt: skip
    """Open a generation into a sink, with the record from the store.

    Args:
        sealing, records: Under a custody lease of the client.
        sink: The workspace's.
        generation, environment, found, others: As :func:`stored`.

    Raises:
        Rejected: ``key_state``: its key no longer opens anything.
        Integrity: ``manifest_missing``, ``dek_missing``, ``blob_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: Something could not be asked; nothing is known.
    """
    require_readable(generation)
    text = await stored(records, generation, environment, found=found, others=others)
    return await sealing.unseal(text, generation, environment, sink, found=found)


async def stored(
    records: ProfileRecords, generation: Generation, environment: Environment, *, found: StoredGeneration,
    others: Sequence[Generation] = (),
) -> bytes:  # fmt: skip
    """Return the text of a generation's record, as the store has it.

    Args:
        generation: The row, which says what must be there.
        environment: Of this installation.
        found: Filled with what was found.
        others: Every row of the profile: a newer version is no stranger if one of them stands for it.

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


def manifest_of(app: App, plan: GenerationPlan, *, browser_version: str) -> Manifest:
    """Return the manifest of a planned generation. The server itself says who and when (R5.3-13)."""
    profile = plan.profile
    accounts = sorted(map(expected_account, profile.accounts), key=lambda one: (one.platform.value, one.account))
    return Manifest(
        environment=app.environment, client_id=profile.client_id, profile_id=ProfileId(profile.id),
        generation=plan.generation, platforms=tuple(sorted(profile.platforms)), accounts=tuple(accounts),
        created_by=plan.sealed_by, created_at=app.clock.now().astimezone(UTC).replace(microsecond=0),
        packing=Packing(profile.packing.value), browser_version=browser_version,
    )  # fmt: skip


async def _refuse_replay(records: ProfileRecords, ref: ProfileRef, rows: Sequence[Generation], newest: int) -> None:
    """Refuse a newer version that no row stands for and that is no newer generation: somebody put it back.

    Two kinds may be there otherwise: what a cut seal left, and a key that was rewrapped and whose row has not followed
    yet.
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
        raise Integrity("superseded", next_step="Somebody put back an old record. Find out who can write to the store.",
                        generation=opened, put_back=later.manifest.generation)  # fmt: skip


async def _read(records: ProfileRecords, ref: ProfileRef, version: int) -> bytes:
    try:
        return await records.read(ref, version)
    except ByokeepError as error:
        if error.code not in _GONE:
            raise
    raise missing("manifest_missing")


TOMBSTONE: Final = "tombstone"  # why a key was destroyed again


async def keep_tombstones(app: BrokerApp) -> int:
    """Store the ids of destroyed keys apart, and destroy again what came back; returns how many came back.

    Raises:
        Integrity, Unavailable: As the port raises; or the database.
    """
    async with app.db.begin(every_client=True) as tx:
        await app.tombstones.add(await tx.all(UUID, "tombstones_destroyed"))
        ids = await app.tombstones.all()
        back = await tx.all(Generation, "tombstones_back", ids=sorted(ids))
    actor = app.system()
    for row in back:
        async with app.db.begin(client_id=row.client_id) as tx:
            await tx.all(None, "profile_lock", profile_id=row.profile_id)
            await kek.destroy_key(tx, app, actor, row, reason=TOMBSTONE)
            await open_alert(tx, app, actor, reason="destroyed_key_back", client_id=row.client_id,
                             object_id=row.profile_id, key=f"destroyed_key_back:{row.dek_id}")  # fmt: skip
    return len(back)
