"""Key-encryption keys (KEKs): their rows, what people see of them and ask for, what a worker needs to work on one.

Rules
- A version has a row before it protects anything, and the row is never removed. A destroyed version's row is its
  tombstone, which no restore of OpenBao undoes (R2.3-6).
- A move follows the one table of key states, and leaves a row of history and a record, in one transaction (S-NIST-1).
  The same holds for a profile's data-encryption key (DEK).
- Before a DEK is wrapped or unwrapped, its KEK version is checked: the row's state first, then its periods
  (S-NIST-2..8). A version without a row protects nothing and opens nothing.
- What depends on a version is counted from the rows of what was sealed, never from a column of its own.
- A KEK is reachable only inside a custody lease, for one client at a time. It never leaves OpenBao. No DEK comes out
  here: what moves between versions of a KEK stays wrapped (S-GCM-11).
- A worker does what needs OpenBao. What it did is on record with the name of whoever asked.
- A version with dependents is not ended (R6.1-8); the refusal says how many. Ending it takes a different person from
  the one who stopped it from protecting.
- A compromise needs one person, at once. It marks every key that the version ever wrapped. Its plan is done when none
  of them is left (S-NIST-16).
- The inventory shows what each key is, whose, its state, its age, when it is due and when it was last used; never what
  it holds. Its comparison is the last one a worker recorded. A client that was not or could not be compared is unknown.

It may not talk to OpenBao: :mod:`.kek_tasks` does, in the worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, Integrity, NotFound
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.kek import (
    ALGORITHM,
    KEK_BITS,
    TRANSIT,
    KeyPurpose,
    Periods,
    Suspension,
    check_provider,
    check_strength,
    default_periods,
    may_process,
    may_protect,
    may_resume,
    rotation_due,
    urgency,
)
from byokeep.core.keystate import KeyState, check_transition
from byokeep.core.model import PROFILE, Actor, ClientId
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.core.ref import ProfileRef
from byokeep.jobs.jobs import custody_job
from byokeep.kernel.app import App
from byokeep.kernel.asking import digest_of
from byokeep.kernel.command import command, open_alert, permit, recorded
from byokeep.kernel.ports import ArtifactStore, Custody, Tx
from byokeep.kernel.record import record
from byokeep.kernel.rows import Row
from byokeep.profiles import profiles
from byokeep.profiles.profiles import Profile
from byokeep.sealing.generation import Generation
from byokeep.tenancy.clients import MAX_ROWS, require_active, scope_of

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Kek:
    """One version of a KEK.

    Attributes:
        client_id: Whose; None = every client's, as only a version of AWS KMS from an older release can be.
        identity: Tells this key from any other, as :class:`byokeep.core.kek.KekVersion`; empty until it is made.
        dependents: How many keys depend on it.
    """

    holder: str
    kek_id: str
    version: int
    client_id: UUID | None
    environment: str
    algorithm: str
    bits: int
    state: KeyState
    owner: str
    made_at: datetime
    protect_until: datetime
    process_until: datetime
    compromised_at: datetime | None
    changed_at: datetime
    changed_by: UUID
    identity: str
    dependents: int
    now: datetime

    @property
    def periods(self) -> Periods:
        """How long it may protect and process."""
        return Periods(
            purpose=KeyPurpose.WRAP, starts_at=self.made_at, oup=self.protect_until - self.made_at,
            rup=self.process_until - self.made_at,
        )  # fmt: skip

    @property
    def place(self) -> dict[str, object]:
        """Its row."""
        return {"holder": self.holder, "kek_id": self.kek_id, "version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class KekMove:
    """A move of a version that happened."""

    state_from: str
    state_to: str
    reason: str
    at: datetime
    by: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A rotation; ``done`` only when nothing is left on older versions. ``remaining`` is as of when it was read."""

    id: UUID
    client_id: UUID | None
    holder: str
    kek_id: str
    from_version: int
    to_version: int
    state: str
    reason: str
    moved: int
    started_by: UUID
    started_at: datetime
    ended_at: datetime | None
    remaining: int

    @property
    def older(self) -> dict[str, object]:
        """The versions that it empties."""
        return {"holder": self.holder, "kek_id": self.kek_id, "below": self.to_version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """One wrapped key that depends on a version: whose, of which profile, for which accounts."""

    client_id: UUID
    client: str
    profile_id: UUID
    generation: int
    dek_id: UUID
    kek_version: int
    blob_key: str
    blob_size: int
    key_state: str
    sealed_at: datetime
    profile_state: str
    newest: bool
    accounts: tuple[str, ...]


MANY: Final = 1000
ROTATE_TASK: Final = "kek_rotate"
REWRAP_TASK: Final = "kek_rewrap"
CHECK_TASK: Final = "kek_check"
END_TASK: Final = "kek_end"
RECORD_MISSING: Final = "profile_record_missing"
RECORD_ORPHAN: Final = "profile_record_orphan"
BLOB_MISSING: Final = "profile_blob_missing"
BLOB_ORPHAN: Final = "profile_blob_orphan"
FINDINGS: Final = (RECORD_MISSING, RECORD_ORPHAN, BLOB_MISSING, BLOB_ORPHAN)
UNKNOWN: Final = "unknown"


async def versions(tx: Tx, *, ids: Sequence[UUID] | None = None, kek_id: str | None = None) -> list[Kek]:
    """Return the versions that OpenBao holds, of all keys, of some clients' or of one; a key's oldest first."""
    rows = await tx.all(Kek, "keks_list", ids=ids, kek_id=kek_id, limit=MANY)
    return [row for row in rows if row.holder == TRANSIT]


async def under_way(tx: Tx, *, kek_id: str | None = None) -> list[Rotation]:
    """Return the rotations at OpenBao that are not done, of one key or of all."""
    rows = await tx.all(Rotation, "kek_rotations", ids=None, kek_id=kek_id, open=True, limit=MANY)
    return [row for row in rows if row.holder == TRANSIT]


async def announce(tx: Tx, app: App, actor: Actor, *, kek_id: str, version: int, client_id: UUID) -> Kek:
    """Enter a version in the inventory before it is made. One that was announced before is returned as it is.

    Raises:
        Rejected: ``kek_too_weak``.
    """
    check_strength(KEK_BITS)
    periods = default_periods(KeyPurpose.WRAP, await tx.one(datetime, "kek_now"))  # the clock that seals are stamped by
    place: dict[str, object] = {"holder": TRANSIT, "kek_id": kek_id, "version": version}
    made = await tx.maybe(
        int, "kek_version_insert", **place, client_id=client_id, environment=app.environment.value,
        algorithm=ALGORITHM, bits=KEK_BITS, owner=app.limits.kek_owner, made_at=periods.starts_at,
        protect_until=periods.protects_until, process_until=periods.processes_until, changed_by=actor.id,
    )  # fmt: skip
    kek = await tx.one(Kek, "kek_hold", **place)
    if made is not None:
        await note(tx, EventName.KEK_MADE, actor, kek, Outcome.INTENDED, **made_fields(kek))
    return kek


def made_fields(kek: Kek) -> dict[str, Any]:
    """Return what the record of a new version says besides its place (R2.3-3)."""
    return {
        "algorithm": kek.algorithm, "bits": kek.bits, "owner": kek.owner, "purpose": kek.periods.purpose.value,
        "protect_until": kek.protect_until, "process_until": kek.process_until,
    }  # fmt: skip


async def move(tx: Tx, app: App, actor: Actor, kek: Kek, *, to: KeyState, reason: str) -> None:
    """Move a version as the table of key states says, on record and in its history.

    Raises:
        Rejected: ``key_state``; ``key_period_over``: a suspended version may protect nothing any more (S-NIST-3).
        Conflict: ``key_moved``: somebody else was first.
    """
    check_transition(kek.state, to)
    if (kek.state, to) == (KeyState.SUSPENDED, KeyState.ACTIVE):
        may_resume(kek.state, kek.now, kek.periods)
    steps = {"state_from": kek.state.value, "state_to": to.value}
    if await tx.maybe(int, "kek_set_state", **kek.place, **steps, changed_by=actor.id) is None:
        raise Conflict("key_moved", next_step="Look again: `byokeep kek status`.")
    await tx.one(
        UUID, "kek_transition_insert", id=app.ids.uuid(), client_id=kek.client_id, kek_id=kek.kek_id,
        version=kek.version, **steps, reason=reason, by=actor.id,
    )  # fmt: skip
    await note(tx, EventName.KEK_CHANGED, actor, kek, Outcome.OK, **steps, reason=reason)


async def pin(tx: Tx, kek: Kek, identity: str) -> None:
    """Store which key a version is; only the first call counts."""
    if identity and not kek.identity:
        await tx.maybe(int, "kek_pin", **kek.place, identity=identity)


async def compromised_late(tx: Tx, actor: Actor, kek: Kek, *, reason: str) -> None:
    """Record that a destroyed version turned out to be compromised; it stays destroyed (S-NIST-6).

    Raises:
        Conflict: ``key_moved``: that is known already.
    """
    if await tx.maybe(int, "kek_compromised_late", **kek.place, changed_by=actor.id) is None:
        raise Conflict("key_moved", next_step="Nothing to do: it is already on record as compromised.")
    steps = {"state_from": kek.state.value, "state_to": "compromised"}
    await note(tx, EventName.KEK_CHANGED, actor, kek, Outcome.INTENDED, **steps, reason=reason)


async def held(tx: Tx, *, holder: str = TRANSIT, kek_id: str, version: int, lock: bool = True) -> Kek:
    """Return one version, locked until the transaction ends; without ``lock`` for a caller that has locked the key.

    Raises:
        NotFound: ``not_found``.
    """
    return await tx.one(Kek, "kek_hold" if lock else "kek_look", holder=holder, kek_id=kek_id, version=version)


async def suspensions(tx: Tx, kek: Kek) -> tuple[Suspension, ...]:
    """Return the spans in which a version was suspended."""
    spans: list[Suspension] = []
    since: datetime | None = None
    for one in await tx.all(KekMove, "kek_transitions", kek_id=kek.kek_id, version=kek.version):
        if one.state_to == KeyState.SUSPENDED:
            since = one.at
        elif since is not None:
            spans.append(Suspension(since, one.at))
            since = None
    return tuple(spans) if since is None else (*spans, Suspension(since))


async def check_protect(tx: Tx, app: App, *, holder: str, kek_id: str, version: int) -> Kek:
    """Check that a version may wrap a new key; returns its row.

    Raises:
        Rejected: ``key_state``; ``key_period_over``; ``key_not_yet_valid``.
        Integrity: ``kek_unknown_outside``.
    """
    kek = await _row(tx, app, holder=holder, kek_id=kek_id, version=version)
    may_protect(kek.state, kek.now, kek.periods)
    return kek


async def check_process(tx: Tx, app: App, *, holder: str, kek_id: str, version: int, protected_at: datetime) -> Kek:
    """Check that a version may unwrap a key that it wrapped at ``protected_at``; returns its row.

    Args:
        protected_at: When the key was used to seal, as its row says. A younger version took it over in a rewrap, and
            counts from its own first day.

    Raises:
        Rejected: ``key_state``; ``key_period_over``; ``protected_in_suspension``; ``protected_outside_period``.
        Denied: ``key_compromised``.
        Integrity: ``kek_unknown_outside``.
    """
    kek = await _row(tx, app, holder=holder, kek_id=kek_id, version=version)
    spans = await suspensions(tx, kek)
    may_process(kek.state, kek.now, kek.periods, protected_at=max(protected_at, kek.made_at), suspensions=spans)
    return kek


async def _row(tx: Tx, app: App, *, holder: str, kek_id: str, version: int) -> Kek:
    found = await tx.maybe(Kek, "kek_look", holder=holder, kek_id=kek_id, version=version)
    if found is None or found.environment != app.environment.value:
        raise Integrity("kek_unknown_outside", next_step="This key has no row. See `byokeep kek status`.",
                        version=version)  # fmt: skip
    return found


async def note(tx: Tx, name: EventName, actor: Actor, kek: Kek, outcome: Outcome = Outcome.OK, **said: Any) -> None:
    """Record something about a version on its client's chain; on the platform's for a key that guards every client."""
    said |= {"holder": kek.holder, "kek": kek.kek_id, "kek_version": kek.version}
    await record(tx, actor, name, outcome=outcome, client_id=kek.client_id, object_id=kek.client_id, **said)


async def queue_rewrap(tx: Tx, rotation_id: UUID, client_id: UUID, actor: Actor) -> None:
    """Hand one client of a rotation to a worker."""
    await tx.defer(
        REWRAP_TASK, key=f"{REWRAP_TASK}:{rotation_id}:{client_id}", rotation_id=str(rotation_id),
        client_id=str(client_id), asked_by=str(actor.id),
    )  # fmt: skip


async def require_another(tx: Tx, actor: Actor, kek_id: str, version: int) -> None:
    """Let a caller pass who stopped none of the versions that would end: ending them takes a second person.

    Raises:
        Denied: ``same_person``.
    """
    if actor.id in await tx.all(lambda row: UUID(str(row["by"])), "kek_stopped_by", kek_id=kek_id, version=version):
        raise Denied("same_person", next_step="Another approver must disable it.", version=version)


async def refuse_dependents(tx: Tx, holder: str, kek_id: str, version: int) -> None:
    """Pass if nothing depends on a version or an earlier one.

    Raises:
        Conflict: ``kek_has_dependents`` with the count.
    """
    left = await tx.one(int, "kek_dependents_below", holder=holder, kek_id=kek_id, below=version + 1)
    if left:
        raise Conflict("kek_has_dependents", next_step="Rewrap them first: `byokeep kek rewrap`.",
                       dependents=left, version=version)  # fmt: skip


async def move_key(
    tx: Tx, app: App, actor: Actor, generation: Generation, *, to: KeyState, reason: str, incident: UUID | None = None
) -> None:
    """Move the key of a generation as the table of key states says, on record.

    Raises:
        Rejected: ``key_state``.
        Conflict: ``key_moved``: somebody else was first.
    """
    check_transition(generation.key_state, to)
    steps: dict[str, Any] = {"state_from": generation.key_state.value, "state_to": to.value}
    if await tx.maybe(UUID, "generation_key_state", **generation.at, **steps) is None:
        raise Conflict("key_moved", next_step="Look again: `byokeep profile history`.")
    await tx.one(
        UUID, "vault_key_moved", id=app.ids.uuid(), client_id=generation.client_id, key_id=str(generation.dek_id),
        version=generation.generation, **steps, reason=reason, by=actor.id,
    )  # fmt: skip
    await record(
        tx, actor, EventName.DEK_CHANGED, client_id=generation.client_id, object_id=generation.profile_id,
        profile=generation.profile_id, generation=generation.generation, dek=generation.dek_id,
        holder=generation.holder, kek=generation.kek_id, kek_version=generation.kek_version, **steps, reason=reason,
        incident=incident,
    )  # fmt: skip


async def compromise_key(
    tx: Tx, app: App, actor: Actor, row: Generation, *, reason: str, incident: UUID | None = None
) -> None:
    """Mark the key of a generation compromised. One that already is, or is destroyed, stays as it is."""
    if row.key_state not in (KeyState.COMPROMISED, KeyState.DESTROYED):
        await move_key(tx, app, actor, row, to=KeyState.COMPROMISED, reason=reason, incident=incident)


async def destroy_key(tx: Tx, app: App, actor: Actor, row: Generation, *, reason: str = "destroyed") -> None:
    """Move the key of a generation to its end, through the states in between. One already there stays there."""
    now = await tx.one(Generation, "generation_of", **row.at)
    if now.key_state in (KeyState.ACTIVE, KeyState.SUSPENDED):
        await move_key(tx, app, actor, now, to=KeyState.DEACTIVATED, reason="retired")
        now = await tx.one(Generation, "generation_of", **row.at)
    if now.key_state is not KeyState.DESTROYED:
        await move_key(tx, app, actor, now, to=KeyState.DESTROYED, reason=reason)


class ProfileCustody(Custody[ProfileRef, bytes], Protocol):
    """Custody of a client's sealed records and of the KEK that wraps their keys."""

    @property
    def keys(self) -> TransitKeys:
        """Wraps, rotates, and ends old versions."""


class HeldCustody(ProfileCustody, Protocol):
    """Custody that may be ended by others: by a kill, the client's suspension, the job's end."""

    @property
    def lease_id(self) -> str:
        """The id of the lease in force."""

    async def still(self) -> None:
        """Return if it may go on. Raises Denied: stop; Unavailable: nobody could be asked, so stop as well."""


class ProfileCustodian(Protocol):
    """The worker's own identity at the broker, for jobs about profiles and the keys that guard them."""

    def open_keys(self, job_id: UUID) -> AbstractAsyncContextManager[ProfileCustody]:
        """Hold a custody lease of a job for all of a client's records. Raises Denied, Unavailable."""

    def open_profile(self, job_id: UUID, profile_id: UUID) -> AbstractAsyncContextManager[HeldCustody]:
        """Hold a custody lease of a job for one profile's records. Raises Denied, Unavailable."""

    async def close(self, job_id: UUID) -> None:
        """End a job. Raises Unavailable, Denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KekApp(App):
    """``byokeep worker``, as far as it looks after KEKs.

    Attributes:
        artifacts: Where sealed profiles are kept, for comparison only; nothing is opened or removed.
    """

    custodian: ProfileCustodian
    artifacts: ArtifactStore


@asynccontextmanager
async def custody_of(app: KekApp, actor: Actor, client_id: ClientId) -> AsyncIterator[ProfileCustody]:
    """Hold a custody lease for a client's keys, of a job of its own. Raises as ``open_keys``."""
    by = app.system(actor.request_id)
    job = custody_job(app, app.custodian.close, client_id, PROFILE, by=by)
    async with job as job_id, app.custodian.open_keys(job_id) as custody:
        yield custody


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKek(Kek):
    """A version as people see it.

    Attributes:
        urgency: Of the newest version's rotation: empty, ``due`` or ``overdue``.
        check: The result of the last comparison with its holder; ``unknown`` if there was none, or it failed.
    """

    due_at: datetime
    urgency: str
    check: str
    checked_at: datetime | None


# A version, every key that it ever wrapped and that is not destroyed, and how many it ever wrapped.
KekPlan: TypeAlias = tuple[Kek, list[Dependent], int]


async def status(app: App, actor: Actor) -> tuple[list[ShownKek], list[Rotation]]:
    """Return the versions of the actor's clients' keys, and the rotations, those under way first.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.KEK_READ)
    ids = scope_of(actor)
    async with app.db.begin(every_client=True) as tx:
        rows = await tx.all(Kek, "keks_list", ids=ids, kek_id=None, limit=MANY)
        rotations = await tx.all(Rotation, "kek_rotations", ids=ids, kek_id=None, open=False, limit=100)
        checks = {
            row["kek_id"]: row
            for row in await tx.all(dict, "kek_last_check", ids=ids, installation=app.installation_id)
        }
    newest = {row.kek_id: row.version for row in rows if row.state is not KeyState.PRE_ACTIVATION}
    return [_shown(app, row, checks.get(row.kek_id), newest.get(row.kek_id)) for row in rows], rotations


def _shown(app: App, row: Kek, check: Row | None, newest: int | None) -> ShownKek:
    due_at = rotation_due(row.made_at, app.limits.kek_rotation_days, row.protect_until)
    return ShownKek(
        **{name: getattr(row, name) for name in Kek.__dataclass_fields__}, due_at=due_at,
        urgency=urgency(row.now, due_at, row.protect_until) if row.version == newest else "",
        check="unknown" if check is None else str(check["cause"] or "unknown"),
        checked_at=None if check is None else check["at"],
    )  # fmt: skip


async def history(app: App, actor: Actor, kek_id: str, version: int) -> tuple[Kek, list[KekMove]]:
    """Return a version and its moves. Raises Denied; NotFound."""
    kek = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    async with app.db.begin(every_client=True) as tx:
        return kek, await tx.all(KekMove, "kek_transitions", kek_id=kek_id, version=version)


async def dependents(app: App, actor: Actor, kek_id: str, version: int | None = None) -> list[Dependent]:
    """Return what depends on a version, or on all versions of a key: artifacts, tenants, profiles, accounts (R9.2-2).

    Raises:
        Denied: ``not_permitted``.
        NotFound: No such key for this actor.
    """
    kek = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    async with app.db.begin(every_client=True) as tx:
        return await tx.all(
            Dependent, "kek_dependents", holder=kek.holder, kek_id=kek_id, version=version, exposed=False,
            ids=scope_of(actor), limit=MANY,
        )  # fmt: skip


async def ask_rotation(app: App, actor: Actor, client_id: ClientId, *, reason: str) -> int:
    """Ask for the next version of a client's key; a worker makes it. Returns the version before it, 0 = none.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``bad_reason``, ``client_not_active``.
        Conflict: ``kek_rotation_under_way``; ``kek_rotate_waiting``.
    """
    await permit(app, actor, Verb.KEK_ROTATE, client_id=client_id)
    check_reason(reason, example="scheduled")
    async with recorded(app, actor, Verb.KEK_ROTATE, object_id=client_id), app.db.begin(every_client=True) as tx:
        return await hand_rotation(tx, actor, client_id, reason=reason)


async def hand_rotation(tx: Tx, actor: Actor, client_id: ClientId, *, reason: str) -> int:
    """Do as :func:`ask_rotation` does, in the caller's transaction and under its permission."""
    await require_active(tx, client_id)
    kek = await _of_client(tx, client_id)
    expected = 0
    if kek is not None:
        expected = kek.version
        if await under_way(tx, kek_id=kek.kek_id):
            raise Conflict("kek_rotation_under_way", next_step="Wait until its rewrap ends: `byokeep kek status`.")
    await hand_on(tx, actor, ROTATE_TASK, Verb.KEK_ROTATE, client_id, expected=str(expected), reason=reason)
    return expected


async def ask_rewrap(app: App, actor: Actor, client_id: ClientId) -> Rotation:
    """Hand what a rotation left on older versions to a worker once more.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Conflict: ``nothing_to_rewrap``.
    """
    await permit(app, actor, Verb.KEK_ROTATE, client_id=client_id)
    async with app.db.begin(every_client=True) as tx:
        kek = await _of_client(tx, client_id)
        found = [] if kek is None else await under_way(tx, kek_id=kek.kek_id)
        if not found:
            raise Conflict("nothing_to_rewrap", next_step="No rotation is under way: `byokeep kek status`.")
        await queue_rewrap(tx, found[0].id, client_id, actor)
        await _asked(tx, actor, Verb.KEK_ROTATE, client_id)
    return found[0]


async def ask_check(app: App, actor: Actor, client_id: ClientId) -> None:
    """Ask for a comparison of a client's key with its holder; :func:`status` shows the result.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.KEK_CHECK, client_id=client_id) as tx:
        await hand_on(tx, actor, CHECK_TASK, Verb.KEK_CHECK, client_id)


async def ask_end(app: App, actor: Actor, kek_id: str, version: int, *, reason: str) -> Kek:
    """Ask, as a second person, to end an old version and those before it; a worker ends them at the holder.

    Raises:
        Denied: ``not_permitted``; ``same_person``: whoever stopped one of them from protecting cannot end it.
        NotFound: No such version for this actor.
        Rejected: ``bad_reason``; ``key_state``: it still protects.
        Conflict: ``kek_has_dependents`` with the count; ``kek_end_waiting`` with who asked in which request.
    """
    kek = await _find(app, actor, Verb.KEK_END, kek_id, version)
    check_reason(reason, example="not_needed")
    async with (
        recorded(app, actor, Verb.KEK_END, refused_as=EventName.KEK_CHANGED, fields=_named(kek, KeyState.DESTROYED)),
        app.db.begin(every_client=True) as tx,
    ):
        check_provider(kek.holder)
        await refuse_dependents(tx, kek.holder, kek_id, version)
        check_transition(kek.state, KeyState.DESTROYED)
        await require_another(tx, actor, kek_id, version)
        client_id = UUID(str(kek.client_id))
        await hand_on(tx, actor, END_TASK, Verb.KEK_END, client_id, kek_id=kek_id, holder=kek.holder,
                       version=str(version), reason=reason)  # fmt: skip
    return kek


async def compromise(app: App, actor: Actor, kek_id: str, version: int, *, reason: str) -> KekPlan:
    """Mark a version compromised: it protects nothing, every key it ever wrapped counts as seen, all are due.

    Raises:
        Denied: ``not_permitted``.
        NotFound: No such version for this actor.
        Rejected: ``bad_reason``; ``key_state``.
        Conflict: ``key_moved``.
    """
    kek = await _find(app, actor, Verb.KEK_COMPROMISE, kek_id, version)
    check_reason(reason, example="artifact_store_exposure")
    changed, said = EventName.KEK_CHANGED, _named(kek, KeyState.COMPROMISED)
    async with recorded(app, actor, Verb.KEK_COMPROMISE, refused_as=changed, fields=said):
        if kek.client_id is None and actor.clients is not None:
            raise Denied("not_permitted", next_step="It guards every client: only people of all clients may do this.")
        async with app.db.begin(every_client=True) as tx:
            await tx.all(None, "kek_lock", kek_id=kek_id)
            now = await held(tx, holder=kek.holder, kek_id=kek_id, version=version, lock=False)
            if now.state is KeyState.DESTROYED:
                await compromised_late(tx, actor, now, reason=reason)
            elif now.state is not KeyState.COMPROMISED:
                await move(tx, app, actor, now, to=KeyState.COMPROMISED, reason=reason)
            await open_alert(tx, app, actor, reason="kek_compromised", client_id=kek.client_id,
                              object_id=kek.client_id, key=f"kek_compromised:{kek_id}:{version}")  # fmt: skip
            exposed = await tx.all(Generation, "kek_exposed", holder=kek.holder, kek_id=kek_id, version=version)
        for row in exposed:
            async with app.db.begin(client_id=row.client_id) as tx:
                await compromise_key(tx, app, actor, row, reason=reason)
        async with app.db.begin(every_client=True) as tx:
            for due in await tx.all(dict, "kek_profiles_due", **kek.place):
                profile = await tx.one(Profile, "profile_get", **due)
                await profiles.note(tx, EventName.PROFILE_DUE, actor, profile, cause="incident", due_at=profile.due_at)
    return await plan(app, actor, kek_id, version)


async def plan(app: App, actor: Actor, kek_id: str, version: int) -> KekPlan:
    """Return what a compromise of a version leaves to do, and how much it was; it is done when nothing is left.

    Raises:
        Denied, NotFound: As :func:`dependents`.
        Conflict: ``kek_not_compromised``.
    """
    kek = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    if kek.compromised_at is None:
        raise Conflict("kek_not_compromised", next_step="See what depends on it: `byokeep kek dependents`.")
    async with app.db.begin(every_client=True) as tx:
        left = await tx.all(
            Dependent, "kek_dependents", holder=kek.holder, kek_id=kek_id, version=version, exposed=True, ids=None,
            limit=MANY,
        )  # fmt: skip
        found = await tx.all(Generation, "kek_exposed", holder=kek.holder, kek_id=kek_id, version=version)
    return kek, left, len(found)


async def _find(app: App, actor: Actor, verb: Verb, kek_id: str, version: int | None) -> Kek:
    """Return a version, or the newest of a key, to somebody who may do ``verb`` with it."""
    async with command(app, actor, verb, object_id=app.installation_id) as tx:
        rows = await tx.all(Kek, "keks_list", ids=scope_of(actor), kek_id=kek_id, limit=MANY)
        rows = [row for row in rows if version is None or row.version == version]
        if not rows:
            raise NotFound("not_found")
    return rows[-1]


async def _of_client(tx: Tx, client_id: ClientId) -> Kek | None:
    """Return the version of a client's key that protects now, or did last."""
    rows = await versions(tx, ids=[client_id])
    started = [row for row in rows if row.state is not KeyState.PRE_ACTIVATION]
    return max(started, key=lambda row: (row.made_at, row.version)) if started else None


async def hand_on(tx: Tx, actor: Actor, task: str, verb: Verb, client_id: UUID, **more: str) -> None:
    """Hand something to a worker, recorded as asked for by this actor.

    Raises:
        Conflict: ``kek_end_waiting`` and its like, with the request that waits; a second check joins the waiting one.
    """
    ids = {"client_id": str(client_id), "asked_by": str(actor.id), "request_id": str(actor.request_id), **more}
    handed = await tx.defer(task, delay_s=0, key=f"{task}:{client_id}", lock="", **ids)
    if not handed and task != CHECK_TASK:
        by, request = await tx.maybe(
            lambda row: (UUID(str(row["actor_id"])), UUID(str(row["request_id"]))),
            "kek_last_asked",
            chain=client_id,
            verb=verb.value,
        ) or (None, None)
        raise Conflict(
            f"{task}_waiting", asked_by=by, request=request,
            next_step="A worker has not yet done what was asked before. Look again: `byokeep kek status`.",
        )  # fmt: skip
    await _asked(tx, actor, verb, client_id, task=digest_of(task, ids))


async def _asked(tx: Tx, actor: Actor, verb: Verb, client_id: UUID, *, task: str | None = None) -> None:
    await record(tx, actor, EventName.ACCESS, outcome=Outcome.INTENDED, client_id=client_id, object_id=client_id,
                 verb=verb.value, task=task)  # fmt: skip


def _named(kek: Kek, to: KeyState) -> dict[str, FieldValue]:
    return {
        "holder": kek.holder, "kek": kek.kek_id, "kek_version": kek.version, "state_from": kek.state.value,
        "state_to": to.value,
    }  # fmt: skip


FRESH_FOR_S: Final = 7200  # seconds for which a check counts


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultKey:
    """One key: a KEK version or the DEK of a generation. ``about``: the key's id, or the profile and generation."""

    kind: str
    client_id: UUID | None
    about: str
    owner: str
    state: str
    made_at: datetime
    due_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a client's last check came to: ``match``, a finding's code, or ``unknown``."""

    client_id: UUID
    cause: str
    found: int
    checked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFinding:
    """Something strange that a check found, and whose alert nobody has closed."""

    reason: str
    client_id: UUID | None
    profile_id: UUID | None
    place: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultInventory:
    """``result`` is ``match``, ``findings`` or ``unknown``."""

    result: str
    keys: tuple[VaultKey, ...]
    checked: tuple[Checked, ...]
    findings: tuple[InventoryFinding, ...]


async def vault_inventory(app: App, actor: Actor) -> VaultInventory:
    """List every key that guards profiles of the actor's clients, and the results of their last checks.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.KEY_LIST)
    ids = scope_of(actor)
    async with app.db.begin(every_client=True) as tx:
        keys = await tx.all(
            VaultKey, "vault_inventory_keys", ids=ids, days=app.limits.kek_rotation_days, limit=MAX_ROWS
        )
        checked = await tx.all(Checked, "vault_inventory_checks", ids=ids, fresh_s=FRESH_FOR_S)
        findings = await tx.all(
            InventoryFinding, "vault_inventory_findings", ids=ids, reasons=list(FINDINGS), limit=MAX_ROWS
        )
    bad = any(one.found for one in checked)
    known = all(one.cause != UNKNOWN for one in checked)
    return VaultInventory(
        result="findings" if bad else "match" if known else UNKNOWN, keys=tuple(keys), checked=tuple(checked),
        findings=tuple(findings) if bad else (),
    )  # fmt: skip


async def ask_checks(app: App, actor: Actor) -> list[UUID]:
    """Ask workers to compare the places of each of the actor's clients that has profiles; returns those clients.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.KEK_CHECK) as tx:
        found = await tx.all(Checked, "vault_inventory_checks", ids=scope_of(actor), fresh_s=FRESH_FOR_S)
        for one in found:
            await hand_on(tx, actor, CHECK_TASK, Verb.KEK_CHECK, one.client_id)
    return [one.client_id for one in found]
