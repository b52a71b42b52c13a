"""Key-encryption keys (KEKs): their rows, the keys they wrapped, and what a worker needs to work on one.

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

It may not talk to OpenBao: :mod:`.kek_tasks` does, in the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from byokeep.core import kek as rules
from byokeep.core.errors import Conflict, Denied, Integrity
from byokeep.core.events import EventName, Outcome
from byokeep.core.kek import TRANSIT, Periods, Suspension
from byokeep.core.keystate import KeyState, check_transition
from byokeep.core.model import PROFILE, Actor, ClientId
from byokeep.core.ref import ProfileRef
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import App
from byokeep.kernel.command import record
from byokeep.kernel.ports import ArtifactStore, Custody, Tx
from byokeep.sealing.generation import Generation

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Kek:
    """One version of a KEK.

    Attributes:
        identity: Tells this key from any other, as :class:`byokeep.core.kek.KekVersion`; empty until it is made.
        dependents: How many keys depend on it.
    """

    holder: str
    kek_id: str
    version: int
    client_id: UUID
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
        rup = self.process_until - self.made_at
        return Periods(starts_at=self.made_at, oup=self.protect_until - self.made_at, rup=rup)

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
    client_id: UUID
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
    return await tx.all(Kek, "keks_list", ids=ids, kek_id=kek_id, limit=None)


async def under_way(tx: Tx, *, kek_id: str | None = None) -> list[Rotation]:
    """Return the rotations at OpenBao that are not done, of one key or of all."""
    return await tx.all(Rotation, "kek_rotations", ids=None, kek_id=kek_id, open=True, limit=None)


async def held_up(tx: Tx, newest: Kek) -> bool:
    """Whether the next version waits for a rotation. One to a compromised version goes on to the next."""
    return newest.state is not KeyState.COMPROMISED and bool(await under_way(tx, kek_id=newest.kek_id))


async def announce(tx: Tx, app: App, actor: Actor, *, kek_id: str, version: int, client_id: UUID) -> Kek:
    """Enter a version in the inventory before it is made. One that was announced before is returned as it is."""
    periods = rules.default_periods(await tx.one(datetime, "kek_now"))  # the clock that seals are stamped by
    place: dict[str, object] = {"holder": TRANSIT, "kek_id": kek_id, "version": version}
    made = await tx.maybe(
        int, "kek_version_insert", **place, client_id=client_id, environment=app.environment.value,
        algorithm=rules.ALGORITHM, bits=rules.KEK_BITS, owner=app.limits.kek_owner, made_at=periods.starts_at,
        protect_until=periods.protects_until, process_until=periods.processes_until, changed_by=actor.id,
    )  # fmt: skip
    kek = await tx.one(Kek, "kek_look", **place)
    if made is not None:
        await note(tx, EventName.KEK_MADE, actor, kek, Outcome.INTENDED, **made_fields(kek))
    return kek


def made_fields(kek: Kek) -> dict[str, Any]:
    """Return what the record of a new version says besides its place (R2.3-3)."""
    return {
        "algorithm": kek.algorithm, "bits": kek.bits, "owner": kek.owner, "purpose": rules.PURPOSE,
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
        rules.may_resume(kek.state, kek.now, kek.periods)
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


async def held(tx: Tx, *, holder: str = TRANSIT, kek_id: str, version: int) -> Kek:
    """Return one version, its key locked until the transaction ends. Raises NotFound(``not_found``)."""
    await tx.all(None, "kek_lock", kek_id=kek_id)
    return await tx.one(Kek, "kek_look", holder=holder, kek_id=kek_id, version=version)


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
    rules.may_protect(kek.state, kek.now, kek.periods)
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
    rules.may_process(kek.state, kek.now, kek.periods, protected_at=max(protected_at, kek.made_at), suspensions=spans)
    return kek


async def _row(tx: Tx, app: App, *, holder: str, kek_id: str, version: int) -> Kek:
    found = await tx.maybe(Kek, "kek_look", holder=holder, kek_id=kek_id, version=version)
    if found is None or found.environment != app.environment.value:
        raise Integrity("kek_unknown_outside", next_step="This key has no row. See `byokeep kek status`.",
                        version=version)  # fmt: skip
    return found


async def note(tx: Tx, name: EventName, actor: Actor, kek: Kek, outcome: Outcome = Outcome.OK, **said: Any) -> None:
    """Record something about a version on its client's chain."""
    said |= {"holder": kek.holder, "kek": kek.kek_id, "kek_version": kek.version}
    await record(tx, actor, name, outcome=outcome, client_id=kek.client_id, object_id=kek.client_id, **said)


async def queue_rewrap(tx: Tx, rotation_id: UUID, client_id: UUID, actor: Actor) -> None:
    """Hand one client of a rotation to a worker. Of two at once one would write records that no row stands for."""
    key = f"{REWRAP_TASK}:{rotation_id}:{client_id}"
    await tx.defer(
        REWRAP_TASK, key=key, lock=key, rotation_id=str(rotation_id), client_id=str(client_id), asked_by=str(actor.id)
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


def custody_of(app: KekApp, actor: Actor, client_id: ClientId) -> AbstractAsyncContextManager[ProfileCustody]:
    """Hold a custody lease for a client's keys, of a job of its own. Raises as ``open_keys``."""
    return in_custody(app, app.custodian.open_keys, app.custodian.close, client_id, PROFILE, actor.request_id)
